//! A subscriber, and the deliveries that it must receive.
//!
//! Invariant: a subscriber is polled after all published events were absorbed, so its deliveries
//! can be compared with the history immediately.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use gesta_log::LogStore;
use gesta_store::{
    Checkpoint, Delivery, EventStore, Filter, Position, RecordedEvent, Revision, StoreError,
    StreamName, StreamState, Subscribe, Subscription, Visibility,
};

use super::{poll::WakeFlag, reads};
use crate::model::{CheckResult, History, Violation, ensure};

/// Events that a subscriber asks for.
#[derive(Debug)]
pub(crate) enum SubscriptionTarget {
    All(Filter, Visibility),
    Stream(StreamName),
}

/// A subscription and its progress.
#[derive(Debug)]
pub(crate) struct Subscriber {
    subscription: Subscription,
    target: SubscriptionTarget,
    /// Position up to which everything was delivered or filtered out.
    passed: Position,
    /// Last delivered revision; only for a single stream.
    last: Option<Revision>,
    /// Events that were hidden at a poll and may have been skipped then; only for the whole store
    /// without hidden events.
    hidden: BTreeSet<Position>,
    woken: Arc<WakeFlag>,
    waiting: bool,
    ended: bool,
}

impl Subscriber {
    /// Subscribes after a checkpoint; a single stream from its first event.
    pub(crate) fn subscribe(
        store: &LogStore,
        target: SubscriptionTarget,
        checkpoint: Checkpoint,
    ) -> Self {
        let (subscribe, passed) = match &target {
            SubscriptionTarget::All(filter, visibility) => {
                let resumed = Subscribe::to_all().resume(checkpoint).visibility(*visibility);
                (resumed.filter(filter.clone()).into(), checkpoint.position)
            }
            SubscriptionTarget::Stream(stream) => {
                (Subscribe::to_stream(stream.clone()).into(), Position::START)
            }
        };
        let subscription = store.subscribe(subscribe);
        let woken = Arc::new(WakeFlag::default());
        let (hidden, last) = (BTreeSet::new(), None);
        Self { subscription, target, passed, last, hidden, woken, waiting: false, ended: false }
    }

    /// Takes at most `deliveries_max` deliveries.
    pub(crate) fn listen(&mut self, history: &History, deliveries_max: usize) -> CheckResult {
        if self.is_visible_only() {
            // Taken before the poll: events hidden now may be skipped by it.
            self.hidden.extend(history.hidden());
        }
        // A waiting subscriber must have been woken by the event that it misses.
        let missed = self.next_expected(history).is_some();
        ensure(!(self.waiting && missed) || self.woken.is_set(), || {
            format!("a subscriber to {:?} was not woken after {}", self.target, self.passed)
        })?;
        for _ in 0..deliveries_max {
            if self.ended {
                break;
            }
            // A wake-up counts only if it comes after this poll.
            self.woken.clear();
            let waker = self.woken.waker();
            let mut context = Context::from_waker(&waker);
            match Pin::new(&mut self.subscription).poll_next(&mut context) {
                Poll::Pending => {
                    self.waiting = true;
                    self.check_none_skipped(history, history.head())?;
                    // Pending means that nothing up to the head is outstanding.
                    self.passed = history.head();
                    return Ok(());
                }
                Poll::Ready(None) => {
                    return Err(Violation("a subscription ended without an error".to_owned()));
                }
                Poll::Ready(Some(delivery)) => self.take(history, delivery)?,
            }
            self.waiting = false;
        }
        Ok(())
    }

    fn take(&mut self, history: &History, delivery: Result<Delivery, StoreError>) -> CheckResult {
        match delivery {
            Ok(Delivery::Events(page)) => {
                ensure(!page.is_empty(), || "a delivery was empty".to_owned())?;
                page.iter().try_for_each(|event| self.take_event(history, event))
            }
            Ok(Delivery::CaughtUp(position) | Delivery::Checkpoint(position)) => {
                ensure(position >= self.passed && position <= history.head(), || {
                    format!("a subscriber at {} received position {position}", self.passed)
                })?;
                self.check_none_skipped(history, position)?;
                self.passed = position;
                Ok(())
            }
            Ok(other) => Err(Violation(format!("a subscriber received {other:?}"))),
            Err(StoreError::Deleted { stream }) => {
                self.ended = true;
                let past = history.stream_state_at(&stream, history.head());
                ensure(past.state == StreamState::Tombstoned, || {
                    format!("a subscriber was told that {stream} is tombstoned, but it is not")
                })
            }
            Err(error) => Err(Violation(format!("a subscription failed: {error}"))),
        }
    }

    fn take_event(&mut self, history: &History, event: &RecordedEvent) -> CheckResult {
        let expected = self.next_expected(history);
        let skipped = self.may_skip(history)
            && event.position > self.passed
            && history.at(event.position) == Some(event)
            && self.is_meant(event);
        // New metadata can make a skipped event visible again before it is passed.
        let shown_again = self.hidden.contains(&event.position)
            && event.position > self.passed
            && expected.is_none_or(|expected| event.position < expected.position)
            && history.at(event.position) == Some(event)
            && history.was_visible(event, history.head());
        let known = expected == Some(event) || skipped || shown_again && self.is_meant(event);
        ensure(known && self.last.is_none_or(|last| event.revision > last), || {
            let expected = expected.map(|event| event.position);
            format!(
                "a subscriber to {:?} got the event at {} instead of {expected:?}",
                self.target, event.position
            )
        })?;
        self.passed = self.passed.max(event.position);
        self.last = matches!(self.target, SubscriptionTarget::Stream(_)).then_some(event.revision);
        Ok(())
    }

    /// Checks that no expected event up to `position` is outstanding.
    fn check_none_skipped(&self, history: &History, position: Position) -> CheckResult {
        let left = self.next_expected(history).filter(|event| event.position <= position);
        ensure(left.is_none() || self.may_skip(history), || {
            format!("a subscriber to {:?} missed {left:?}", self.target)
        })
    }

    fn next_expected<'a>(&self, history: &'a History) -> Option<&'a RecordedEvent> {
        let all = history.events();
        let known = all.partition_point(|event| event.position <= self.passed);
        let not_passed = |event: &&RecordedEvent| !self.hidden.contains(&event.position);
        all.iter().skip(known).filter(not_passed).find(|event| self.is_meant(event))
    }

    fn is_visible_only(&self) -> bool {
        match &self.target {
            SubscriptionTarget::All(filter, asked) => {
                filter.visibility(*asked) == Visibility::Visible
            }
            SubscriptionTarget::Stream(_) => false,
        }
    }

    fn is_meant(&self, event: &RecordedEvent) -> bool {
        match &self.target {
            SubscriptionTarget::All(filter, _) => reads::selects(filter, event),
            SubscriptionTarget::Stream(stream) => event.stream == *stream,
        }
    }

    /// Returns whether events may be skipped: metadata hides events of a stream at the time of a
    /// poll, and events skipped while hidden are not delivered later.
    fn may_skip(&self, history: &History) -> bool {
        match &self.target {
            SubscriptionTarget::All(..) => false,
            SubscriptionTarget::Stream(stream) => {
                history.stream_state_at(stream, history.head()).metadata_head.is_some()
            }
        }
    }
}
