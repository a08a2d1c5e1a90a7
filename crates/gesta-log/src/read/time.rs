//! Places in the log by recorded time.
//!
//! The time is that of the log's order: it never falls from event to event, except where an
//! operator restarted it, which begins a segment. So the last time of each segment selects the
//! segment, and a binary search over its records the event.
//!
//! Invariants:
//! - Forwards, the result is the first event recorded at or after the time, also after a restart.
//! - Backwards, it is the last one recorded at or before the time. If the time was restarted, and
//!   the next segment already went past where it was, it may be an earlier such event.

use gesta_store::{
    Capability, Direction, Position, ReadFrom, RecordedAt, RecordedEvent, Revision, StoreError,
    StreamName,
};

use super::Reader;
use crate::index::{Index, TimedRange};

impl Reader {
    /// Returns the position at which a read of the whole store starts, or `None` if it has no
    /// event.
    pub(super) fn place(
        &self,
        from: ReadFrom<Position>,
        direction: Direction,
    ) -> Result<Option<Position>, StoreError> {
        match from {
            ReadFrom::Start => Ok(Some(Position::START)),
            ReadFrom::End => Ok(Some(Position::MAX)),
            ReadFrom::At(position) => Ok(Some(position)),
            ReadFrom::Time(time) => self.position_at(time, direction),
            _ => Err(StoreError::Unsupported { capability: Capability::TimeStarts }),
        }
    }

    /// Returns the position of the first event recorded at or after a time, or, backwards, of the
    /// last one recorded at or before it. `None` if there is no such event.
    pub(super) fn position_at(
        &self,
        time: RecordedAt,
        direction: Direction,
    ) -> Result<Option<Position>, StoreError> {
        self.retry_if_files_replaced(|| {
            let index = self.published.index();
            match direction {
                Direction::Forwards => self.first_since(&index, time),
                Direction::Backwards => self.last_until(&index, time),
            }
        })
    }

    /// Returns the revision of a stream's first event recorded at or after a time, or, backwards,
    /// of its last one recorded at or before it.
    pub(super) fn revision_at(
        &self,
        stream: &StreamName,
        time: RecordedAt,
        direction: Direction,
    ) -> Result<Option<Revision>, StoreError> {
        let Some(at) = self.position_at(time, direction)? else { return Ok(None) };
        self.retry_if_files_replaced(|| {
            let index = self.published.index();
            let by = (&mut index.plan_stream(stream), &mut index.locator());
            let Some(location) = index.seek(by, at, direction)? else { return Ok(None) };
            let events = self.fetch(&self.requests_at(&[location]))?;
            Ok(events.first().map(|event| event.revision))
        })
    }

    fn first_since(&self, index: &Index, time: RecordedAt) -> Result<Option<Position>, StoreError> {
        for range in index.timed_ranges() {
            if self.last_time(index, &range)?.is_none_or(|last| last < time) {
                continue;
            }
            let at = self.partition(index, &range, |recorded_at| recorded_at < time)?;
            // The events that end the segment may have been scavenged, so the next record may
            // belong to a later one, with a time of its own.
            let Some(event) = self.event_from(index, at)? else { return Ok(None) };
            if event.recorded_at >= time {
                return Ok(Some(event.position));
            }
        }
        Ok(None)
    }

    fn last_until(&self, index: &Index, time: RecordedAt) -> Result<Option<Position>, StoreError> {
        // Only the segment after the last one that ended in time can have such events among later
        // ones, unless the time was restarted in between.
        let (mut next, mut later_last) = (None::<TimedRange>, None);
        for range in index.timed_ranges().into_iter().rev() {
            let Some(last) = self.last_time(index, &range)? else { continue };
            if let Some(next) = next
                && later_last.is_some_and(|later| last > later)
                && self.begins_until(index, &next, time)?
            {
                break;
            }
            if last <= time {
                break;
            }
            (next, later_last) = (Some(range), Some(last));
        }
        let end = match next {
            Some(range) => self.partition(index, &range, |recorded_at| recorded_at <= time)?,
            None => index.head().next(),
        };
        let Some(last) = end.number().checked_sub(1) else { return Ok(None) };
        index.nearest(Position::new(last), Direction::Backwards)
    }

    /// Returns whether a range begins with an event recorded at or before a time.
    fn begins_until(
        &self,
        index: &Index,
        range: &TimedRange,
        time: RecordedAt,
    ) -> Result<bool, StoreError> {
        let first = self.event_from(index, Position::new(range.first))?;
        Ok(first
            .is_some_and(|first| first.position.number() < range.end && first.recorded_at <= time))
    }

    /// Returns the recorded time of the last event of a range, or `None` if it has no record.
    fn last_time(
        &self,
        index: &Index,
        range: &TimedRange,
    ) -> Result<Option<RecordedAt>, StoreError> {
        if range.first >= range.end || range.last_recorded_at.is_some() {
            return Ok(range.last_recorded_at);
        }
        // Only of a segment that has no run yet.
        let last = index.nearest(Position::new(range.end - 1), Direction::Backwards)?;
        let last = last.filter(|last| last.number() >= range.first);
        let Some(location) = last.map(|last| index.locate(last)).transpose()?.flatten() else {
            return Ok(None);
        };
        let events = self.fetch(&self.requests_at(&[location]))?;
        Ok(events.first().map(|event| event.recorded_at))
    }

    /// Returns the first position of a range from which on no record is `before`, or its end.
    fn partition(
        &self,
        index: &Index,
        range: &TimedRange,
        before: impl Fn(RecordedAt) -> bool,
    ) -> Result<Position, StoreError> {
        let (mut from, mut to) = (range.first, range.end);
        while from < to {
            let middle = from + (to - from) / 2;
            // Scavenged positions take the side of the next record.
            match self.event_from(index, Position::new(middle))? {
                Some(event) if event.position.number() < range.end && before(event.recorded_at) => {
                    from = event.position.number() + 1;
                }
                Some(_) | None => to = middle,
            }
        }
        Ok(Position::new(from))
    }

    /// Returns the first event at or after a position.
    fn event_from(&self, index: &Index, at: Position) -> Result<Option<RecordedEvent>, StoreError> {
        let Some(position) = index.nearest(at, Direction::Forwards)? else { return Ok(None) };
        let Some(location) = index.locate(position)? else { return Ok(None) };
        Ok(self.fetch(&self.requests_at(&[location]))?.into_iter().next())
    }
}
