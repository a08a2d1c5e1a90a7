//! The events of a commit group with their positions, revisions and offsets.
//!
//! Invariant: events are in the order of their positions, which are contiguous.

use std::sync::Arc;

use gesta_store::{
    Append, Appended, EventId, Position, RecordedAt, Revision, StreamAppend, StreamName,
};

use super::pending_append::PendingAppend;
use crate::index::IndexEntry;

/// The appends of a group and the places of their events. Flat, so that an append needs no
/// allocation of its own.
#[derive(Debug)]
pub(crate) struct GroupEvents {
    first: Position,
    recorded_at: RecordedAt,
    appends: Vec<AppendSlice>,
    /// First new revision of each stream that gets events, append by append.
    revisions: Vec<Revision>,
    /// Offset of each event's record in the segment.
    offsets: Vec<u64>,
}

#[derive(Debug)]
struct AppendSlice {
    pending: Arc<PendingAppend>,
    /// Index of its first entry in `revisions`.
    revision: usize,
    /// Index of its first entry in `offsets`.
    event: usize,
}

impl GroupEvents {
    pub(crate) fn new(first: Position, recorded_at: RecordedAt, appends: usize) -> Self {
        Self {
            first,
            recorded_at,
            appends: Vec::with_capacity(appends),
            revisions: Vec::with_capacity(appends),
            offsets: Vec::with_capacity(appends),
        }
    }

    /// Adds an append with the first new revision of each stream that gets events. The offsets of
    /// its records were pushed before.
    pub(crate) fn push(
        &mut self,
        pending: Arc<PendingAppend>,
        revisions: impl IntoIterator<Item = Revision>,
    ) {
        let revision = self.revisions.len();
        // The encoder has just pushed the offsets of this append.
        let event = self.offsets.len() - pending.append.events().count();
        self.revisions.extend(revisions);
        self.appends.push(AppendSlice { pending, revision, event });
    }

    /// The offsets, to which the encoder pushes those of the next append's records.
    pub(crate) fn offsets(&mut self) -> &mut Vec<u64> {
        &mut self.offsets
    }

    pub(crate) fn recorded_at(&self) -> RecordedAt {
        self.recorded_at
    }

    /// Position of the next event.
    pub(crate) fn next(&self) -> Position {
        Position::new(self.first.number() + self.offsets.len() as u64)
    }

    pub(crate) fn first(&self) -> Position {
        self.first
    }

    pub(crate) fn len(&self) -> usize {
        self.appends.len()
    }

    /// The events of each append, in order.
    pub(crate) fn appends(&self) -> impl Iterator<Item = AppendEvents<'_>> {
        self.appends.iter().map(|slice| self.entries(slice))
    }

    /// The events of the n-th append.
    pub(crate) fn append(&self, n: usize) -> Option<AppendEvents<'_>> {
        self.appends.get(n).map(|slice| self.entries(slice))
    }

    /// All events of the group.
    pub(crate) fn events(&self) -> impl Iterator<Item = IndexEntry<'_>> {
        self.appends().flatten()
    }

    fn entries<'a>(&'a self, slice: &'a AppendSlice) -> AppendEvents<'a> {
        let left = slice.pending.append.events().count();
        AppendEvents {
            parts: slice.pending.append.streams.iter(),
            revisions: self.revisions.get(slice.revision..).unwrap_or_default().iter(),
            offsets: self.offsets.get(slice.event..).unwrap_or_default().iter(),
            position: Position::new(self.first.number() + slice.event as u64),
            recorded_at: self.recorded_at,
            current: None,
            left,
        }
    }

    /// The first event id of each append.
    pub(crate) fn first_events(&self) -> impl Iterator<Item = EventId> {
        self.appends.iter().filter_map(|slice| slice.pending.first_event())
    }
}

/// The answer to an append whose first event gets this position, and whose parts start at these
/// revisions.
pub(crate) fn appended_at(append: &Append, first: Position, revisions: &[Revision]) -> Appended {
    // Only parts with events have a revision; the others were checked.
    let parts = append.streams.iter().filter(|part| !part.events.is_empty());
    let heads =
        parts.zip(revisions).map(|(part, revision)| (part.stream.clone(), last(part, *revision)));
    let events = append.events().count() as u64;
    Appended::new(Position::new(first.number() + events - 1), heads.collect())
}

fn last(part: &StreamAppend, first: Revision) -> Revision {
    Revision::new(first.number() + part.events.len() as u64 - 1)
}

/// The events of one append.
#[derive(Clone, Debug)]
pub(crate) struct AppendEvents<'a> {
    parts: std::slice::Iter<'a, StreamAppend>,
    revisions: std::slice::Iter<'a, Revision>,
    offsets: std::slice::Iter<'a, u64>,
    position: Position,
    recorded_at: RecordedAt,
    /// The current stream, the revision of its next event, and its remaining events.
    current: Option<(&'a StreamName, Revision, std::slice::Iter<'a, gesta_store::NewEvent>)>,
    left: usize,
}

impl<'a> Iterator for AppendEvents<'a> {
    type Item = IndexEntry<'a>;

    fn next(&mut self) -> Option<IndexEntry<'a>> {
        loop {
            if let Some((stream, revision, events)) = &mut self.current
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
                    correlation_id: event.correlation_id.as_ref(),
                    causation_id: event.causation_id.as_ref(),
                    metadata: stream.is_system().then_some(&*event.data),
                };
                *revision = revision.next();
                self.position = self.position.next();
                self.left -= 1;
                return Some(entry);
            }
            // A part without events was only checked, and has no revision in the list.
            let part = self.parts.by_ref().find(|part| !part.events.is_empty())?;
            self.current = Some((&part.stream, *self.revisions.next()?, part.events.iter()));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for AppendEvents<'_> {}
