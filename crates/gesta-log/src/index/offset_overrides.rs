//! Record offsets of a segment that was rewritten after its run was made.
//!
//! The run's terms stay valid for the rewritten segment, except for terms of scavenged events,
//! which no longer have a record and are skipped by readers. Only the offsets change.

use std::fmt;

use foldhash::HashSet;
use gesta_store::{Direction, Position};

use super::{
    entry::Location,
    offset_list::{fill_gaps, nearest_record, record_at},
    run::{CoveredSegment, TermHash},
};
use crate::{
    format::{Frame, Seed},
    index::offset_list::NO_RECORD,
};

/// The offset overrides of one segment.
pub(crate) struct OffsetOverrides {
    /// The segment in its rewritten form.
    pub(crate) covered: CoveredSegment,
    /// The record's offset by position, with gaps filled (see [`offset_list`](super::offset_list)).
    pub(crate) offsets: Vec<u32>,
    /// Terms of the scavenged events. The next run omits their postings at positions without a
    /// record. Empty if the terms are not known.
    pub(crate) dropped: HashSet<TermHash>,
}

impl fmt::Debug for OffsetOverrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { covered, offsets, dropped } = self;
        f.debug_struct("OffsetOverrides")
            .field("segment", &covered.number)
            .field("positions", &offsets.len())
            .field("dropped", &dropped.len())
            .finish()
    }
}

impl OffsetOverrides {
    /// Builds the overrides of a segment from its frames.
    pub(crate) fn new<'a>(
        covered: CoveredSegment,
        frames: impl Iterator<Item = &'a Frame>,
        dropped: HashSet<TermHash>,
    ) -> Self {
        let positions = usize::try_from(covered.end - covered.first).unwrap_or_default();
        let mut offsets = vec![NO_RECORD; positions];
        for (offset, event) in frames.flat_map(|frame| &frame.events) {
            let place = event.position.number().checked_sub(covered.first);
            let place = place.and_then(|place| offsets.get_mut(usize::try_from(place).ok()?));
            if let (Some(place), Ok(offset)) = (place, u32::try_from(*offset)) {
                *place = offset;
            }
        }
        // Positions without a frame's event keep `NO_RECORD` until here.
        fill_gaps(&mut offsets);
        Self { covered, offsets, dropped }
    }

    /// Returns the same overrides for a run that keeps all terms.
    pub(crate) fn without_drops(&self) -> Self {
        Self { dropped: HashSet::default(), offsets: self.offsets.clone(), ..*self }
    }

    pub(super) fn has(&self, position: u64) -> bool {
        (self.covered.first..self.covered.end).contains(&position)
    }

    pub(super) fn locate(&self, position: u64) -> Option<Location> {
        let CoveredSegment { number, salt, first, .. } = self.covered;
        let (offset, next) = record_at(&self.offsets, position.checked_sub(first)?)?;
        Some(Location {
            position: Position::new(position),
            segment: number,
            seed: Seed::new(salt, number),
            offset: u64::from(offset),
            next: next.map(u64::from),
        })
    }

    pub(super) fn nearest(&self, at: u64, direction: Direction) -> Option<u64> {
        nearest_record(&self.offsets, self.covered.first, at, direction)
    }

    /// Returns whether the next run omits a term at a position.
    pub(super) fn drops(&self, hash: TermHash, position: u64) -> bool {
        // The term's other events in the segment still have their records.
        self.has(position)
            && self.dropped.contains(&hash)
            && record_at(&self.offsets, position - self.covered.first).is_none()
    }
}
