//! A subscriber, and what it must be told.
//!
//! Always holds: it asks only after everything published was absorbed, so what it is told can be
//! compared with the history at once.

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

use super::poll::Bell;
use crate::model::{Broken, History, Verdict, demand};

/// What a follower is about.
#[derive(Debug)]
pub(crate) enum Topic {
    All(Filter, Visibility),
    Stream(StreamName),
}

/// A subscription with what it has delivered.
#[derive(Debug)]
pub(crate) struct Follower {
    subscription: Subscription,
    topic: Topic,
    /// Everything up to here was delivered or is not meant.
    place: Position,
    /// The revision that was delivered last, of a stream.
    last: Option<Revision>,
    /// Of the whole store without hidden events: what was hidden when it listened, and may have been
    /// passed then.
    hidden: BTreeSet<Position>,
    bell: Arc<Bell>,
    waiting: bool,
    ended: bool,
}

impl Follower {
    /// Subscribes after a checkpoint; to a stream, from its first event on.
    pub(crate) fn subscribe(store: &LogStore, topic: Topic, checkpoint: Checkpoint) -> Self {
        let (subscribe, place) = match &topic {
            Topic::All(filter, visibility) => {
                let resumed = Subscribe::to_all().resume(checkpoint).showing(*visibility);
                (resumed.only(filter.clone()), checkpoint.position)
            }
            Topic::Stream(stream) => (Subscribe::to_stream(stream.clone()), Position::START),
        };
        let subscription = store.subscribe(subscribe);
        let bell = Arc::new(Bell::default());
        let (hidden, last) = (BTreeSet::new(), None);
        Self { subscription, topic, place, last, hidden, bell, waiting: false, ended: false }
    }

    /// Takes deliveries, at most so many.
    pub(crate) fn listen(&mut self, history: &History, deliveries_max: usize) -> Verdict {
        if self.is_visible_only() {
            self.hidden.extend(history.hidden());
        }
        let missed = self.next_expected(history).is_some();
        demand(!(self.waiting && missed) || self.bell.has_rung(), || {
            format!("a subscriber to {:?} was not woken after {}", self.topic, self.place)
        })?;
        for _ in 0..deliveries_max {
            if self.ended {
                break;
            }
            self.bell.silence();
            let waker = self.bell.waker();
            let mut context = Context::from_waker(&waker);
            match Pin::new(&mut self.subscription).poll_next(&mut context) {
                Poll::Pending => {
                    self.waiting = true;
                    self.nothing_left(history, history.head())?;
                    self.place = history.head();
                    return Ok(());
                }
                Poll::Ready(None) => return Err(Broken("a subscription ended".to_owned())),
                Poll::Ready(Some(delivery)) => self.take(history, delivery)?,
            }
            self.waiting = false;
        }
        Ok(())
    }

    fn take(&mut self, history: &History, delivery: Result<Delivery, StoreError>) -> Verdict {
        match delivery {
            Ok(Delivery::Events(page)) => {
                demand(!page.is_empty(), || "a delivery was empty".to_owned())?;
                page.iter().try_for_each(|event| self.take_event(history, event))
            }
            Ok(Delivery::CaughtUp(position) | Delivery::Checkpoint(position)) => {
                demand(position >= self.place && position <= history.head(), || {
                    format!("a subscriber at {} was told {position}", self.place)
                })?;
                self.nothing_left(history, position)?;
                self.place = position;
                Ok(())
            }
            Err(StoreError::Deleted { stream }) => {
                self.ended = true;
                let past = history.stream_past(&stream, history.head());
                demand(past.state == StreamState::Tombstoned, || {
                    format!("a subscriber was told that {stream} was tombstoned")
                })
            }
            Err(error) => Err(Broken(format!("a subscription failed: {error}"))),
        }
    }

    fn take_event(&mut self, history: &History, event: &RecordedEvent) -> Verdict {
        let expected = self.next_expected(history);
        let skipped = self.may_skip(history)
            && event.position > self.place
            && history.at(event.position) == Some(event)
            && self.is_meant(event);
        let shown_again = self.hidden.contains(&event.position)
            && event.position > self.place
            && expected.is_none_or(|expected| event.position < expected.position)
            && history.at(event.position) == Some(event)
            && history.was_visible(event, history.head());
        let known = expected == Some(event) || skipped || shown_again && self.is_meant(event);
        demand(known && self.last.is_none_or(|last| event.revision > last), || {
            let expected = expected.map(|event| event.position);
            format!(
                "a subscriber to {:?} got the event at {} instead of {expected:?}",
                self.topic, event.position
            )
        })?;
        self.place = self.place.max(event.position);
        self.last = matches!(self.topic, Topic::Stream(_)).then_some(event.revision);
        Ok(())
    }

    /// Nothing up to `position` was left out.
    fn nothing_left(&self, history: &History, position: Position) -> Verdict {
        let left = self.next_expected(history).filter(|event| event.position <= position);
        demand(left.is_none() || self.may_skip(history), || {
            format!("a subscriber to {:?} was not told of {left:?}", self.topic)
        })
    }

    fn next_expected<'a>(&self, history: &'a History) -> Option<&'a RecordedEvent> {
        let all = history.events();
        let known = all.partition_point(|event| event.position <= self.place);
        let not_passed = |event: &&RecordedEvent| !self.hidden.contains(&event.position);
        all.iter().skip(known).filter(not_passed).find(|event| self.is_meant(event))
    }

    fn is_visible_only(&self) -> bool {
        match &self.topic {
            Topic::All(filter, asked) => filter.visibility(*asked) == Visibility::Visible,
            Topic::Stream(_) => false,
        }
    }

    fn is_meant(&self, event: &RecordedEvent) -> bool {
        match &self.topic {
            Topic::All(filter, _) => filter.matches(event),
            Topic::Stream(stream) => event.stream == *stream,
        }
    }

    /// Metadata hide events of a stream from its subscribers, from whenever they see them on; what a
    /// subscriber has passed while it was hidden it is not told of later.
    fn may_skip(&self, history: &History) -> bool {
        match &self.topic {
            Topic::All(..) => false,
            Topic::Stream(stream) => {
                history.stream_past(stream, history.head()).metadata_head.is_some()
            }
        }
    }
}
