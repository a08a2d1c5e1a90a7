//! One consumer: its slots, and the events that it has.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use uuid::Uuid;

use super::{
    event::{EventKey, HeldEvent},
    latencies::Latencies,
    meter::Meter,
};

/// A connected consumer.
#[derive(Debug)]
pub(super) struct Consumer<Payload> {
    slots: usize,
    in_flight: BTreeMap<EventKey, InFlight<Payload>>,
    by_id: HashMap<Uuid, EventKey>,
    /// The consumer reads too slowly; it gets nothing until it has read.
    pub(super) is_stalled: bool,
    pub(super) meter: Meter,
    /// `None` if the group has no extra statistics.
    pub(super) latencies: Option<Latencies>,
}

/// An event that was sent and not acknowledged.
#[derive(Debug)]
pub(super) struct InFlight<Payload> {
    pub(super) held: HeldEvent<Payload>,
    /// The time at which it returns; `None` waits forever.
    pub(super) deadline: Option<Duration>,
    sent: Duration,
}

impl<Payload> Consumer<Payload> {
    pub(super) fn new(slots: usize, now: Duration) -> Self {
        Self {
            slots,
            in_flight: BTreeMap::new(),
            by_id: HashMap::new(),
            is_stalled: false,
            meter: Meter::new(now),
            latencies: None,
        }
    }

    pub(super) fn measuring_latencies(self) -> Self {
        Self { latencies: Some(Latencies::default()), ..self }
    }

    /// Returns `true` if the consumer has a slot for the event with this id. Two events with one id
    /// could not be told apart by their acknowledgements.
    pub(super) fn can_take(&self, id: Uuid) -> bool {
        !self.is_stalled && self.in_flight.len() < self.slots && !self.by_id.contains_key(&id)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn free_slots(&self) -> usize {
        self.slots.saturating_sub(self.in_flight.len())
    }

    pub(super) fn put(
        &mut self,
        held: HeldEvent<Payload>,
        deadline: Option<Duration>,
        now: Duration,
    ) {
        self.by_id.insert(held.event.id, held.key());
        self.in_flight.insert(held.key(), InFlight { held, deadline, sent: now });
        self.meter.count();
    }

    /// Notes that the consumer has answered for an event in flight.
    pub(super) fn answered(&mut self, key: EventKey, now: Duration) {
        if let (Some(latencies), Some(event)) = (&mut self.latencies, self.in_flight.get(&key)) {
            latencies.record(now.saturating_sub(event.sent));
        }
    }

    /// Returns the key of the event in flight with this id.
    pub(super) fn key_of(&self, id: Uuid) -> Option<EventKey> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn take(&mut self, key: EventKey) -> Option<InFlight<Payload>> {
        let taken = self.in_flight.remove(&key)?;
        self.by_id.remove(&taken.held.event.id);
        Some(taken)
    }

    /// Returns the keys of all events in flight, in their order.
    pub(super) fn keys(&self) -> Vec<EventKey> {
        self.in_flight.keys().copied().collect()
    }
}
