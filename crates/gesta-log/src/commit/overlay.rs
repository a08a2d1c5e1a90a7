//! The changes of a group that is not published yet: stream heads, stream metadata, append ids.
//!
//! Invariant: the index with the overlays of all unpublished groups on top, in order, is the state
//! that the next append is validated against.

use std::{cell::OnceCell, collections::hash_map::Entry as MapEntry};

use foldhash::{HashMap, HashSet, fast::RandomState};
use gesta_store::{EventId, EventQuery, EventType, Revision, StreamName, Tag};

use crate::{
    index::{IndexEntry, StreamMeta, stream_meta_change},
    published::{AppendEvents, GroupEvents},
};

/// The changes of one group.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    heads: HashMap<StreamName, Revision>,
    /// Streams whose metadata the group changes, or which it tombstones.
    metas: HashMap<StreamName, StreamMeta>,
    /// Number of the append in the group, by the id of its first event. Of appends with the same
    /// first id, the first one.
    appends: HashMap<EventId, usize>,
    /// The same for the others, which are in other streams. Almost always empty.
    later_appends: HashMap<(EventId, StreamName), usize>,
    /// Built once a condition is validated.
    terms: OnceCell<Terms>,
}

/// The event types and tags of a group, to skip it for most conditions.
#[derive(Debug, Default)]
struct Terms {
    types: HashSet<EventType>,
    tags: HashSet<Tag>,
}

impl Overlay {
    /// Creates an empty overlay with room for this many appends.
    pub(super) fn with_capacity(appends: usize) -> Self {
        Self {
            heads: HashMap::with_capacity_and_hasher(appends, RandomState::default()),
            appends: HashMap::with_capacity_and_hasher(appends, RandomState::default()),
            ..Self::default()
        }
    }

    /// The head of a stream, if the group has events of it.
    pub(super) fn head(&self, name: &StreamName) -> Option<Revision> {
        self.heads.get(name).copied()
    }

    /// The metadata state of a stream, if the group changes it.
    pub(super) fn meta(&self, name: &StreamName) -> Option<&StreamMeta> {
        self.metas.get(name)
    }

    /// The numbers of appends with this first event id: one in this stream, if there is any, is
    /// among them.
    pub(super) fn find(
        &self,
        first_event: EventId,
        stream: &StreamName,
    ) -> impl Iterator<Item = usize> {
        let first = self.appends.get(&first_event).copied();
        // Without the copy of the name, which a look-up needs.
        let later = first.filter(|_| !self.later_appends.is_empty());
        let later = later.and_then(|_| self.later_appends.get(&(first_event, stream.clone())));
        first.into_iter().chain(later.copied())
    }

    /// Returns whether the group changes the metadata of any stream.
    pub(super) fn changes_metas(&self) -> bool {
        !self.metas.is_empty()
    }

    /// The events of the group that match a query.
    pub(super) fn matches<'a>(
        &self,
        query: &'a EventQuery,
        events: &'a GroupEvents,
    ) -> impl Iterator<Item = IndexEntry<'a>> {
        let terms = self.terms.get_or_init(|| {
            let mut terms = Terms::default();
            events.events().for_each(|entry| terms.add(&entry));
            terms
        });
        let may_match = terms.may_match(query);
        let events = may_match.then(|| events.events()).into_iter().flatten();
        events.filter(|entry| query.matches(entry.event_type, entry.tags))
    }

    /// Adds the group's n-th append. `meta_before` returns a stream's state before the group.
    pub(super) fn add(
        &mut self,
        n: usize,
        entries: AppendEvents<'_>,
        meta_before: impl Fn(&StreamName) -> StreamMeta,
    ) {
        let mut entries = entries.peekable();
        if let Some(first) = entries.peek() {
            match self.appends.entry(first.id) {
                MapEntry::Vacant(new) => {
                    new.insert(n);
                }
                MapEntry::Occupied(_) => {
                    self.later_appends.insert((first.id, first.stream.clone()), n);
                }
            }
        }
        // The events of a part are adjacent, so a head is set once for each part.
        let mut last: Option<IndexEntry<'_>> = None;
        for entry in entries {
            if let Some((described, change)) = stream_meta_change(&entry) {
                let meta = self.metas.entry(described);
                meta.or_insert_with_key(meta_before_of(&meta_before)).change(change);
            }
            // Most groups have no conditions to validate; then the terms are never built.
            if let Some(terms) = self.terms.get_mut() {
                terms.add(&entry);
            }
            match last.replace(entry) {
                Some(before) if before.stream != entry.stream => self.set_head(&before),
                Some(_) | None => {}
            }
        }
        if let Some(last) = last {
            self.set_head(&last);
        }
    }

    fn set_head(&mut self, last: &IndexEntry<'_>) {
        match self.heads.get_mut(last.stream) {
            Some(head) => *head = last.revision,
            None => drop(self.heads.insert(last.stream.clone(), last.revision)),
        }
    }
}

fn meta_before_of(
    before: &impl Fn(&StreamName) -> StreamMeta,
) -> impl FnOnce(&StreamName) -> StreamMeta + '_ {
    move |stream| before(stream)
}

impl Terms {
    fn add(&mut self, entry: &IndexEntry<'_>) {
        if !self.types.contains(entry.event_type) {
            self.types.insert(entry.event_type.clone());
        }
        for tag in entry.tags {
            if !self.tags.contains(tag) {
                self.tags.insert(tag.clone());
            }
        }
    }

    /// Returns whether any event may match. May be a false positive: types and tags are checked
    /// apart.
    fn may_match(&self, query: &EventQuery) -> bool {
        query.items().iter().any(|item| {
            (item.types().is_empty() || item.types().iter().any(|one| self.types.contains(one)))
                && item.tags().iter().all(|tag| self.tags.contains(tag))
        })
    }
}
