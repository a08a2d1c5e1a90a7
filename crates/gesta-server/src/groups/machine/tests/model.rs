//! Random operations against a naive model, which sees inputs and effects only.
//!
//! The model holds each event in a map and looks at all of them for each check.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SEEDS: u64 = 80;
const OPERATIONS: usize = 600;
/// An id that several events have.
const SHARED: Uuid = Uuid::nil();

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<Item: Copy>(&mut self, items: &[Item]) -> Option<Item> {
        let index = usize::try_from(self.below(items.len().max(1) as u64)).unwrap();
        items.get(index).copied()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight(ConsumerId, Duration),
    Parking,
    Finished,
}

#[derive(Debug)]
struct Fed {
    state: State,
    retries: u32,
    pin: u64,
    id: Uuid,
}

/// Names the seed of a test that fails.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "whoever repeats the test needs the seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

struct Play {
    random: Random,
    rules: GroupRules,
    machine: Machine,
    now: Duration,
    events: BTreeMap<EventKey, Fed>,
    /// The greatest key that was delivered of each pin, while nothing of it was retried.
    in_order: BTreeMap<u64, Option<EventKey>>,
    asked_to_park: BTreeSet<EventKey>,
    consumers: BTreeMap<ConsumerId, usize>,
    next_place: u64,
    next_parked: u64,
    next_consumer: u64,
    checkpoint_in_progress: Option<u64>,
    checkpoint: u64,
    is_truncating: bool,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let strategy = match seed % 4 {
            0 => Strategy::DispatchToSingle,
            1 => Strategy::RoundRobin,
            2 => Strategy::Pinned,
            _ => Strategy::PinnedByCorrelation,
        };
        let mut rules = rules(strategy);
        rules.retries_max = u32::try_from(random.below(4)).unwrap();
        rules.checkpoint_max = 1 + random.below(20);
        rules.checkpoint_min = random.below(rules.checkpoint_max + 1);
        if random.chance(20) {
            rules.message_timeout = None;
        }
        let machine = Machine::new(rules.clone(), GroupStart::default(), Duration::ZERO);
        Self {
            random,
            rules,
            machine,
            now: Duration::ZERO,
            events: BTreeMap::new(),
            in_order: BTreeMap::new(),
            asked_to_park: BTreeSet::new(),
            consumers: BTreeMap::new(),
            next_place: 1,
            next_parked: 0,
            next_consumer: 1,
            checkpoint_in_progress: None,
            checkpoint: 0,
            is_truncating: false,
        }
    }

    fn run(mut self) {
        for _ in 0..OPERATIONS {
            self.step();
            self.check();
        }
        self.drain();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => self.feed(),
            35..60 => self.ack(),
            60..72 => self.nack(),
            72..76 => self.connect(),
            76..79 => self.disconnect(),
            79..84 => self.confirm_parked(),
            84..89 => self.confirm_checkpoint(),
            89..92 => self.stall(),
            92..95 => self.replay(),
            _ => self.advance(),
        }
    }

    fn take(&mut self, key: EventKey, id: Uuid, pin: u64) {
        let fed = Fed { state: State::Waiting, retries: 0, pin, id };
        self.events.insert(key, fed);
        self.machine.feed(GroupEvent { key, id, pin, bytes: 10, payload: 0 }, self.now);
    }

    fn feed(&mut self) {
        if self.machine.room() == 0 {
            return;
        }
        self.next_place += 1 + self.random.below(3);
        if self.random.chance(10) {
            self.machine.pass(EventKey::Source(self.next_place), self.now);
            return;
        }
        let pin = self.random.below(6);
        // Some events have an id that another one has, too.
        let id = if self.random.chance(5) { SHARED } else { id(self.next_place) };
        self.take(EventKey::Source(self.next_place), id, pin);
    }

    fn replay(&mut self) {
        if self.machine.room() > 0 {
            let (revision, pin) = (self.next_parked, self.random.below(6));
            self.next_parked += 1;
            self.take(EventKey::Replayed(revision), id(1_000_000 + revision), pin);
        }
    }

    fn in_flight(&self) -> Vec<(EventKey, ConsumerId)> {
        let in_flight = self.events.iter().filter_map(|(key, event)| match event.state {
            State::InFlight(consumer, _) => Some((*key, consumer)),
            _ => None,
        });
        in_flight.collect()
    }

    fn ack(&mut self) {
        let in_flight = self.in_flight();
        let Some((key, consumer)) = self.random.pick(&in_flight) else { return };
        let id = self.events[&key].id;
        // An acknowledgement by a consumer that does not have the event changes nothing.
        let stranger = ConsumerId(consumer.0 + 1_000);
        self.machine.ack(stranger, &[id], self.now);
        self.events.get_mut(&key).unwrap().state = State::Finished;
        // A second acknowledgement changes nothing, unless another event has the same id.
        let ids = if id == SHARED { vec![id] } else { vec![id, id] };
        self.machine.ack(consumer, &ids, self.now);
    }

    fn nack(&mut self) {
        let in_flight = self.in_flight();
        let Some((key, consumer)) = self.random.pick(&in_flight) else { return };
        let id = self.events[&key].id;
        let action = match self.random.below(10) {
            0..5 => NackAction::Retry,
            5..7 => NackAction::Park,
            7..9 => NackAction::Skip,
            _ => NackAction::Stop,
        };
        match action {
            NackAction::Retry => self.failed(key),
            NackAction::Park => self.events.get_mut(&key).unwrap().state = State::Parking,
            NackAction::Skip => self.events.get_mut(&key).unwrap().state = State::Finished,
            NackAction::Stop => self.left(consumer),
        }
        self.machine.nack(consumer, &[id], (action, "because"), self.now);
    }

    fn failed(&mut self, key: EventKey) {
        let event = self.events.get_mut(&key).unwrap();
        if event.retries >= self.rules.retries_max {
            event.state = State::Parking;
        } else {
            event.state = State::Waiting;
            event.retries += 1;
            self.in_order.insert(event.pin, None);
        }
    }

    fn left(&mut self, consumer: ConsumerId) {
        self.consumers.remove(&consumer);
        for (key, of) in self.in_flight() {
            if of == consumer {
                self.failed(key);
            }
        }
    }

    fn connect(&mut self) {
        if self.consumers.len() < 5 {
            let consumer = ConsumerId(self.next_consumer);
            self.next_consumer += 1;
            let slots = usize::try_from(1 + self.random.below(8)).unwrap();
            self.consumers.insert(consumer, slots);
            self.machine.connect(consumer, slots, self.now).unwrap();
        }
    }

    fn disconnect(&mut self) {
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        if let Some(consumer) = self.random.pick(&consumers) {
            self.left(consumer);
            self.machine.disconnect(consumer, self.now);
        }
    }

    fn confirm_parked(&mut self) {
        let parking = self.events.iter().filter(|(_, event)| event.state == State::Parking);
        let parking: Vec<_> = parking.map(|(key, _)| *key).collect();
        if let Some(key) = self.random.pick(&parking) {
            self.events.get_mut(&key).unwrap().state = State::Finished;
            self.machine.parked(key, self.now);
        }
    }

    fn confirm_checkpoint(&mut self) {
        if self.is_truncating && self.random.chance(50) {
            self.is_truncating = false;
            self.machine.truncated(self.now);
        }
        let Some(place) = self.checkpoint_in_progress.take() else { return };
        if self.random.chance(70) {
            self.checkpoint = place;
            self.machine.checkpointed(self.now);
        } else {
            self.machine.checkpoint_failed();
        }
    }

    /// Refuses an event for a consumer that reads too slowly, and lets it read again.
    fn stall(&mut self) {
        let in_flight = self.in_flight();
        let Some((key, consumer)) = self.random.pick(&in_flight) else { return };
        let event = self.events.get_mut(&key).unwrap();
        event.state = State::Waiting;
        self.in_order.insert(event.pin, None);
        self.machine.undelivered(consumer, key, self.now);
        self.check();
        self.machine.resume(consumer, self.now);
    }

    fn advance(&mut self) {
        self.now += Duration::from_millis(self.random.below(12_000));
        for (key, _) in self.in_flight() {
            let State::InFlight(_, deadline) = self.events[&key].state else { continue };
            if deadline <= self.now {
                self.failed(key);
            }
        }
        self.machine.tick(self.now);
    }

    /// Takes the effects and compares them with the model.
    fn check(&mut self) {
        for effect in self.machine.take_effects() {
            match effect {
                Effect::Deliver { consumer, key, retries, .. } => {
                    self.delivered(consumer, key, retries);
                }
                Effect::Park { key, .. } => {
                    assert_eq!(self.events[&key].state, State::Parking, "{key:?} is parked");
                    assert!(self.asked_to_park.insert(key), "{key:?} is parked once");
                }
                Effect::Checkpoint { place } => self.checkpoint_begins(place),
                Effect::Truncate { before } => {
                    assert!(!self.is_truncating);
                    self.is_truncating = true;
                    let all = EventKey::Replayed(0)..EventKey::Replayed(before);
                    for (key, event) in self.events.range(all) {
                        assert_eq!(event.state, State::Finished, "{key:?} is removed");
                    }
                }
                Effect::Drop { consumer } => assert!(!self.consumers.contains_key(&consumer)),
            }
        }
        for (consumer, slots) in &self.consumers {
            let taken = self.in_flight().iter().filter(|(_, of)| of == consumer).count();
            assert!(taken <= *slots, "{consumer:?} has {taken} of {slots}");
        }
    }

    fn delivered(&mut self, consumer: ConsumerId, key: EventKey, retries: u32) {
        assert!(self.consumers.contains_key(&consumer), "{consumer:?} is connected");
        let pin = self.events[&key].pin;
        if self.rules.strategy.pins() {
            for (other, of) in self.in_flight() {
                let is_apart = self.events[&other].pin != pin || of == consumer;
                assert!(is_apart, "{key:?} and {other:?} are with two consumers");
            }
            if let Some(Some(before)) = self.in_order.get(&pin) {
                let is_source = matches!(key, EventKey::Source(_));
                assert!(*before < key || !is_source, "{key:?} comes after {before:?}");
            }
        }
        let last = self.in_order.entry(pin).or_insert(Some(EventKey::Replayed(0)));
        if last.is_some() {
            *last = (*last).max(Some(key));
        }
        let timeout = self.rules.message_timeout.map(|timeout| self.now + timeout);
        let event = self.events.get_mut(&key).unwrap();
        assert_eq!(event.state, State::Waiting, "{key:?} is delivered");
        assert_eq!(event.retries, retries, "{key:?}");
        event.state = State::InFlight(consumer, timeout.unwrap_or(Duration::MAX));
    }

    fn checkpoint_begins(&mut self, place: u64) {
        assert_eq!(self.checkpoint_in_progress, None, "one checkpoint at a time");
        assert!(place > self.checkpoint, "{place} is after {}", self.checkpoint);
        for (key, event) in self.events.range(EventKey::Source(0)..=EventKey::Source(place)) {
            assert_eq!(event.state, State::Finished, "{key:?} is before the checkpoint {place}");
        }
        self.checkpoint_in_progress = Some(place);
    }

    /// Acknowledges everything: nothing may be left behind.
    fn drain(&mut self) {
        for consumer in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.left(consumer);
            self.machine.disconnect(consumer, self.now);
            self.check();
        }
        self.connect();
        self.check();
        while self
            .events
            .values()
            .any(|event| matches!(event.state, State::InFlight(..) | State::Parking))
        {
            self.ack();
            self.confirm_parked();
            self.check();
        }
        for (key, event) in &self.events {
            assert_eq!(event.state, State::Finished, "{key:?} was left behind");
        }
        self.confirm_checkpoint();
        self.check();
        if let Some(place) = self.checkpoint_in_progress.take() {
            self.checkpoint = place;
            self.machine.checkpointed(self.now);
        }
        let last = self.machine.last_checkpoint();
        let complete = self.machine.source.complete();
        assert!(last.is_none() || last == complete, "{last:?} of {complete:?}");
        assert_eq!(complete, self.machine.source.passed(), "nothing holds the checkpoint back");
        assert_eq!(self.machine.held_bytes, 0);
        assert!(self.machine.deadlines.is_empty());
    }
}

#[test]
fn random_operations_lose_nothing_and_checkpoints_stay_before_open_events() {
    for seed in 0..SEEDS {
        let _seed = Seed(seed);
        Play::new(seed).run();
    }
}
