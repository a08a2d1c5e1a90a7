//! A consumer group as a state machine: inputs are methods, outputs are effects.
//!
//! Owns: which event goes to which consumer, retries, what is parked, when a checkpoint is written
//! and up to where. Time is an argument, and counts from the start of the group.
//!
//! Invariants:
//! - An event that the group has taken over is waiting, in flight with one consumer, or being
//!   parked, until it is finished: acknowledged, skipped, or recorded as parked.
//! - A checkpoint never reaches an event that is not finished, and parked events are not removed
//!   before all of them up to there are finished.
//! - A failed delivery is repeated or parks the event; an event is parked once.
//! - The bytes of events that are held are bounded, but for the last events that were taken over.
//!
//! Not here: I/O, tasks, the protocol ([`runner`](super::runner)).

mod checkpoints;
mod consumer;
mod event;
mod figures;
mod latencies;
mod meter;
mod open_events;
mod pins;
mod rules;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use uuid::Uuid;

use self::{
    checkpoints::CheckpointTimer, consumer::Consumer, event::HeldEvent, latencies::Latencies,
    meter::Meter, open_events::OpenEvents, pins::PinBuckets, waiting::WaitingEvents,
};
pub(super) use self::{
    event::{ConsumerId, EventKey, GroupEvent},
    figures::{ConsumerFigures, GroupFigures},
    rules::{GroupRules, Strategy},
};

/// Size of the events that a group holds, in bytes, beyond which it takes over no more.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Bytes that are counted for each event besides its content, so that empty ones are bounded, too.
const EVENT_OVERHEAD_BYTES: usize = 512;

/// Something that the group wants to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect<Payload> {
    /// Send an event to a consumer. [`GroupMachine::undelivered`] takes it back.
    Deliver { consumer: ConsumerId, key: EventKey, payload: Payload, retries: u32 },
    /// Record an event as parked, then call [`GroupMachine::parked`].
    Park { key: EventKey, payload: Payload, reason: ParkReason },
    /// Record a checkpoint, then call [`GroupMachine::checkpointed`] or
    /// [`GroupMachine::checkpoint_failed`].
    Checkpoint { place: u64 },
    /// Hide the parked events before this revision, then call [`GroupMachine::truncated`].
    Truncate { before: u64 },
    /// End the connection of a consumer that has stopped itself.
    Drop { consumer: ConsumerId },
}

/// The reason for which an event is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParkReason {
    /// The consumer asked for it.
    Asked(String),
    /// Each delivery failed.
    Retries { max: u32 },
}

/// A consumer's answer to events that it cannot process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NackAction {
    Park,
    Retry,
    Skip,
    /// End the consumer; its events go to others.
    Stop,
}

/// The group has its maximum number of consumers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyConsumers;

/// The places from which a group continues.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupStart {
    /// Checkpoint of the source.
    pub(super) checkpoint: Option<u64>,
    /// The place before the first event, if there is no checkpoint.
    pub(super) before_first: Option<u64>,
    /// Last hidden revision of the parked events.
    pub(super) parked_before: Option<u64>,
}

/// The state of a group.
#[derive(Debug)]
pub(super) struct GroupMachine<Payload> {
    rules: GroupRules,
    consumers: BTreeMap<ConsumerId, Consumer<Payload>>,
    /// The consumer that got the last event.
    served: Option<ConsumerId>,
    pins: Option<PinBuckets>,
    waiting: WaitingEvents<Payload>,
    parking: BTreeMap<EventKey, HeldEvent<Payload>>,
    /// Times at which events in flight return.
    deadlines: BTreeSet<(Duration, EventKey, ConsumerId)>,
    source: OpenEvents,
    /// The place before the first event of a group that has begun without a checkpoint.
    before_first: Option<u64>,
    is_live: bool,
    replayed: OpenEvents,
    /// The revision up to which parked events are hidden, or will be.
    truncated: Option<u64>,
    is_truncating: bool,
    timer: CheckpointTimer,
    held_bytes: usize,
    meter: Meter,
    effects: Vec<Effect<Payload>>,
}

const fn held_size<Payload>(event: &GroupEvent<Payload>) -> usize {
    event.bytes + EVENT_OVERHEAD_BYTES
}

impl<Payload: Clone> GroupMachine<Payload> {
    pub(super) fn new(rules: GroupRules, start: GroupStart, now: Duration) -> Self {
        let GroupStart { checkpoint, before_first, parked_before } = start;
        Self {
            pins: rules.strategy.pins().then(PinBuckets::new),
            rules,
            consumers: BTreeMap::new(),
            served: None,
            waiting: WaitingEvents::new(),
            parking: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            source: OpenEvents::after(checkpoint.or(before_first)),
            before_first: before_first.filter(|_| checkpoint.is_none()),
            is_live: false,
            replayed: OpenEvents::after(parked_before),
            truncated: parked_before,
            is_truncating: false,
            timer: CheckpointTimer::new(checkpoint.or(before_first), now),
            held_bytes: 0,
            meter: Meter::new(now),
            effects: Vec::new(),
        }
    }

    /// Returns what is to be done since the last call, in this order.
    pub(super) fn take_effects(&mut self) -> Vec<Effect<Payload>> {
        std::mem::take(&mut self.effects)
    }

    /// Returns the number of further events that the group takes over.
    pub(super) fn room(&self) -> usize {
        if self.held_bytes >= HELD_BYTES_MAX {
            return 0;
        }
        let max = match (self.consumers.is_empty(), self.is_live) {
            (true, _) => self.rules.read_batch,
            (false, true) => self.rules.live_buffer,
            (false, false) => self.rules.history_buffer,
        };
        max.max(1).saturating_sub(self.waiting.len() + self.parking.len())
    }

    /// Takes over the next event of the source, or a parked event that is delivered again. An event
    /// that was taken over before is left out.
    pub(super) fn feed(&mut self, event: GroupEvent<Payload>, now: Duration) {
        let is_new = match event.key {
            EventKey::Source(place) => self.source.begin(place),
            EventKey::Replayed(revision) => self.replayed.begin(revision),
        };
        if !is_new {
            return;
        }
        self.held_bytes += held_size(&event);
        self.wait(HeldEvent { event, retries: 0, last: None });
        self.proceed(now);
    }

    /// Notes that a place has no event for the group.
    pub(super) fn pass(&mut self, key: EventKey, now: Duration) {
        match key {
            EventKey::Source(place) => self.source.pass(place),
            EventKey::Replayed(revision) => self.replayed.pass(revision),
        }
        self.proceed(now);
    }

    /// Notes that the source has, or has no longer, delivered everything that there is.
    pub(super) const fn set_live(&mut self, is_live: bool) {
        self.is_live = is_live;
    }

    /// Connects a consumer that may have `slots` events at a time.
    pub(super) fn connect(
        &mut self,
        consumer: ConsumerId,
        slots: usize,
        now: Duration,
    ) -> Result<(), TooManyConsumers> {
        if self.rules.consumers_max.is_some_and(|max| self.consumers.len() >= max) {
            return Err(TooManyConsumers);
        }
        let connected = Consumer::new(slots.max(1), now);
        let connected = match self.rules.extra_statistics {
            true => connected.measuring_latencies(),
            false => connected,
        };
        self.consumers.insert(consumer, connected);
        self.rebalance();
        self.proceed(now);
        Ok(())
    }

    /// Takes the events of a consumer back. Each counts as a failed delivery, so that an event that
    /// ends its consumers is parked at last.
    pub(super) fn disconnect(&mut self, consumer: ConsumerId, now: Duration) {
        let Some(keys) = self.consumers.get(&consumer).map(Consumer::keys) else { return };
        for key in keys {
            if let Some(held) = self.take_in_flight(consumer, key) {
                self.retry(held);
            }
        }
        self.consumers.remove(&consumer);
        self.rebalance();
        self.proceed(now);
    }

    /// Finishes events that a consumer has processed. An acknowledgement that comes after the
    /// timeout counts as long as the event waits for its next delivery.
    pub(super) fn ack(&mut self, consumer: ConsumerId, ids: &[Uuid], now: Duration) {
        for id in ids {
            let held = match self.key_in_flight(consumer, *id) {
                Some(key) => {
                    self.answered(consumer, key, now);
                    self.take_in_flight(consumer, key)
                }
                None => self.waiting.take_returned(*id, consumer),
            };
            if let Some(held) = held {
                self.finish(&held);
            }
        }
        self.proceed(now);
    }

    /// Takes the answer of a consumer that cannot process these events.
    pub(super) fn nack(
        &mut self,
        consumer: ConsumerId,
        ids: &[Uuid],
        answer: (NackAction, &str),
        now: Duration,
    ) {
        let (action, reason) = answer;
        if action == NackAction::Stop {
            self.effects.push(Effect::Drop { consumer });
            return self.disconnect(consumer, now);
        }
        for id in ids {
            let key = self.key_in_flight(consumer, *id);
            if let Some(key) = key {
                self.answered(consumer, key, now);
            }
            let Some(held) = key.and_then(|key| self.take_in_flight(consumer, key)) else {
                continue;
            };
            match action {
                NackAction::Park => self.park(held, ParkReason::Asked(reason.to_owned())),
                NackAction::Skip => self.finish(&held),
                NackAction::Retry | NackAction::Stop => self.retry(held),
            }
        }
        self.proceed(now);
    }

    /// Takes back an event that a consumer could not be sent because it reads too slowly. The
    /// consumer gets nothing more until [`GroupMachine::resume`].
    pub(super) fn undelivered(&mut self, consumer: ConsumerId, key: EventKey, now: Duration) {
        let Some(held) = self.take_in_flight(consumer, key) else { return };
        self.meter.uncount();
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.is_stalled = true;
            consumer.meter.uncount();
        }
        self.wait(held);
        self.proceed(now);
    }

    /// Notes that a consumer has read what it was sent.
    pub(super) fn resume(&mut self, consumer: ConsumerId, now: Duration) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.is_stalled = false;
        }
        self.proceed(now);
    }

    /// Notes that an event was recorded as parked.
    pub(super) fn parked(&mut self, key: EventKey, now: Duration) {
        if let Some(held) = self.parking.remove(&key) {
            self.finish(&held);
        }
        self.proceed(now);
    }

    pub(super) fn checkpointed(&mut self, now: Duration) {
        self.timer.written_now();
        self.proceed(now);
    }

    /// Notes that a checkpoint was not recorded. The next one is due after the usual time.
    pub(super) const fn checkpoint_failed(&mut self) {
        self.timer.failed();
    }

    pub(super) fn truncated(&mut self, now: Duration) {
        self.is_truncating = false;
        self.proceed(now);
    }

    /// Does what is due by the clock.
    pub(super) fn tick(&mut self, now: Duration) {
        while let Some(first) = self.deadlines.first().copied().filter(|first| first.0 <= now) {
            let (_, key, consumer) = first;
            match self.take_in_flight(consumer, key) {
                Some(held) => self.retry(held),
                // Unreachable while each deadline has its event; the loop must end all the same.
                None => drop(self.deadlines.remove(&first)),
            }
        }
        self.proceed(now);
    }

    /// Returns the time of the next [`GroupMachine::tick`].
    pub(super) fn next_tick(&self) -> Option<Duration> {
        let timeout = self.deadlines.first().map(|(at, _, _)| *at);
        let checkpoint = self.timer.due_at(self.source.complete(), &self.rules);
        [timeout, checkpoint].into_iter().flatten().min()
    }

    /// Returns the last place of the source that was taken over or passed.
    pub(super) const fn last_read(&self) -> Option<u64> {
        self.source.passed()
    }

    /// Returns the checkpoint to record before the group ends.
    pub(super) fn last_checkpoint(&self) -> Option<u64> {
        let complete = self.source.complete();
        complete.filter(|_| self.timer.is_wanted_at_end(complete))
    }

    /// Returns the figures at this moment, and begins their next measurement.
    pub(super) fn figures(&mut self, now: Duration) -> GroupFigures {
        let consumers: Vec<_> = self
            .consumers
            .iter_mut()
            .map(|(id, consumer)| {
                let figures = ConsumerFigures {
                    delivered: consumer.meter.read(now),
                    in_flight: consumer.in_flight(),
                    free_slots: consumer.free_slots(),
                    latencies: consumer
                        .latencies
                        .as_ref()
                        .map_or_else(Vec::new, Latencies::summary),
                };
                (*id, figures)
            })
            .collect();
        let retried = self.waiting.returned();
        GroupFigures {
            delivered: self.meter.read(now),
            is_live: self.is_live,
            is_replaying: !self.replayed.is_empty(),
            checkpoint: self.timer.written().filter(|at| Some(*at) != self.before_first),
            last_known: self.source.passed(),
            waiting: self.waiting.len().saturating_sub(retried),
            retried,
            in_flight: consumers.iter().map(|(_, consumer)| consumer.in_flight).sum(),
            consumers,
        }
    }

    fn key_in_flight(&self, consumer: ConsumerId, id: Uuid) -> Option<EventKey> {
        self.consumers.get(&consumer)?.key_of(id)
    }

    fn answered(&mut self, consumer: ConsumerId, key: EventKey, now: Duration) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.answered(key, now);
        }
    }

    fn take_in_flight(
        &mut self,
        consumer: ConsumerId,
        key: EventKey,
    ) -> Option<HeldEvent<Payload>> {
        let taken = self.consumers.get_mut(&consumer)?.take(key)?;
        if let Some(deadline) = taken.deadline {
            self.deadlines.remove(&(deadline, key, consumer));
        }
        let pin = taken.held.event.pin;
        if let Some(pins) = &mut self.pins
            && pins.returned(pin)
        {
            self.waiting.move_bucket(PinBuckets::bucket_of(pin), pins);
        }
        Some(taken.held)
    }

    fn wait(&mut self, held: HeldEvent<Payload>) {
        let queue = self.pins.as_ref().and_then(|pins| pins.owner(held.event.pin));
        self.waiting.push(queue, held);
    }

    fn retry(&mut self, mut held: HeldEvent<Payload>) {
        let max = self.rules.retries_max;
        if held.retries >= max {
            return self.park(held, ParkReason::Retries { max });
        }
        held.retries += 1;
        self.wait(held);
    }

    fn park(&mut self, held: HeldEvent<Payload>, reason: ParkReason) {
        let (key, payload) = (held.key(), held.event.payload.clone());
        self.effects.push(Effect::Park { key, payload, reason });
        self.parking.insert(key, held);
    }

    fn finish(&mut self, held: &HeldEvent<Payload>) {
        self.held_bytes -= held_size(&held.event);
        match held.key() {
            EventKey::Source(place) => {
                self.source.finish(place);
                self.timer.count_finished();
            }
            EventKey::Replayed(revision) => self.replayed.finish(revision),
        }
    }

    fn rebalance(&mut self) {
        let Some(pins) = &mut self.pins else { return };
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        pins.rebalance(&consumers);
        self.waiting.move_all(pins);
    }

    /// Does what an input has made possible.
    fn proceed(&mut self, now: Duration) {
        match self.pins.is_some() {
            true => self.dispatch_pinned(now),
            false => self.dispatch_to_any(now),
        }
        let complete = self.source.complete();
        if let Some(place) = complete
            && self.timer.due_at(complete, &self.rules).is_some_and(|due| due <= now)
        {
            self.timer.begin(place, now);
            self.effects.push(Effect::Checkpoint { place });
        }
        let hidden = self.replayed.complete();
        if let Some(last) = hidden
            && hidden > self.truncated
            && !self.is_truncating
        {
            self.truncated = hidden;
            self.is_truncating = true;
            self.effects.push(Effect::Truncate { before: last.saturating_add(1) });
        }
    }

    fn dispatch_to_any(&mut self, now: Duration) {
        while let Some(first) = self.waiting.first(None) {
            let Some(consumer) = self.choose(first) else { return };
            let Some(held) = self.waiting.pop(None) else { return };
            self.send(consumer, held, now);
        }
    }

    fn dispatch_pinned(&mut self, now: Duration) {
        let consumers: Vec<_> = self.consumers.keys().copied().collect();
        for consumer in consumers {
            while let Some(first) = self.waiting.first(Some(consumer)) {
                let id = first.event.id;
                if !self.consumers.get(&consumer).is_some_and(|consumer| consumer.can_take(id)) {
                    break;
                }
                let Some(held) = self.waiting.pop(Some(consumer)) else { break };
                self.send(consumer, held, now);
            }
        }
    }

    /// Returns the consumer that gets an event. One that has failed on it gets it again only if no
    /// other is free: one that answers nothing would hold up the group.
    fn choose(&self, held: &HeldEvent<Payload>) -> Option<ConsumerId> {
        let after = match (self.rules.strategy, self.served) {
            (Strategy::RoundRobin, Some(served)) => Bound::Excluded(served),
            _ => Bound::Unbounded,
        };
        let later = self.consumers.range((after, Bound::Unbounded));
        let in_turn = later.chain(self.consumers.iter());
        let mut free = in_turn.filter(|(_, consumer)| consumer.can_take(held.event.id));
        let (first, _) = free.next()?;
        if held.last != Some(*first) {
            return Some(*first);
        }
        Some(free.map(|(other, _)| *other).find(|other| other != first).unwrap_or(*first))
    }

    fn send(&mut self, consumer: ConsumerId, mut held: HeldEvent<Payload>, now: Duration) {
        let Some(taker) = self.consumers.get_mut(&consumer) else { return };
        held.last = Some(consumer);
        let (key, payload, retries) = (held.key(), held.event.payload.clone(), held.retries);
        let deadline = self.rules.message_timeout.map(|timeout| now.saturating_add(timeout));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key, consumer));
        }
        if let Some(pins) = &mut self.pins {
            pins.sent(held.event.pin);
        }
        taker.put(held, deadline, now);
        self.served = Some(consumer);
        self.meter.count();
        self.effects.push(Effect::Deliver { consumer, key, payload, retries });
    }
}
