//! The appends of a group with the places that their events got.
//!
//! Always holds: events are in the order of their positions, which follow each other.

use std::sync::Arc;

use gesta_store::{
    Append, Appended, EventId, Position, RecordedAt, Revision, StreamAppend, StreamName,
};

use super::Offer;
use crate::index::IndexEntry;

/// See the module. Flat, so that an append costs no memory of its own.
#[derive(Debug)]
pub(crate) struct Placed {
    first: Position,
    recorded_at: RecordedAt,
    appends: Vec<Placement>,
    /// The first new revision of each stream that gets events, append by append.
    revisions: Vec<Revision>,
    /// Of each event's record, in the segment.
    offsets: Vec<u64>,
}

#[derive(Debug)]
struct Placement {
    offer: Arc<Offer>,
    /// Its first one among all.
    revision: usize,
    event: usize,
}

impl Placed {
    pub(super) fn new(first: Position, recorded_at: RecordedAt, appends: usize) -> Self {
        Self {
            first,
            recorded_at,
            appends: Vec::with_capacity(appends),
            revisions: Vec::with_capacity(appends),
            offsets: Vec::with_capacity(appends),
        }
    }

    /// Adds an append whose streams go on with these revisions; one for each that gets events.
    /// The offsets of its records were added before.
    pub(super) fn push(
        &mut self,
        offer: Arc<Offer>,
        revisions: impl IntoIterator<Item = Revision>,
    ) {
        let revision = self.revisions.len();
        let event = self.offsets.len() - offer.append.events().count();
        self.revisions.extend(revisions);
        self.appends.push(Placement { offer, revision, event });
    }

    /// Where the offsets of the next append's records go.
    pub(super) fn offsets(&mut self) -> &mut Vec<u64> {
        &mut self.offsets
    }

    pub(super) fn recorded_at(&self) -> RecordedAt {
        self.recorded_at
    }

    /// The position that the next event gets.
    pub(super) fn next(&self) -> Position {
        Position::new(self.first.number() + self.offsets.len() as u64)
    }

    pub(crate) fn first(&self) -> Position {
        self.first
    }

    pub(crate) fn len(&self) -> usize {
        self.appends.len()
    }

    /// The events of each append, in order.
    pub(crate) fn appends(&self) -> impl Iterator<Item = Entries<'_>> {
        self.appends.iter().map(|placement| self.entries(placement))
    }

    /// The events of the n-th append.
    pub(super) fn append(&self, n: usize) -> Option<Entries<'_>> {
        self.appends.get(n).map(|placement| self.entries(placement))
    }

    /// All events from the n-th one on.
    pub(super) fn events(&self) -> impl Iterator<Item = IndexEntry<'_>> {
        self.appends().flatten()
    }

    fn entries<'a>(&'a self, placement: &'a Placement) -> Entries<'a> {
        let left = placement.offer.append.events().count();
        Entries {
            parts: placement.offer.append.streams.iter(),
            revisions: self.revisions.get(placement.revision..).unwrap_or_default().iter(),
            offsets: self.offsets.get(placement.event..).unwrap_or_default().iter(),
            position: Position::new(self.first.number() + placement.event as u64),
            recorded_at: self.recorded_at,
            present: None,
            left,
        }
    }

    /// The id of each append's first event.
    pub(super) fn first_events(&self) -> impl Iterator<Item = EventId> {
        self.appends.iter().filter_map(|placement| placement.offer.first_event())
    }
}

/// What an append returns whose streams begin with these revisions and whose first event has this
/// position.
pub(super) fn appended(append: &Append, first: Position, revisions: &[Revision]) -> Appended {
    let parts = append.streams.iter().filter(|part| !part.events.is_empty());
    let heads =
        parts.zip(revisions).map(|(part, revision)| (part.stream.clone(), last(part, *revision)));
    let events = append.events().count() as u64;
    Appended { position: Position::new(first.number() + events - 1), revisions: heads.collect() }
}

fn last(part: &StreamAppend, first: Revision) -> Revision {
    Revision::new(first.number() + part.events.len() as u64 - 1)
}

/// The events of one append.
#[derive(Clone, Debug)]
pub(crate) struct Entries<'a> {
    parts: std::slice::Iter<'a, StreamAppend>,
    revisions: std::slice::Iter<'a, Revision>,
    offsets: std::slice::Iter<'a, u64>,
    position: Position,
    recorded_at: RecordedAt,
    /// The stream that events are taken from, with the revision of the next one.
    present: Option<(&'a StreamName, Revision, std::slice::Iter<'a, gesta_store::NewEvent>)>,
    left: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = IndexEntry<'a>;

    fn next(&mut self) -> Option<IndexEntry<'a>> {
        loop {
            if let Some((stream, revision, events)) = &mut self.present
                && let Some(event) = events.next()
            {
                let entry = IndexEntry {
                    id: event.id,
                    stream,
                    revision: *revision,
                    position: self.position,
                    recorded_at: self.recorded_at,
                    offset: *self.offsets.next()?,
                    event_type: &event.event_type,
                    tags: &event.tags,
                    metadata: stream.is_system().then_some(&*event.data),
                };
                *revision = revision.next();
                self.position = self.position.next();
                self.left -= 1;
                return Some(entry);
            }
            let part = self.parts.by_ref().find(|part| !part.events.is_empty())?;
            self.present = Some((&part.stream, *self.revisions.next()?, part.events.iter()));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries<'_> {}
