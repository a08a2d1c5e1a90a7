//! The deliveries of a read model's subscription, fetched ahead while a batch is applied.
//!
//! Invariant: deliveries come in order, and none is lost when a future is dropped. Pages that were
//! fetched ahead come as one, so that they share a transaction.

use std::{collections::VecDeque, future::Future, pin::pin};

use gesta_store::{Delivery, RecordedEvent, StoreError, Subscription};

/// Number of events fetched ahead from which no more are fetched.
const EVENTS_AHEAD_MAX: usize = 1_024;

pub(super) struct Deliveries {
    subscription: Subscription,
    ahead: VecDeque<Result<Delivery, StoreError>>,
    events_ahead: usize,
}

impl Deliveries {
    pub(super) fn of(subscription: Subscription) -> Self {
        Self { subscription, ahead: VecDeque::new(), events_ahead: 0 }
    }

    /// Returns the next delivery. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Delivery, StoreError> {
        if let Some(events) = self.take_events() {
            return Ok(Delivery::Events(events));
        }
        match self.ahead.pop_front() {
            Some(delivery) => delivery,
            None => self.fetch().await,
        }
    }

    /// Awaits work, and fetches deliveries meanwhile.
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
    fn take_events(&mut self) -> Option<Vec<RecordedEvent>> {
        let mut events: Option<Vec<RecordedEvent>> = None;
        while let Some(Ok(Delivery::Events(page))) =
            self.ahead.pop_front_if(|one| matches!(one, Ok(Delivery::Events(_))))
        {
            self.events_ahead -= page.len();
            match &mut events {
                Some(events) => events.extend(page),
                None => events = Some(page),
            }
        }
        events
    }

    /// Cancel-safe.
    async fn fetch(&mut self) -> Result<Delivery, StoreError> {
        let delivery = self.subscription.next().await;
        delivery.unwrap_or_else(|| Err(StoreError::unavailable("the subscription ended")))
    }

    fn has_room(&self) -> bool {
        // The subscription ends with its first error.
        let has_ended = self.ahead.back().is_some_and(Result::is_err);
        self.events_ahead < EVENTS_AHEAD_MAX && !has_ended
    }

    fn keep(&mut self, delivery: Result<Delivery, StoreError>) {
        if let Ok(Delivery::Events(page)) = &delivery {
            self.events_ahead += page.len();
        }
        self.ahead.push_back(delivery);
    }
}
