//! Reconstructs an earlier append from its events, to compare it with a repeat.
//!
//! Invariant: an append that was scavenged, in part or as a whole, is still known by the streams
//! and revisions of its events and by a digest of their ids.

use std::ops::ControlFlow;

use gesta_store::{
    Damage, Direction, EventId, Position, RecordedEvent, Revision, StoreError, StreamName,
};

use super::Reader;
use crate::{
    format::{Gap, GapEvent, IdsDigest, append_continues},
    index::{AppendSpan, Location},
};

/// One event of an earlier append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EarlierEvent {
    pub(crate) stream: StreamName,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
    /// `None` for a scavenged event.
    pub(crate) id: Option<EventId>,
}

/// An append that is in the log already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EarlierAppend {
    /// Ordered by position.
    pub(crate) events: Vec<EarlierEvent>,
    /// Digest of all event ids. Present if some events were scavenged, whose own ids are lost.
    pub(crate) ids: Option<IdsDigest>,
}

impl EarlierAppend {
    /// Returns whether the first event is in this stream.
    pub(crate) fn begins_in(&self, stream: &StreamName) -> bool {
        self.events.first().is_some_and(|first| first.stream == *stream)
    }
}

impl From<&RecordedEvent> for EarlierEvent {
    fn from(event: &RecordedEvent) -> Self {
        let RecordedEvent { stream, revision, position, id, .. } = event;
        let (revision, position, id) = (*revision, *position, Some(*id));
        Self { stream: stream.clone(), revision, position, id }
    }
}

impl From<&GapEvent> for EarlierEvent {
    fn from(scavenged: &GapEvent) -> Self {
        let GapEvent { position, stream, revision, .. } = scavenged.clone();
        Self { stream, revision, position, id: None }
    }
}

impl Reader {
    /// Reads the append at these positions.
    pub(crate) fn span(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError> {
        self.retry_if_files_replaced(|| self.span_now(span))
    }

    fn span_now(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError> {
        let first = span.first.number();
        let count = match span.events {
            Some(events) => events,
            None => self.count_events(span.first)?,
        };
        let all = first..first + u64::from(count);
        let positions: Vec<_> = all.clone().map(Position::new).collect();
        let places: Vec<Location> = self.locations(&positions)?.into_iter().flatten().collect();
        let there = self.events_at(&places)?;
        let mut events: Vec<_> = there.iter().map(EarlierEvent::from).collect();
        if events.len() == positions.len() {
            return Ok(EarlierAppend { events, ids: None });
        }
        // Some events were scavenged: the gap frames hold their places and the ids' digest.
        let mut ids = None;
        self.gaps_between(all.start, all.end, |gap| {
            let inside = |event: &&GapEvent| all.contains(&event.position.number());
            events.extend(gap.scavenged.iter().filter(inside).map(EarlierEvent::from));
            let same = gap.appends.iter().find(|append| append.position == span.first);
            ids = ids.or(same.map(|append| append.ids));
            ControlFlow::Continue(())
        })?;
        events.sort_unstable_by_key(|event| event.position);
        // A position with neither a record nor a place in a gap was destroyed by damage.
        if events.len() == positions.len() && ids.is_some() {
            Ok(EarlierAppend { events, ids })
        } else {
            Err(self.incomplete(span.first, count))
        }
    }

    /// Counts the events of the append that begins at a position.
    fn count_events(&self, first: Position) -> Result<u32, StoreError> {
        let mut events = 0;
        loop {
            let position = Position::new(first.number() + u64::from(events));
            // Scavenging leaves the number in a gap frame, and the flags of other records as they
            // were.
            let Some(bytes) = self.verified_record(position)? else {
                return self.scavenged_count(first)?.ok_or_else(|| self.incomplete(first, events));
            };
            events += 1;
            if !append_continues(&bytes) {
                return Ok(events);
            }
        }
    }

    /// Returns the number of events that a gap frame names for the append at a position.
    fn scavenged_count(&self, first: Position) -> Result<Option<u32>, StoreError> {
        let mut events = None;
        self.gaps_between(first.number(), first.next().number(), |gap| {
            let append = gap.appends.iter().find(|append| append.position == first);
            events = append.map(|append| append.events);
            match events {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        })?;
        Ok(events)
    }

    /// The error for an append of this many events that damage destroyed in part.
    fn incomplete(&self, first: Position, events: u32) -> StoreError {
        let end = first.number() + u64::from(events.max(1));
        let what = format!("the append at {first} is incomplete");
        let known = self.published.damage_from(first, Direction::Forwards);
        StoreError::Corrupt(match known {
            Some((first, damage)) if first.number() < end => damage.clone(),
            _ => Damage::new("index".to_owned(), 0, what),
        })
    }

    /// Calls `visit` with the gaps that overlap the positions `first..end`.
    fn gaps_between(
        &self,
        first: u64,
        end: u64,
        mut visit: impl FnMut(&Gap) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let ranges = self.published.index().position_ranges();
        for range in ranges.iter().filter(|range| range.first < end && range.end > first) {
            self.gaps_of(range, first, end, &mut visit)?;
        }
        Ok(())
    }
}
