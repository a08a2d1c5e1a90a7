//! What is known of a segment that was rewritten since its run was made.
//!
//! Always holds: the run's terms are right for the rewritten segment, too, but for terms of events
//! that are gone, which whoever looks for records passes over; only the places of records are other
//! ones, and these are here.

use std::fmt;

use foldhash::HashSet;
use gesta_store::{Direction, Position};

use super::{
    Location,
    offset_list::{fill_gaps, nearest_record, record_at},
    run::{Covered, TermHash},
};
use crate::{
    format::{Frame, Seed},
    index::offset_list::NO_RECORD,
};

/// See the module.
pub(crate) struct OffsetOverrides {
    /// The segment as it is now.
    pub(crate) covered: Covered,
    /// Of each position's record, with gaps noted.
    pub(crate) offsets: Vec<u32>,
    /// Terms that the next run need not have where no record is any more: those of events that went
    /// when the segment was rewritten. None where that is not known.
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
    /// The patch of a segment with these frames.
    pub(crate) fn new<'a>(
        covered: Covered,
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
        fill_gaps(&mut offsets);
        Self { covered, offsets, dropped }
    }

    /// The same for a run that keeps all terms.
    pub(crate) fn without_drops(&self) -> Self {
        Self { dropped: HashSet::default(), offsets: self.offsets.clone(), ..*self }
    }

    pub(super) fn has(&self, position: u64) -> bool {
        (self.covered.first..self.covered.end).contains(&position)
    }

    pub(super) fn locate(&self, position: u64) -> Option<Location> {
        let Covered { number, salt, first, .. } = self.covered;
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

    /// Whether a term need not be kept at a position.
    pub(super) fn drops(&self, hash: TermHash, position: u64) -> bool {
        self.has(position)
            && self.dropped.contains(&hash)
            && record_at(&self.offsets, position - self.covered.first).is_none()
    }
}
