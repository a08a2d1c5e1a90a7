//! The deliveries of a read model's subscription, fetched and decoded ahead while a batch is
//! applied.
//!
//! Invariant: deliveries come in order, and none is lost when a future is dropped. Pages that were
//! fetched ahead come as one, so that they share a transaction. Events that do not decode come
//! undecoded; the batch that applies them reports why.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use gesta_store::{Delivery, Partition, Position, RecordedEvent, StoreError, Subscription};

use crate::{EventSet, Recorded};

/// Number of events fetched ahead from which no more are fetched.
const EVENTS_AHEAD_MAX: usize = 1_024;

pub(super) struct Deliveries<E> {
    subscription: Subscription,
    ahead: VecDeque<Result<Fetched<E>, StoreError>>,
    events_ahead: usize,
    /// The partition whose events are delivered. `None` for all events.
    partition: Option<Partition>,
    /// Position of the last event of the page before, if it was left out.
    passed: Option<Position>,
}

/// A delivery to a read model.
pub(super) enum Fetched<E> {
    Events(FetchedEvents<E>),
    Other(Delivery),
    /// It is time to store the position.
    Save,
    /// It is time to look how far the partitions are.
    Look,
}

/// Events in order, decoded if that was done ahead.
pub(super) struct FetchedEvents<E> {
    pub(super) stored: Vec<RecordedEvent>,
    /// `None` also if one of the events does not decode or describes a stream.
    pub(super) decoded: Option<Vec<Recorded<E>>>,
}

impl<E: EventSet> Fetched<E> {
    fn undecoded(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Events(stored) => Self::Events(FetchedEvents { stored, decoded: None }),
            other => Self::Other(other),
        }
    }
}

impl<E: EventSet> FetchedEvents<E> {
    fn decode(&mut self) {
        if self.stored.iter().any(|event| event.stream.is_system()) {
            return;
        }
        // An upcaster may panic. The batch decodes again, where a panic fails its event only.
        let decoded = catch_unwind(AssertUnwindSafe(|| Recorded::read_all(&self.stored)));
        self.decoded = decoded.ok().and_then(Result::ok);
    }

    fn append(&mut self, next: Self) {
        self.stored.extend(next.stored);
        match (&mut self.decoded, next.decoded) {
            (Some(all), Some(decoded)) => all.extend(decoded),
            (all, _) => *all = None,
        }
    }
}

impl<E: EventSet> Deliveries<E> {
    pub(super) fn of(subscription: Subscription, partition: Option<Partition>) -> Self {
        Self { subscription, ahead: VecDeque::new(), events_ahead: 0, partition, passed: None }
    }

    /// Returns the next delivery. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Fetched<E>, StoreError> {
        if let Some(events) = self.take_events() {
            return Ok(events);
        }
        match self.ahead.pop_front() {
            Some(fetched) => fetched,
            // Nothing is being applied while the events could be decoded.
            None => self.fetch().await.map(Fetched::undecoded),
        }
    }

    /// Awaits work, and fetches deliveries at the same time.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                delivery = self.fetch(), if self.has_room() => self.keep(delivery),
            }
        }
    }

    /// Takes the events that were fetched ahead, up to the first other delivery.
    fn take_events(&mut self) -> Option<Fetched<E>> {
        let mut all: Option<FetchedEvents<E>> = None;
        while let Some(Ok(Fetched::Events(events))) =
            self.ahead.pop_front_if(|one| matches!(one, Ok(Fetched::Events(_))))
        {
            self.events_ahead -= events.stored.len();
            match &mut all {
                Some(all) => all.append(events),
                None => all = Some(events),
            }
        }
        all.map(Fetched::Events)
    }

    /// Cancel-safe.
    async fn fetch(&mut self) -> Result<Delivery, StoreError> {
        if let Some(passed) = self.passed.take() {
            return Ok(Delivery::Checkpoint(passed));
        }
        let delivery = self.subscription.next().await;
        let delivery =
            delivery.unwrap_or_else(|| Err(StoreError::unavailable("the subscription ended")))?;
        match (self.partition, delivery) {
            (Some(partition), Delivery::Events(events)) => Ok(self.only_of(partition, events)),
            (_, delivery) => Ok(delivery),
        }
    }

    /// Leaves out the events of other partitions. Their position is delivered behind the others.
    fn only_of(&mut self, partition: Partition, mut events: Vec<RecordedEvent>) -> Delivery {
        let last = events.last().map(|event| event.position);
        events.retain(|event| {
            // The end of a stream belongs to the partition of that stream.
            let described = event.stream.described_stream();
            partition.has(described.as_ref().unwrap_or(&event.stream))
        });
        let own = events.last().map(|event| event.position);
        match last {
            Some(last) if own.is_none() => Delivery::Checkpoint(last),
            _ => {
                self.passed = last.filter(|_| last != own);
                Delivery::Events(events)
            }
        }
    }

    fn has_room(&self) -> bool {
        // The subscription ends with its first error.
        let has_ended = self.ahead.back().is_some_and(Result::is_err);
        self.events_ahead < EVENTS_AHEAD_MAX && !has_ended
    }

    fn keep(&mut self, delivery: Result<Delivery, StoreError>) {
        let mut fetched = delivery.map(Fetched::undecoded);
        if let Ok(Fetched::Events(events)) = &mut fetched {
            self.events_ahead += events.stored.len();
            events.decode();
        }
        self.ahead.push_back(fetched);
    }
}
