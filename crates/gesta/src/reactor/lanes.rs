//! Events that wait for their effects: one lane for each stream, in order.
//!
//! Invariant: of each stream at most one effect is in progress, that of the first event in its
//! lane. A lane is ready, in progress, or rests until its next attempt. A clock that is set back
//! ends the rests, which would otherwise last as much longer.
//!
//! Not here: streams that are not taken from the subscription ([`held`](super::held)).

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use gesta_store::{RecordedEvent, StreamName};

use crate::backoff::Backoff;

/// The lanes of a reactor.
#[derive(Debug, Default)]
pub(super) struct EffectLanes {
    lanes: HashMap<StreamName, EffectLane>,
    ready: VecDeque<StreamName>,
    resting: BTreeSet<(SystemTime, StreamName)>,
    /// Latest time at which a rest began.
    rested_at: Option<SystemTime>,
    running: usize,
}

#[derive(Debug)]
struct EffectLane {
    events: VecDeque<Arc<RecordedEvent>>,
    backoff: Backoff,
}

impl EffectLanes {
    /// Appends an event to the lane of its stream.
    pub(super) fn push(&mut self, event: Arc<RecordedEvent>) {
        if let Some(lane) = self.lanes.get_mut(&event.stream) {
            lane.events.push_back(event);
            return;
        }
        let stream = event.stream.clone();
        let lane = EffectLane { events: [event].into(), backoff: Backoff::new() };
        self.lanes.insert(stream.clone(), lane);
        self.ready.push_back(stream);
    }

    /// Takes the next event whose effect can be attempted, with the number of the attempt.
    pub(super) fn start_next(&mut self) -> Option<(Arc<RecordedEvent>, u32)> {
        let stream = self.ready.pop_front()?;
        let lane = self.lanes.get(&stream);
        debug_assert!(lane.is_some(), "a ready stream has a lane");
        let lane = lane?;
        let event = Arc::clone(lane.events.front()?);
        self.running += 1;
        Some((event, lane.backoff.attempt()))
    }

    /// Removes the first event of a stream after its effect.
    pub(super) fn succeed(&mut self, stream: &StreamName) {
        self.stop(stream);
        let Some(lane) = self.lanes.get_mut(stream) else { return };
        lane.events.pop_front();
        lane.backoff.reset();
        if lane.events.is_empty() {
            self.lanes.remove(stream);
        } else {
            self.ready.push_back(stream.clone());
        }
    }

    /// Schedules the next attempt of a stream's first event, after the back-off or the pause that
    /// is asked for.
    pub(super) fn rest(&mut self, stream: &StreamName, now: SystemTime, pause: Option<Duration>) {
        self.stop(stream);
        let Some(lane) = self.lanes.get_mut(stream) else { return };
        let pause = lane.backoff.next().max(pause.unwrap_or_default());
        // A pause beyond the range of the clock is none.
        let until = now.checked_add(pause).unwrap_or(now);
        self.resting.insert((until, stream.clone()));
        self.rested_at = self.rested_at.max(Some(now));
    }

    /// Makes the first event of a stream ready again, without counting the attempt.
    pub(super) fn put_back(&mut self, stream: &StreamName) {
        self.stop(stream);
        if self.lanes.contains_key(stream) {
            self.ready.push_front(stream.clone());
        }
    }

    /// Removes the lane of a stream whose first event failed for the last time. Returns its events.
    pub(super) fn remove(&mut self, stream: &StreamName) -> VecDeque<Arc<RecordedEvent>> {
        self.stop(stream);
        self.lanes.remove(stream).map(|lane| lane.events).unwrap_or_default()
    }

    fn stop(&mut self, stream: &StreamName) {
        debug_assert!(self.running > 0, "the effect of {stream} was in progress");
        self.running = self.running.saturating_sub(1);
    }

    /// Ends the rests that are over; all of them if the clock was set back.
    pub(super) fn wake(&mut self, now: SystemTime) {
        let was_set_back = self.rested_at.is_some_and(|rested_at| now < rested_at);
        if was_set_back {
            self.rested_at = None;
        }
        while self.resting.first().is_some_and(|(until, _)| was_set_back || *until <= now) {
            let Some((_, stream)) = self.resting.pop_first() else { return };
            self.ready.push_back(stream);
        }
    }

    pub(super) fn next_wake(&self) -> Option<SystemTime> {
        self.resting.first().map(|(until, _)| *until)
    }

    pub(super) fn has(&self, stream: &StreamName) -> bool {
        self.lanes.contains_key(stream)
    }

    /// Number of effects in progress.
    pub(super) const fn running(&self) -> usize {
        self.running
    }

    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Returns whether an effect is in progress or could be.
    pub(super) fn is_busy(&self) -> bool {
        self.running > 0 || !self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use gesta_store::{EventId, EventType, NewEvent, Position, RecordedAt, Revision};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn resting_at(now: SystemTime) -> (EffectLanes, StreamName) {
        let stream = StreamName::new("user-ann").unwrap();
        let event_type = EventType::new("user-created").unwrap();
        let event = NewEvent::json(EventId::random(), event_type, "{}");
        let (position, recorded_at) = (Position::new(1), RecordedAt::from_micros(0));
        let event =
            RecordedEvent::new(event, stream.clone(), Revision::FIRST, position, recorded_at);
        let mut lanes = EffectLanes::default();
        lanes.push(Arc::new(event));
        lanes.start_next().expect("an event is ready");
        lanes.rest(&stream, now, Some(HOUR));
        (lanes, stream)
    }

    #[test]
    fn a_rest_ends_at_its_time() {
        let noon = UNIX_EPOCH + 12 * HOUR;
        let (mut lanes, _) = resting_at(noon);
        lanes.wake(noon + HOUR / 2);
        assert!(lanes.start_next().is_none());
        lanes.wake(noon + HOUR);
        assert_eq!(lanes.start_next().expect("the rest is over").1, 2);
    }

    #[test]
    fn a_clock_that_is_set_back_prolongs_no_rest() {
        let (mut lanes, stream) = resting_at(UNIX_EPOCH + 1_000_000 * HOUR);
        lanes.wake(UNIX_EPOCH);
        assert_eq!(lanes.start_next().expect("the rest is over").1, 2);
        lanes.rest(&stream, UNIX_EPOCH, Some(HOUR));
        lanes.wake(UNIX_EPOCH + HOUR / 2);
        assert!(lanes.start_next().is_none(), "the next rest is by the clock as it is now");
    }
}
