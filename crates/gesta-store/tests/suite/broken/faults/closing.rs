//! Faults of a closed store.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use gesta_store::{
    Appended, Delivery, EventStore, Head, Incarnation, Overload, Position, StoreError,
    StreamDescription, StreamState, Subscription, conformance::block_on,
};
use uuid::Uuid;

use super::appending::on_error;
use crate::broken::{Fault, FaultyStore, Outcome};

/// Replaces the refusal of a closed store.
fn unless_closed<T>(outcome: Outcome<T>, otherwise: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    match outcome {
        Err(StoreError::Stopped { .. }) => otherwise(),
        other => other,
    }
}

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        Fault::of("a_closed_store_refuses_appends", || FaultyStore {
            breaks_closing: true,
            ..on_error(|_, _, error| {
                let nothing = Appended::new(Position::START, vec![]);
                unless_closed(Err(error), || Ok(nothing))
            })
        }),
        Fault::of("a_closed_store_refuses_reads", || FaultyStore {
            describe: Box::new(|store, stream| {
                let missing = StreamDescription::new(StreamState::Missing);
                unless_closed(block_on(store.describe_stream(&stream)), || Ok(missing))
            }),
            breaks_closing: true,
            ..FaultyStore::correct()
        }),
        Fault::of("a_closed_store_refuses_reads_of_everything", || FaultyStore {
            head: Box::new(|store, ()| {
                let incarnation = Incarnation::new(Uuid::nil());
                let empty = Head { position: Position::START, incarnation };
                unless_closed(block_on(store.head()), || Ok(empty))
            }),
            breaks_closing: true,
            ..FaultyStore::correct()
        }),
        Fault::of("closing_again_changes_nothing", || {
            let closed = AtomicBool::new(false);
            FaultyStore {
                close: Box::new(move |store, ()| match closed.swap(true, Ordering::Relaxed) {
                    true => Err(StoreError::closed()),
                    false => block_on(store.close()),
                }),
                breaks_closing: true,
                ..FaultyStore::correct()
            }
        }),
        Fault::of("closing_ends_subscriptions", || FaultyStore {
            subscribe: Box::new(|store, subscribe| {
                let inner = store.subscribe(subscribe);
                Subscription::new(EndsQuietly { inner, live: false })
            }),
            breaks_closing: true,
            ..FaultyStore::correct()
        }),
        Fault::of("closing_answers_accepted_appends", || FaultyStore {
            breaks_closing: true,
            ..on_error(|_, _, error| {
                unless_closed(Err(error), || {
                    Err(StoreError::Overloaded(Overload::DiskFull { reason: "/data".to_owned() }))
                })
            })
        })
        .also("a_closed_store_refuses_appends", "gives the wrong reason there, too"),
    ]
}

/// Ends without an error once it has caught up.
struct EndsQuietly {
    inner: Subscription,
    live: bool,
}

impl Stream for EndsQuietly {
    type Item = Outcome<Delivery>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let delivery = ready!(Pin::new(&mut this.inner).poll_next(context));
        this.live |= matches!(delivery, Some(Ok(Delivery::CaughtUp(_))));
        Poll::Ready(delivery.filter(|delivery| delivery.is_ok() || !this.live))
    }
}
