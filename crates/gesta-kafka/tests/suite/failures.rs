//! Brokers that are away, crash and stand still.

use std::{future::pending, sync::Arc, time::Duration};

use gesta_kafka::{
    KafkaFeed, KafkaUrl, Relay, RelayGuarantee, RelayOptions, RelayState, RelayStatus,
};
use gesta_services::OwnServer;
use gesta_store::{Delivery, EventStore, Position, StoreError, Subscribe, memory::MemoryStore};
use tokio::{task::block_in_place, time::timeout};

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{WAIT_MAX, events_of, produce, unique},
    relay::{GUARANTEES, head, options, topic},
    sequence::{assert_each_at_least_once, assert_each_once},
    source::{Running, append_payments, assert_payments, new_topic, payments},
};

fn url_of(broker: &OwnServer) -> KafkaUrl {
    format!("{}/{}", broker.url(), unique("relay")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_survives_crashes_of_the_broker() {
    let Some(mut broker) = block_in_place(|| OwnServer::start_or_skip("kafka")) else { return };
    for guarantee in GUARANTEES {
        let url = url_of(&broker);
        let store = Arc::new(MemoryStore::new());
        let quick = options(&url, guarantee).publish_within(Duration::from_secs(5));
        let all: Arc<dyn EventStore> = store.clone();
        let relay = Relay::new(all, &url, quick);
        let mut progress = relay.progress();
        let running = tokio::spawn(relay.run_until(pending()));
        for _ in 0..2 {
            deposit_in_turns(&store, 9, 400).await;
            let begun = progress.until(|status| status.state == RelayState::Running);
            assert!(timeout(WAIT_MAX, begun).await.unwrap());
            block_in_place(|| broker.crash().unwrap());
            deposit_in_turns(&store, 9, 100).await;
            let noticed = |status: &RelayStatus| {
                status.trouble.as_deref().is_some_and(|trouble| trouble.contains(url.brokers()))
            };
            assert!(timeout(WAIT_MAX, progress.until(noticed)).await.unwrap(), "names the broker");
            block_in_place(|| broker.start().unwrap());
            let reached = timeout(WAIT_MAX, progress.reached(head(&store).await)).await;
            assert!(reached.is_ok_and(|reached| reached), "{:?}", progress.status());
            assert_eq!(progress.status().trouble, None);
        }
        running.abort();
        let stored = all_events(&*store).await;
        let relayed = events_of(&url, &topic(&url), stored.len());
        match guarantee {
            RelayGuarantee::ExactlyOnce => assert_each_once(&stored, &relayed),
            _ => assert_each_at_least_once(&stored, &relayed),
        }
        let feed = KafkaFeed::at(&url).unwrap();
        let read = feed.read_all(gesta_store::ReadAll::forwards()).collect_events();
        assert_eq!(timeout(WAIT_MAX, read).await.unwrap().unwrap(), stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_waits_for_a_broker_that_stands_still() {
    let Some(broker) = block_in_place(|| OwnServer::start_or_skip("kafka")) else { return };
    let url = url_of(&broker);
    let store = Arc::new(MemoryStore::new());
    let quick = options(&url, RelayGuarantee::ExactlyOnce).publish_within(Duration::from_secs(2));
    let all: Arc<dyn EventStore> = store.clone();
    let relay = Relay::new(all, &url, quick);
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    deposit_in_turns(&store, 3, 10).await;
    assert!(timeout(WAIT_MAX, progress.reached(Position::new(10))).await.unwrap());
    broker.pause().unwrap();
    deposit_in_turns(&store, 3, 10).await;
    let noticed = |status: &RelayStatus| status.trouble.is_some();
    assert!(timeout(WAIT_MAX, progress.until(noticed)).await.unwrap());
    broker.resume().unwrap();
    let reached = timeout(WAIT_MAX, progress.reached(Position::new(20))).await;
    assert!(reached.is_ok_and(|reached| reached), "{:?}", progress.status());
    running.abort();
    let stored = all_events(&*store).await;
    assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_nothing_to_publish_names_a_broker_that_stands_still() {
    let Some(broker) = block_in_place(|| OwnServer::start_or_skip("kafka")) else { return };
    let url = url_of(&broker);
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let relay = Relay::new(store, &url, options(&url, RelayGuarantee::AtLeastOnce));
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    let begun = |status: &RelayStatus| status.state == RelayState::Running;
    assert!(timeout(WAIT_MAX, progress.until(begun)).await.unwrap());
    broker.pause().unwrap();
    let noticed = |status: &RelayStatus| {
        status.trouble.as_deref().is_some_and(|trouble| trouble.contains(url.brokers()))
    };
    let named = timeout(WAIT_MAX, progress.until(noticed)).await;
    assert!(named.is_ok_and(|named| named), "{:?}", progress.status());
    broker.resume().unwrap();
    let again = |status: &RelayStatus| status.trouble.is_none() && begun(status);
    assert!(timeout(WAIT_MAX, progress.until(again)).await.unwrap());
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_survives_crashes_of_the_broker() {
    let Some(mut broker) = block_in_place(|| OwnServer::start_or_skip("kafka")) else { return };
    let url = url_of(&broker);
    let (topic, options) = new_topic(&url, 2).await;
    let store = Arc::new(MemoryStore::new());
    produce(&url, &topic, &payments(500, 10));
    let options = options.session(Duration::from_secs(6));
    let mut source = Running::start(&url, options, append_payments(&store));
    source.until(|status| status.finished_records >= 200).await;
    block_in_place(|| broker.crash().unwrap());
    let names = url.brokers().to_owned();
    let noticed = move |trouble: &str| trouble.contains(&names);
    source.until(|status| status.trouble.as_deref().is_some_and(&noticed)).await;
    block_in_place(|| broker.start().unwrap());
    produce(&url, &topic, &payments(700, 10)[500..]);
    source.until_appended(&store, 700).await;
    source.until(|status| status.trouble.is_none()).await;
    source.stop().await;
    assert_payments(&store, 700).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_an_error_that_names_the_broker() {
    let Some(mut broker) = block_in_place(|| OwnServer::start_or_skip("kafka")) else { return };
    let url = url_of(&broker);
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 3, 10).await;
    let options = RelayOptions::of_url(&url).unwrap();
    crate::relay::relay_all(&store, &url, options).await;
    let feed = KafkaFeed::at(&url).unwrap();
    let mut subscription = feed.subscribe(Subscribe::to_all().into());
    loop {
        match timeout(WAIT_MAX, subscription.next()).await.unwrap().unwrap().unwrap() {
            Delivery::CaughtUp(_) => break,
            other => drop(other),
        }
    }
    block_in_place(|| broker.crash().unwrap());
    let error = timeout(WAIT_MAX, subscription.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(url.brokers()), "{error}");
    let error = timeout(WAIT_MAX, feed.head()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains(url.brokers()), "{error}");
    block_in_place(|| broker.start().unwrap());
    let head = timeout(WAIT_MAX, feed.head()).await.unwrap().unwrap();
    assert_eq!(head.position, Position::new(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_a_broker_says_so_and_stops_when_asked() {
    // Nothing listens on the port of a service that is away; no server is needed.
    let url: KafkaUrl = "kafka://127.0.0.1:9/shop".parse().unwrap();
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let relay = Relay::new(store, &url, RelayOptions::of_url(&url).unwrap());
    let mut progress = relay.progress();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(relay.run_until(async move { drop(stopped.await) }));
    let noticed = |status: &RelayStatus| status.trouble.is_some();
    assert!(timeout(WAIT_MAX, progress.until(noticed)).await.unwrap());
    let trouble = progress.status().trouble.unwrap();
    assert!(trouble.contains("at kafka://127.0.0.1:9: "), "{trouble}");
    drop(stop);
    timeout(WAIT_MAX, running).await.unwrap().unwrap().unwrap();
}
