//! Events that wait for a consumer.
//!
//! Owns: one queue for all consumers, or one for each if events are pinned. Invariant: a queue is
//! in the order of keys, so an event that returns stands before later ones.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{
    event::{ConsumerId, EventKey, HeldEvent},
    pins::PinBuckets,
};

type Queue<Payload> = BTreeMap<EventKey, HeldEvent<Payload>>;

/// Queues of events, by consumer; `None` is the queue of all.
#[derive(Debug)]
pub(super) struct WaitingEvents<Payload> {
    queues: BTreeMap<Option<ConsumerId>, Queue<Payload>>,
    count: usize,
    /// Ids of the events that were delivered before.
    returned: HashMap<Uuid, EventKey>,
}

impl<Payload> WaitingEvents<Payload> {
    pub(super) fn new() -> Self {
        Self { queues: BTreeMap::new(), count: 0, returned: HashMap::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Returns the number of waiting events that were delivered before.
    pub(super) fn returned(&self) -> usize {
        self.returned.len()
    }

    pub(super) fn push(&mut self, queue: Option<ConsumerId>, held: HeldEvent<Payload>) {
        if held.last.is_some() {
            self.returned.insert(held.event.id, held.key());
        }
        let replaced = self.queues.entry(queue).or_default().insert(held.key(), held);
        debug_assert!(replaced.is_none(), "an event waits once");
        self.count += 1;
    }

    /// Returns the first event of a queue.
    pub(super) fn first(&self, queue: Option<ConsumerId>) -> Option<&HeldEvent<Payload>> {
        Some(self.queues.get(&queue)?.first_key_value()?.1)
    }

    pub(super) fn pop(&mut self, queue: Option<ConsumerId>) -> Option<HeldEvent<Payload>> {
        let (_, held) = self.queues.get_mut(&queue)?.pop_first()?;
        self.forget(&held);
        Some(held)
    }

    /// Takes out an event that this consumer had before and that waits for its next delivery.
    pub(super) fn take_returned(
        &mut self,
        id: Uuid,
        consumer: ConsumerId,
    ) -> Option<HeldEvent<Payload>> {
        let key = *self.returned.get(&id)?;
        let queue = self.queues.values_mut().find(|queue| queue.contains_key(&key))?;
        if queue.get(&key)?.last != Some(consumer) {
            return None;
        }
        let held = queue.remove(&key)?;
        self.forget(&held);
        Some(held)
    }

    /// Moves the events of one bucket, which has changed its owner.
    pub(super) fn move_bucket(&mut self, bucket: usize, pins: &PinBuckets) {
        let in_bucket = |held: &HeldEvent<Payload>| PinBuckets::bucket_of(held.event.pin) == bucket;
        self.sort_out(in_bucket, pins);
    }

    /// Moves all events to the queues of their owners.
    pub(super) fn move_all(&mut self, pins: &PinBuckets) {
        self.sort_out(|_| true, pins);
        self.queues.retain(|_, queue| !queue.is_empty());
    }

    fn sort_out(&mut self, selects: impl Fn(&HeldEvent<Payload>) -> bool, pins: &PinBuckets) {
        let mut moved = Vec::new();
        for queue in self.queues.values_mut() {
            moved.extend(queue.extract_if(.., |_, held| selects(held)));
        }
        for (key, held) in moved {
            self.queues.entry(pins.owner(held.event.pin)).or_default().insert(key, held);
        }
    }

    fn forget(&mut self, held: &HeldEvent<Payload>) {
        self.count -= 1;
        if self.returned.get(&held.event.id) == Some(&held.key()) {
            self.returned.remove(&held.event.id);
        }
    }
}
