//! The steps around a decision: validation, authorization, the timeout, layers, errors of a store.

use std::{sync::Arc, time::Duration};

use gesta::{
    CommandError, CommandRequest, ExecuteError, Gesta, Pipeline, Receipt, Unauthorized,
    prelude::*,
    store::{Append, ExpectedRevision, NewEvent, Overload, StoreError},
    testing::VirtualClock,
};
use tower::{BoxError, ServiceExt as _, layer::layer_fn, util::BoxCloneSyncService};

use crate::{
    accounts::{Account, Open, deposit, open_accounts, recorded},
    scripted::{Scene, Scripted},
};

async fn bank() -> (Gesta, Scripted) {
    let store = Scripted::new();
    let gesta = Gesta::on(Arc::new(store.clone())).open().await.unwrap();
    open_accounts(&gesta, &[10]).await;
    (gesta, store)
}

#[tokio::test]
async fn an_invalid_command_is_told_before_anything_is_read() {
    let (gesta, _) = bank().await;
    let outcome = gesta.execute(deposit(99, 0)).await;
    let Err(ExecuteError::Invalid(invalid)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(invalid, InvalidField::new("cents", "must be at least 1"));
}

#[tokio::test]
async fn who_may_not_is_told_why_and_nothing_happens() {
    let clerks_only = |request: &CommandRequest| match request.context.actor.as_deref() {
        Some("clerk") => Ok(()),
        Some(_) | None => Err(Unauthorized::because(format!("{} is for clerks", request.name()))),
    };
    let gesta = Gesta::at("memory:").authorize(clerks_only).open().await.unwrap();
    let outcome = gesta.execute(Open { account: 1 }).actor("ann").await;
    let Err(ExecuteError::Unauthorized(why)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(why.reason, "open-account is for clerks");
    assert!(recorded(&gesta).await.is_empty());
    gesta.execute(Open { account: 1 }).actor("clerk").await.unwrap();
}

#[tokio::test]
async fn after_the_timeout_the_outcome_is_unknown() {
    let (store, clock) = (Scripted::new(), VirtualClock::new());
    let limit = Duration::from_secs(5);
    let builder = Gesta::on(Arc::new(store.clone())).clock(clock.clone()).timeout(limit);
    let gesta = builder.open().await.unwrap();
    store.next(Scene::Hang);
    let executed = tokio::spawn(async move { gesta.execute(Open { account: 1 }).await });
    clock.until_asleep(limit).await;
    clock.advance(limit);
    let outcome = executed.await.unwrap();
    let Err(error @ ExecuteError::Unavailable { .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.to_string(), "outcome unknown: the event store: no answer within 5000 ms");
}

#[tokio::test]
async fn errors_of_the_store_are_sorted_by_what_to_do_next() {
    let (gesta, store) = bank().await;
    store.next(Scene::Fail(StoreError::Overloaded(Overload::DiskFull {
        reason: "/data".to_owned(),
    })));
    let outcome = gesta.execute(deposit(1, 1)).await;
    assert!(matches!(outcome, Err(ExecuteError::Overloaded { .. })), "{outcome:?}");
    store.next(Scene::Fail(StoreError::Stopped { reason: "a sync failed".to_owned() }));
    let outcome = gesta.execute(deposit(1, 1)).await;
    let Err(error @ ExecuteError::Store(StoreError::Stopped { .. })) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.is_definite());
}

#[tokio::test]
async fn any_tower_layer_fits() {
    let gesta = Gesta::at("memory:")
        .layer(tower::limit::ConcurrencyLimitLayer::new(8))
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(60)))
        .open()
        .await
        .unwrap();
    gesta.execute(Open { account: 1 }).await.unwrap();
}

#[tokio::test]
async fn a_layer_sees_and_changes_requests_the_last_one_first() {
    let named = |name: &'static str| {
        layer_fn(move |inner: Pipeline| {
            inner.map_request(move |mut request: CommandRequest| {
                let before = request.context.actor.take().unwrap_or_default();
                request.context.actor = Some(format!("{before}{name}"));
                request
            })
        })
    };
    let gesta = Gesta::at("memory:").layer(named("b")).layer(named("a")).open().await.unwrap();
    gesta.execute(Open { account: 1 }).await.unwrap();
    let metadata = recorded(&gesta).await.pop().unwrap().metadata;
    assert_eq!(gesta::EventMetadata::from_json(&metadata).actor.as_deref(), Some("ab"));
}

/// A pipeline behind a layer that fails every command.
async fn failing(error: impl Fn() -> BoxError + Clone + Send + Sync + 'static) -> Gesta {
    let layer = layer_fn(move |_: Pipeline| {
        let error = error.clone();
        BoxCloneSyncService::new(tower::service_fn(move |_: CommandRequest| {
            std::future::ready(Err::<Receipt, BoxError>(error()))
        }))
    });
    Gesta::at("memory:").layer(layer).open().await.unwrap()
}

#[tokio::test]
async fn an_error_of_a_layer_leaves_the_outcome_open() {
    let gesta = failing(|| "the layer broke".into()).await;
    let outcome = gesta.execute(Open { account: 1 }).await;
    let Err(ExecuteError::Unavailable { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.unwrap().to_string(), "the layer broke");
}

#[tokio::test]
async fn a_layer_that_answers_in_our_words_is_understood() {
    let busy = || CommandError::Overloaded { reason: "at noon".to_owned(), retry_after: None };
    let gesta = failing(move || busy().into()).await;
    let outcome = gesta.execute(Open { account: 1 }).await;
    assert!(matches!(outcome, Err(ExecuteError::Overloaded { .. })), "{outcome:?}");
}

#[tokio::test]
async fn an_event_that_the_aggregate_does_not_know_stops_it_with_its_place() {
    let (gesta, _) = bank().await;
    let stream = gesta::stream_of::<Account>(&1).unwrap();
    let foreign =
        NewEvent::json(EventId::random(), EventType::new("account-painted").unwrap(), "{}");
    let append = Append::to(stream.clone(), ExpectedRevision::Any, [foreign]);
    gesta.store().append(append).await.unwrap();
    let outcome = gesta.execute(deposit(1, 1)).await;
    let Err(ExecuteError::Undecodable(event)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((event.stream, event.revision), (stream, Revision::new(2)));
    assert_eq!(event.source.to_string(), "event type account-painted is unknown");
}
