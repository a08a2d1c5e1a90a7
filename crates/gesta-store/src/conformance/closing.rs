//! Clauses about closing a store.

use super::support::*;
use crate::{
    Append, EventId, EventStore, ExpectedRevision, ReadAll, ReadStream, StoreError, Subscribe,
};

#[track_caller]
fn stopped<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    match answer.expect_err("a closed store must refuse") {
        StoreError::Stopped { .. } => {}
        other => panic!("expected `stopped`, got: {other}"),
    }
}

pub(super) async fn a_closed_store_refuses_appends(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    accepted(store.close().await);
    stopped(store.append(Append::to(name("order-1"), ExpectedRevision::Any, [event()])).await);
}

pub(super) async fn a_closed_store_refuses_reads(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    accepted(store.close().await);
    stopped(store.read_stream(ReadStream::forwards(name("order-1"))).collect_events().await);
    stopped(store.describe_stream(&name("order-1")).await);
    let first = store.subscribe(Subscribe::to_stream(name("order-1")).into()).next().await;
    stopped(first.expect("a refusal is delivered"));
}

pub(super) async fn a_closed_store_refuses_reads_of_everything(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    accepted(store.close().await);
    stopped(store.read_all(ReadAll::forwards()).collect_events().await);
    stopped(store.head().await);
    let first = store.subscribe(Subscribe::to_all().into()).next().await;
    stopped(first.expect("a refusal is delivered"));
}

pub(super) async fn closing_again_changes_nothing(store: &dyn EventStore) {
    let capabilities = store.capabilities();
    for _ in 0..3 {
        accepted(store.close().await);
    }
    assert_eq!(store.capabilities(), capabilities);
}

/// A subscription that waits is woken, delivers what was appended, and ends.
pub(super) async fn closing_ends_subscriptions(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    let mut subscription = store.subscribe(Subscribe::to_stream(name("order-1")).into());
    caught_up(&mut subscription).await;
    poll_once(subscription.next()).await;
    accepted(store.close().await);
    stopped(subscription.next().await.expect("the end is delivered"));
    assert!(subscription.next().await.is_none(), "a subscription must end after an error");
}

/// An append that was accepted before the call is finished, or refused: never lost in between.
pub(super) async fn closing_answers_accepted_appends(store: &dyn EventStore) {
    let id = EventId::random();
    let accepted_before = crate::NewEvent { id, ..event() };
    let append = Append::to(name("order-1"), ExpectedRevision::Any, [accepted_before]);
    let appending = store.append(append);
    accepted(store.close().await);
    match appending.await {
        Ok(_) | Err(StoreError::Stopped { .. } | StoreError::Unavailable { .. }) => {}
        Err(other) => panic!("expected an answer or `stopped`, got: {other}"),
    }
}
