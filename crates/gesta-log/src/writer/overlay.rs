//! What the appends of a group change, before it is published.
//!
//! Always holds: laid over the index it gives the state that the next append of the group meets.

use std::collections::HashMap;

use gesta_store::{
    Append, Appended, EventId, EventQuery, EventType, Position, Revision, StreamName, Tag,
};

use crate::index::{Change, Entry, Index, Tip, lifecycle_change};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    tips: HashMap<StreamName, Tip>,
    /// By the id of the first event.
    appends: HashMap<EventId, Taken>,
    events: Vec<(EventType, Vec<Tag>, Position)>,
}

/// An append that was taken into the group.
#[derive(Debug)]
pub(super) struct Taken {
    /// Each stream that got events, its first new revision, and their ids.
    pub(super) streams: Vec<(StreamName, Revision, Vec<EventId>)>,
    pub(super) appended: Appended,
}

impl Overlay {
    /// Where a stream stands, and whether that is not published yet.
    pub(super) fn tip(&self, name: &StreamName, index: &Index) -> (Tip, bool) {
        match self.tips.get(name) {
            Some(tip) => (*tip, true),
            None => (index.tip(name), false),
        }
    }

    /// The append of this group whose first event has this id.
    pub(super) fn find(&self, first_event: EventId) -> Option<&Taken> {
        self.appends.get(&first_event)
    }

    /// An event of this group that matches a query.
    pub(super) fn first_match(&self, query: &EventQuery) -> Option<Position> {
        let mut events = self.events.iter();
        events
            .find(|(event_type, tags, _)| query.matches(event_type, tags))
            .map(|(_, _, position)| *position)
    }

    /// Adds an append whose events are to get these places.
    pub(super) fn add(
        &mut self,
        append: &Append,
        entries: &[Entry],
        appended: &Appended,
        index: &Index,
    ) {
        for entry in entries {
            self.advance(entry, index);
        }
        let mut rest = entries;
        let mut streams = Vec::new();
        for part in append.streams.iter().filter(|part| !part.events.is_empty()) {
            let (own, later) = rest.split_at(part.events.len());
            let first = own.first().map_or(Revision::FIRST, |entry| entry.revision);
            streams.push((part.stream.clone(), first, own.iter().map(|entry| entry.id).collect()));
            rest = later;
        }
        if let Some(first) = entries.first() {
            let taken = Taken { streams, appended: appended.clone() };
            self.appends.insert(first.id, taken);
        }
    }

    fn advance(&mut self, entry: &Entry, index: &Index) {
        let tip = self.tips.entry(entry.stream.clone());
        tip.or_insert_with(|| index.tip(&entry.stream)).head = Some(entry.revision);
        if let Some((described, change)) = lifecycle_change(entry) {
            let tip = self.tips.entry(described);
            let tip = tip.or_insert_with_key(|described| index.tip(described));
            match change {
                Change::Metadata(metadata) => {
                    tip.truncate_before = metadata.truncate_before.unwrap_or(Revision::FIRST);
                }
                Change::Tombstone => tip.tombstoned = true,
            }
        }
        self.events.push((entry.event_type.clone(), entry.tags.clone(), entry.position));
    }
}
