//! A projection that is fed from Kafka instead of the store.

use std::sync::Arc;

use gesta::{Gesta, store::MemoryReadModels};
use gesta_kafka::{KafkaFeed, KafkaUrl, RelayGuarantee};
use gesta_store::memory::MemoryStore;

use crate::{
    bank::{BalanceOf, Balances, Deposit, deposit_in_turns},
    broker::{WAIT_MAX, shared_or_skip},
    relay::{options, relay_all},
};

/// Opens an application that has no store but the topics.
async fn open(url: &KafkaUrl, read_models: &MemoryReadModels) -> Gesta {
    let feed = Arc::new(KafkaFeed::at(url).unwrap());
    let builder = Gesta::on(feed).idempotency_optional();
    builder.project(Balances, read_models).open().await.unwrap()
}

async fn assert_balances(gesta: &Gesta, expected: [u64; 3]) {
    let head = gesta.store().head().await.unwrap().position;
    for (account, expected) in (0..).zip(expected) {
        let asked = gesta.ask(BalanceOf(account)).at_least_position(head).within(WAIT_MAX);
        assert_eq!(asked.await.unwrap(), expected, "account {account}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_is_filled_from_topics_and_continues_after_a_restart() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    let at_least_once = || options(&url, RelayGuarantee::AtLeastOnce);
    deposit_in_turns(&store, 3, 300).await;
    relay_all(&store, &url, at_least_once()).await;
    let read_models = MemoryReadModels::new();
    let gesta = open(&url, &read_models).await;
    assert_balances(&gesta, [100, 100, 100]).await;
    gesta.close().await;
    // Published while no one reads.
    deposit_in_turns(&store, 3, 30).await;
    relay_all(&store, &url, at_least_once()).await;
    let gesta = open(&url, &read_models).await;
    assert_balances(&gesta, [110, 110, 110]).await;
    // And while it runs.
    deposit_in_turns(&store, 3, 3).await;
    relay_all(&store, &url, at_least_once()).await;
    assert_balances(&gesta, [111, 111, 111]).await;
    let status = gesta.projections().await.unwrap();
    assert!(status.iter().all(|one| one.dead_letters == 0 && one.trouble.is_none()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_on_topics_executes_no_commands() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 1, 1).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::AtLeastOnce)).await;
    let gesta = open(&url, &MemoryReadModels::new()).await;
    let error = gesta.execute(Deposit { account: 0, amount: 1 }).await.unwrap_err();
    assert!(error.to_string().contains("append to the store of the relay"), "{error}");
}
