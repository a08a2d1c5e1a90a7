//! What an earlier append was: its events, or where they were.
//!
//! Always holds: an append that was scavenged, in part or whole, is still known by where its events
//! were and by their ids.

use std::ops::ControlFlow;

use gesta_store::{
    Damage, Direction, EventId, Position, RecordedEvent, Revision, StoreError, StreamName,
};

use super::Reader;
use crate::{
    format::{Gap, GapEvent, IdsDigest},
    index::{AppendSpan, Location},
};

/// One event of an earlier append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) stream: StreamName,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
    /// None where the event was scavenged.
    pub(crate) id: Option<EventId>,
}

/// An earlier append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EarlierAppend {
    /// In the order of positions.
    pub(crate) events: Vec<Earlier>,
    /// Of all ids, where some are not known one by one any more.
    pub(crate) ids: Option<IdsDigest>,
}

impl From<&RecordedEvent> for Earlier {
    fn from(event: &RecordedEvent) -> Self {
        let RecordedEvent { stream, revision, position, id, .. } = event;
        let (revision, position, id) = (*revision, *position, Some(*id));
        Self { stream: stream.clone(), revision, position, id }
    }
}

impl From<&GapEvent> for Earlier {
    fn from(gone: &GapEvent) -> Self {
        let GapEvent { position, stream, revision } = gone.clone();
        Self { stream, revision, position, id: None }
    }
}

impl Reader {
    /// What is known of one append.
    pub(crate) fn span(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError> {
        self.retry_if_files_replaced(|| self.span_now(span))
    }

    fn span_now(&self, span: AppendSpan) -> Result<EarlierAppend, StoreError> {
        let first = span.first.number();
        let all = first..first + u64::from(span.events);
        let positions: Vec<_> = all.clone().map(Position::new).collect();
        let places: Vec<Location> = self.places(&positions)?.into_iter().flatten().collect();
        let there = self.events_at(&places)?;
        let mut events: Vec<_> = there.iter().map(Earlier::from).collect();
        if events.len() == positions.len() {
            return Ok(EarlierAppend { events, ids: None });
        }
        let mut ids = None;
        self.gaps_between(all.start, all.end, |gap| {
            let inside = |gone: &&GapEvent| all.contains(&gone.position.number());
            events.extend(gap.gone.iter().filter(inside).map(Earlier::from));
            let same = gap.appends.iter().find(|append| append.position == span.first);
            ids = ids.or(same.map(|append| append.ids));
            ControlFlow::Continue(())
        })?;
        events.sort_unstable_by_key(|event| event.position);
        if events.len() == positions.len() && ids.is_some() {
            Ok(EarlierAppend { events, ids })
        } else {
            Err(self.not_whole(span))
        }
    }

    /// The damage that took a part of an append.
    fn not_whole(&self, span: AppendSpan) -> StoreError {
        let end = span.first.number() + u64::from(span.events);
        let what = format!("the append at {} is not whole", span.first);
        let known = self.published.damage_from(span.first, Direction::Forwards);
        StoreError::Corrupt(match known {
            Some((first, damage)) if first.number() < end => damage.clone(),
            _ => Damage { file: "index".to_owned(), offset: 0, positions: None, what },
        })
    }

    /// Hands over the gaps of the segment that has these positions, as far as they touch them.
    fn gaps_between(
        &self,
        first: u64,
        end: u64,
        mut visit: impl FnMut(&Gap) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let stretches = self.published.index().position_ranges();
        for stretch in stretches.iter().filter(|one| one.first < end && one.end > first) {
            self.gaps_of(stretch, first, end, &mut visit)?;
        }
        Ok(())
    }
}
