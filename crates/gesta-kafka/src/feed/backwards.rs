//! Reads against the order of positions, for the last event up to a position.
//!
//! Each partition is read in ranges from its end. Blocks.

use std::collections::VecDeque;

use gesta_store::{Position, RecordedEvent, StoreError};

use super::{place::FeedPlace, search::PartitionReader};
use crate::checkpoint::RelayCheckpoint;

/// Offsets of one range.
const RANGE_OFFSETS: i64 = 256;

/// The events of a relay, last first.
pub(crate) struct Backwards {
    lanes: Vec<BackLane>,
}

struct BackLane {
    reader: PartitionReader,
    first: i64,
    /// Offset before which nothing was read yet.
    end: i64,
    /// Last event first.
    waiting: VecDeque<RecordedEvent>,
    /// Only events before this position are taken in.
    before: Position,
}

impl Backwards {
    /// Begins at the last event up to a position.
    pub(crate) fn from(
        place: &FeedPlace,
        checkpoint: &RelayCheckpoint,
        position: Position,
    ) -> Result<Self, StoreError> {
        let position = position.min(checkpoint.position);
        let mut lanes = Vec::new();
        for (topic, ends) in &checkpoint.topics {
            for (partition, end) in (0..).zip(ends) {
                let mut reader = PartitionReader::open(place.clone(), topic.clone(), partition)?;
                let (first, _) = reader.marks()?;
                let end = if position == checkpoint.position {
                    *end
                } else {
                    reader.offset_after(position, checkpoint.position)?
                };
                let (waiting, before) = (VecDeque::new(), position.next());
                lanes.push(BackLane { reader, first, end, waiting, before });
            }
        }
        Ok(Self { lanes })
    }

    /// Returns the next event, or `None` before the first one.
    pub(crate) fn next(&mut self) -> Result<Option<RecordedEvent>, StoreError> {
        self.lanes.iter_mut().try_for_each(BackLane::fill)?;
        let position = |lane: &BackLane| lane.waiting.front().map(|event| event.position);
        let fronts = self.lanes.iter_mut().filter_map(|lane| Some((position(lane)?, lane)));
        let latest = fronts.max_by_key(|(position, _)| *position);
        Ok(latest.and_then(|(_, lane)| lane.waiting.pop_front()))
    }
}

impl BackLane {
    fn fill(&mut self) -> Result<(), StoreError> {
        while self.waiting.is_empty() && self.end > self.first {
            let start = self.first.max(self.end - RANGE_OFFSETS);
            for event in self.reader.events_between(start, self.end)?.into_iter().rev() {
                // A repetition of the relay was taken in already, from its second record.
                if event.position < self.before {
                    self.before = event.position;
                    self.waiting.push_back(event);
                }
            }
            self.end = start;
        }
        if self.waiting.is_empty() && self.first > 0 {
            return Err(self.reader.deleted());
        }
        Ok(())
    }
}
