//! The merge of partitions into the order of positions.
//!
//! A lane is a partition. A checkpoint of the relay says at which offset of each lane the events up
//! to its position end. So the event with the lowest position is known as soon as each lane has an
//! event at hand or has been read up to that offset.
//!
//! Invariants: events leave in the order of their positions, each once. No event leaves before
//! every lane could still have an earlier one. An event that the relay has published twice leaves
//! once, because its second record has no greater position than what its lane has passed.
//!
//! Not here: consumers and threads. The merge is tested without a cluster.

use std::collections::VecDeque;

use gesta_store::{Position, RecordedEvent};

use crate::checkpoint::RelayCheckpoint;

/// Events that a lane holds from which it is paused. It continues at half of them.
const LANE_EVENTS_MAX: usize = 2_000;

/// One partition of one topic.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Offset of the next record to read.
    pub(crate) next: i64,
    waiting: VecDeque<RecordedEvent>,
    /// Position of the last event that was taken in.
    passed: Position,
    pub(crate) is_paused: bool,
}

impl Lane {
    /// Creates a lane that is read from an offset. Events up to `passed` are left out.
    pub(crate) fn new(topic: String, partition: i32, next: i64, passed: Position) -> Self {
        Self { topic, partition, next, waiting: VecDeque::new(), passed, is_paused: false }
    }

    /// Takes in the record at an offset; `None` for a record without an event.
    pub(crate) fn take_in(&mut self, offset: i64, event: Option<RecordedEvent>) {
        self.next = offset + 1;
        let Some(event) = event else { return };
        if event.position > self.passed {
            self.passed = event.position;
            self.waiting.push_back(event);
        }
    }

    /// Returns `true` if nothing up to the checkpoint is left to read.
    fn is_read(&self, checkpoint: &RelayCheckpoint) -> bool {
        self.next >= checkpoint.end_of(&self.topic, self.partition)
    }
}

/// All lanes of a relay, and the checkpoint up to which they are merged.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) all: Vec<Lane>,
    pub(crate) target: RelayCheckpoint,
    /// Position of the last event that has left, or the start.
    left: Position,
}

/// The outcome of a look at the lanes.
#[derive(Debug, PartialEq)]
pub(crate) enum Merged {
    /// Events in order. Never empty.
    Events(Vec<RecordedEvent>),
    /// Everything up to the checkpoint has left.
    Level(Position),
    /// A lane has to be read first.
    Starved,
}

impl Lanes {
    pub(crate) fn new(all: Vec<Lane>, target: RelayCheckpoint, after: Position) -> Self {
        Self { all, target, left: after }
    }

    /// Sets a later checkpoint. One of an earlier session, or an earlier one of the same, is
    /// ignored. Returns `true` if it has new topics.
    pub(crate) fn aim_at(&mut self, target: RelayCheckpoint) -> bool {
        let is_older =
            target.generation < self.target.generation || target.position < self.target.position;
        if is_older {
            return false;
        }
        let has_new = target.topics.len() > self.target.topics.len();
        self.target = target;
        has_new
    }

    pub(crate) fn lane(&mut self, topic: &str, partition: i32) -> Option<&mut Lane> {
        self.all.iter_mut().find(|lane| lane.partition == partition && lane.topic == topic)
    }

    /// Takes at most this number of events out, in order.
    pub(crate) fn merge(&mut self, events_max: usize) -> Merged {
        let mut events = Vec::new();
        while events.len() < events_max {
            if self.all.iter().any(|lane| lane.waiting.is_empty() && !lane.is_read(&self.target)) {
                return if events.is_empty() { Merged::Starved } else { Merged::Events(events) };
            }
            let position = |lane: &Lane| lane.waiting.front().map(|event| event.position);
            let fronts = self.all.iter_mut().filter_map(|lane| Some((position(lane)?, lane)));
            let lowest = fronts.min_by_key(|(position, _)| *position);
            // Events after the checkpoint may still have earlier neighbours.
            let lowest = lowest.filter(|(position, _)| *position <= self.target.position);
            let Some(event) = lowest.and_then(|(_, lane)| lane.waiting.pop_front()) else { break };
            debug_assert!(event.position > self.left, "events leave in the order of positions");
            self.left = event.position;
            events.push(event);
        }
        if events.is_empty() { Merged::Level(self.target.position) } else { Merged::Events(events) }
    }

    /// Returns the lanes whose pause has to begin or to end, after noting it.
    ///
    /// A lane with events is not what the others wait for, so a pause holds nothing up.
    pub(crate) fn changed_pauses(&mut self) -> Vec<(String, i32, bool)> {
        let changed = self.all.iter_mut().filter_map(|lane| {
            let events_max = if lane.is_paused { LANE_EVENTS_MAX / 2 } else { LANE_EVENTS_MAX };
            let pauses = lane.waiting.len() >= events_max;
            (pauses != lane.is_paused).then(|| {
                lane.is_paused = pauses;
                (lane.topic.clone(), lane.partition, pauses)
            })
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::{
        EventId, EventType, Incarnation, NewEvent, RecordedAt, Revision, StreamName,
    };
    use uuid::Uuid;

    use super::*;

    fn event(position: u64) -> RecordedEvent {
        let event = NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}");
        let stream = StreamName::new("order-1").unwrap();
        let place = (Revision::FIRST, Position::new(position));
        RecordedEvent::new(event, stream, place.0, place.1, RecordedAt::from_micros(0))
    }

    fn checkpoint(position: u64, generation: u64, ends: &[i64]) -> RelayCheckpoint {
        RelayCheckpoint {
            position: Position::new(position),
            incarnation: Incarnation::new(Uuid::nil()),
            generation,
            session: Uuid::nil(),
            topics: [("t".to_owned(), ends.to_vec())].into(),
        }
    }

    fn lanes(target: RelayCheckpoint) -> Lanes {
        let count = i32::try_from(target.topics["t"].len()).unwrap();
        let lane = |partition| Lane::new("t".to_owned(), partition, 0, Position::START);
        Lanes::new((0..count).map(lane).collect(), target, Position::START)
    }

    fn positions(merged: Merged) -> Vec<u64> {
        match merged {
            Merged::Events(events) => events.iter().map(|event| event.position.number()).collect(),
            other => panic!("no events: {other:?}"),
        }
    }

    #[test]
    fn events_of_several_partitions_leave_in_the_order_of_positions() {
        let mut lanes = lanes(checkpoint(4, 1, &[2, 2]));
        lanes.all[0].take_in(0, Some(event(1)));
        assert_eq!(lanes.merge(10), Merged::Starved, "the other lane may have an earlier one");
        lanes.all[1].take_in(0, Some(event(2)));
        lanes.all[1].take_in(1, Some(event(3)));
        assert_eq!(positions(lanes.merge(10)), [1]);
        lanes.all[0].take_in(1, Some(event(4)));
        assert_eq!(positions(lanes.merge(2)), [2, 3]);
        assert_eq!(positions(lanes.merge(2)), [4]);
        assert_eq!(lanes.merge(2), Merged::Level(Position::new(4)));
    }

    #[test]
    fn an_event_after_the_checkpoint_waits_for_the_next_one() {
        let mut lanes = lanes(checkpoint(1, 1, &[1, 0]));
        lanes.all[0].take_in(0, Some(event(1)));
        lanes.all[0].take_in(1, Some(event(3)));
        assert_eq!(positions(lanes.merge(10)), [1]);
        assert_eq!(lanes.merge(10), Merged::Level(Position::new(1)));
        assert!(!lanes.aim_at(checkpoint(3, 1, &[2, 1])));
        assert_eq!(lanes.merge(10), Merged::Starved, "position 2 is in the other lane");
        lanes.all[1].take_in(0, Some(event(2)));
        assert_eq!(positions(lanes.merge(10)), [2, 3]);
    }

    #[test]
    fn an_event_that_was_published_twice_leaves_once() {
        let mut lanes = lanes(checkpoint(3, 1, &[5]));
        for (offset, position) in [1, 2, 1, 2, 3].into_iter().enumerate() {
            lanes.all[0].take_in(i64::try_from(offset).unwrap(), Some(event(position)));
        }
        assert_eq!(positions(lanes.merge(10)), [1, 2, 3]);
    }

    #[test]
    fn a_record_without_an_event_is_passed() {
        let mut lanes = lanes(checkpoint(1, 1, &[2]));
        lanes.all[0].take_in(0, None);
        assert_eq!(lanes.merge(10), Merged::Starved);
        lanes.all[0].take_in(1, Some(event(1)));
        assert_eq!(positions(lanes.merge(10)), [1]);
    }

    #[test]
    fn a_checkpoint_of_a_replaced_relay_is_ignored() {
        let mut lanes = lanes(checkpoint(5, 2, &[0]));
        lanes.aim_at(checkpoint(7, 1, &[0]));
        assert_eq!(lanes.target.position, Position::new(5));
        lanes.aim_at(checkpoint(4, 2, &[0]));
        assert_eq!(lanes.target.position, Position::new(5));
        lanes.aim_at(checkpoint(6, 3, &[0]));
        assert_eq!(lanes.target.position, Position::new(6));
    }

    #[test]
    fn a_full_lane_is_paused_until_half_of_its_events_have_left() {
        let count = i64::try_from(LANE_EVENTS_MAX).unwrap();
        let mut lanes = lanes(checkpoint(99_999, 1, &[count, 0]));
        for offset in 0..count {
            lanes.all[0].take_in(offset, Some(event(u64::try_from(offset).unwrap() + 1)));
        }
        assert_eq!(lanes.changed_pauses(), [("t".to_owned(), 0, true)]);
        lanes.merge(LANE_EVENTS_MAX / 2);
        assert_eq!(lanes.changed_pauses(), []);
        lanes.merge(1);
        assert_eq!(lanes.changed_pauses(), [("t".to_owned(), 0, false)]);
    }
}
