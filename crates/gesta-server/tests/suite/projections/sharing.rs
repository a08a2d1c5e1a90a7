//! Several servers on one store: one of them runs the projections.

use std::sync::Arc;

use gesta_store::{MemoryLeases, memory::MemoryStore};

use super::{driver::Driver, stating::COUNT};
use crate::{client::*, scene::Scene};

#[tokio::test]
async fn another_server_takes_over_where_the_first_one_was() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::new());
    let mut first = Scene::sharing(store.clone(), Arc::new(leases.clone())).await;
    let mut one = Driver::of(&first).await;
    one.create("count", &format!("fromAll().{COUNT}")).await;
    one.reaches("count", "", r#"{"n":0}"#).await;
    let second = Scene::sharing(store, Arc::new(leases)).await;
    let (mut client, mut other) = (second.client().await, Driver::of(&second).await);
    let waiting = other.becomes("count", "Waiting").await;
    assert_eq!(waiting.state_reason, "another server runs the projections");
    grow(&mut client, "order-1", 1..4).await;
    one.reaches("count", "", r#"{"n":3}"#).await;
    first.stop();
    first.ended().await;
    other.reaches("count", "", r#"{"n":3}"#).await;
    grow(&mut client, "order-1", 4..6).await;
    other.reaches("count", "", r#"{"n":5}"#).await;
    assert_eq!(other.details("count").await.events_processed_after_restart, 2);
}

#[tokio::test]
async fn a_server_that_waits_takes_changes_for_the_one_that_runs() {
    let (store, leases) = (MemoryStore::new(), MemoryLeases::new());
    let first = Scene::sharing(store.clone(), Arc::new(leases.clone())).await;
    let mut one = Driver::of(&first).await;
    one.create("first", &format!("fromAll().{COUNT}")).await;
    one.reaches("first", "", r#"{"n":0}"#).await;
    let second = Scene::sharing(store, Arc::new(leases)).await;
    let (mut client, mut other) = (second.client().await, Driver::of(&second).await);
    grow(&mut client, "order-1", 1..4).await;
    other.create("second", &format!("fromAll().{COUNT}")).await;
    // The one that runs it has the state before it is stored.
    one.reaches("second", "", r#"{"n":3}"#).await;
    other.disable("second").await.unwrap();
    one.becomes("second", "Stopped").await;
    other.reaches("second", "", r#"{"n":3}"#).await;
}
