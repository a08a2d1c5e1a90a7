//! Offsets of positions: where in each partition a reader begins.
//!
//! Positions grow within a partition, except where a relay began again and repeated events. A
//! search may then find a later place, and everything after the position comes after that place as
//! well, because the repetition is complete. Blocks.

use std::time::Duration;

use gesta_store::{Position, RecordedEvent, StoreError};
use rdkafka::{
    Message, Offset,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::time::Instant;

use super::{
    error::{damaged, reading},
    lanes::Lane,
    place::FeedPlace,
};
use crate::{
    checkpoint::{RelayCheckpoint, assign},
    cluster::{REQUEST_MAX, Reader, is_passing},
    envelope,
};

/// Records that one look reads at most: those that come with the first one.
const LOOK_RECORDS_MAX: i64 = 200;

/// The outcome of a look at the records from an offset on.
enum Look {
    /// The first later event is at this offset, and there is an earlier one before it.
    Found(i64),
    /// The first event is later, and has this position.
    AllLater(Position),
    /// All events that were looked at are earlier; the last one has the position `found`.
    AllEarlier { next: i64, found: Position },
    /// There are no events.
    Nothing,
}

/// The offsets that are left of a search.
struct Range {
    first: i64,
    /// Position of the last event before `first`.
    after: Position,
    end: i64,
    /// Position of an event at or after `end`.
    up_to: Position,
    interpolates: bool,
}

impl Range {
    /// Returns the offset to look at: where the position would be if events were spread evenly,
    /// and the middle in every other round, which bounds the search.
    fn guess(&mut self, position: Position) -> i64 {
        let offsets = self.end - self.first;
        let is_even = self.interpolates;
        self.interpolates = !is_even;
        let middle = self.first + offsets / 2;
        if !is_even {
            return middle;
        }
        let passed = i128::from(position.number().saturating_sub(self.after.number()));
        let all = i128::from(self.up_to.number().saturating_sub(self.after.number())).max(1);
        let guess = i64::try_from(i128::from(offsets) * passed / all);
        // A little before, so that a look finds an earlier event and then the later one.
        let guess = guess.map_or(middle, |guess| self.first + guess - LOOK_RECORDS_MAX / 2);
        guess.clamp(self.first, self.end - 1)
    }
}

/// Returns lanes that begin after a position, one for each partition of the checkpoint.
pub(crate) fn lanes_after(
    place: &FeedPlace,
    checkpoint: &RelayCheckpoint,
    position: Position,
) -> Result<Vec<Lane>, StoreError> {
    let mut lanes = Vec::new();
    for (topic, ends) in &checkpoint.topics {
        for (partition, end) in (0..).zip(ends) {
            // The usual case: the consumer was level with the relay.
            let next = if position == checkpoint.position {
                *end
            } else {
                let mut reader = PartitionReader::open(place.clone(), topic.clone(), partition)?;
                reader.offset_after(position, checkpoint.position)?
            };
            lanes.push(Lane::new(topic.clone(), partition, next, position));
        }
    }
    Ok(lanes)
}

/// A reader of single places in a partition.
pub(crate) struct PartitionReader {
    place: FeedPlace,
    reader: Reader,
    topic: String,
    partition: i32,
    is_assigned: bool,
}

impl PartitionReader {
    pub(crate) fn open(
        place: FeedPlace,
        topic: String,
        partition: i32,
    ) -> Result<Self, StoreError> {
        let reader = place.cluster.reader()?;
        Ok(Self { place, reader, topic, partition, is_assigned: false })
    }

    /// Returns an offset before which every event up to the position is, and at or after which
    /// every later one is.
    pub(crate) fn offset_after(
        &mut self,
        position: Position,
        head: Position,
    ) -> Result<i64, StoreError> {
        let (low, high) = self.marks()?;
        if position == Position::START && low == 0 {
            return Ok(0);
        }
        let mut range = Range {
            first: low,
            after: Position::START,
            end: high,
            up_to: head,
            interpolates: true,
        };
        while range.first < range.end {
            let guess = range.guess(position);
            match self.look_from(guess, position)? {
                Look::Found(offset) => return Ok(offset),
                Look::AllLater(found) => (range.end, range.up_to) = (guess, found),
                Look::AllEarlier { next, found } => (range.first, range.after) = (next, found),
                Look::Nothing => range.end = guess,
            }
        }
        // With records before the first one, nothing after the position is known to be missing.
        if range.first == low && low > 0 {
            return Err(self.deleted());
        }
        Ok(range.first)
    }

    /// Returns the error for records that retention has deleted.
    pub(crate) fn deleted(&self) -> StoreError {
        self.failed(&KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))
    }

    /// Returns the first and the next offset.
    pub(crate) fn marks(&self) -> Result<(i64, i64), StoreError> {
        let marks = self.reader.fetch_watermarks(&self.topic, self.partition, REQUEST_MAX);
        marks.map_err(|error| self.failed(&error))
    }

    /// Returns the events of a range of offsets.
    pub(crate) fn events_between(
        &mut self,
        start: i64,
        end: i64,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut events = Vec::new();
        self.scan(start, |record| {
            if record.offset() >= end {
                return Ok(false);
            }
            events.extend(event_of(record)?);
            Ok(record.offset() + 1 < end)
        })?;
        Ok(events)
    }

    /// Looks at some records from an offset on.
    fn look_from(&mut self, offset: i64, position: Position) -> Result<Look, StoreError> {
        let (mut look, mut seen) = (Look::Nothing, 0);
        self.scan(offset, |record| {
            let Ok(found) = envelope::position_of(record) else { return Ok(true) };
            seen += 1;
            if found > position {
                look = if seen == 1 { Look::AllLater(found) } else { Look::Found(record.offset()) };
                return Ok(false);
            }
            look = Look::AllEarlier { next: record.offset() + 1, found };
            Ok(seen < LOOK_RECORDS_MAX)
        })?;
        Ok(look)
    }

    /// Reads records from an offset on, until `take` returns `false` or the partition ends.
    fn scan(
        &mut self,
        offset: i64,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.go_to(offset)?;
        let mut limit = Instant::now() + REQUEST_MAX;
        loop {
            match self.reader.poll(Duration::from_millis(100)) {
                Some(Ok(record)) => {
                    if !take(&record)? {
                        return Ok(());
                    }
                    limit = Instant::now() + REQUEST_MAX;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(self.failed(&error)),
                None => {}
            }
            if Instant::now() > limit {
                let doing = format!("read partition {} of topic {}", self.partition, self.topic);
                let seen = self.reader.failed_connection();
                return Err(self.place.cluster.timed_out(doing, REQUEST_MAX, seen).into());
            }
        }
    }

    fn go_to(&mut self, offset: i64) -> Result<(), StoreError> {
        let moved = if self.is_assigned {
            let to = Offset::Offset(offset);
            self.reader.seek(&self.topic, self.partition, to, REQUEST_MAX)
        } else {
            assign(&self.reader, [(&*self.topic, self.partition, offset)])
        };
        moved.map_err(|error| self.failed(&error))?;
        self.is_assigned = true;
        Ok(())
    }

    fn failed(&self, error: &KafkaError) -> StoreError {
        reading((&self.place.cluster, &self.place.relay), &self.reader, error)
    }
}

/// Returns the event of a record. `None` for a record that no relay has written.
pub(crate) fn event_of(record: &BorrowedMessage<'_>) -> Result<Option<RecordedEvent>, StoreError> {
    let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
    if envelope::position_of(record).is_err() {
        tracing::warn!(topic, partition, offset, "a record without a position is left out");
        return Ok(None);
    }
    let event = envelope::recorded_event(record);
    event.map(Some).map_err(|error| damaged(topic, partition, offset, &error))
}
