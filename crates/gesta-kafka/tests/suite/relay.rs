//! A relay between a store and a broker that both work.

use std::{future::pending, sync::Arc};

use gesta_kafka::{
    KafkaUrl, Relay, RelayError, RelayGuarantee, RelayOptions, RelayTopics, partition_of,
    rdkafka::{
        ClientConfig, Message as _,
        admin::{AdminClient, AdminOptions, NewPartitions},
        client::DefaultClientContext,
        message::Headers as _,
        producer::Producer as _,
    },
};
use gesta_store::{
    Append, CorrelationId, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position,
    StreamName, Tag, memory::MemoryStore,
};
use serde_json::json;
use tokio::{sync::oneshot, task::block_in_place, time::timeout};
use uuid::Uuid;

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{
        WAIT_MAX, create_topic, events_of, open_transaction, produce, records_of, shared_or_skip,
    },
    sequence::assert_each_once,
};

pub(crate) const GUARANTEES: [RelayGuarantee; 2] =
    [RelayGuarantee::AtLeastOnce, RelayGuarantee::ExactlyOnce];

pub(crate) fn options(url: &KafkaUrl, guarantee: RelayGuarantee) -> RelayOptions {
    RelayOptions::of_url(url).unwrap().guarantee(guarantee)
}

pub(crate) fn topic(url: &KafkaUrl) -> String {
    format!("{}.events", url.relay().unwrap())
}

pub(crate) async fn head(store: &MemoryStore) -> Position {
    store.head().await.unwrap().position
}

/// Runs a relay until it has published everything that a store has now, then stops it.
pub(crate) async fn relay_all(store: &Arc<MemoryStore>, url: &KafkaUrl, options: RelayOptions) {
    let relay = Relay::new(Arc::clone(store) as Arc<dyn EventStore>, url, options);
    let mut progress = relay.progress();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(relay.run_until(async move { drop(stopped.await) }));
    let reached = timeout(WAIT_MAX, progress.reached(head(store).await)).await;
    assert!(reached.unwrap(), "{:?}", progress.status());
    drop(stop);
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_once_in_the_order_of_its_stream() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 20, 300).await;
        relay_all(&store, &url, options(&url, guarantee)).await;
        let stored = all_events(&*store).await;
        assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_in_the_partitions_that_java_clients_choose() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 50, 50).await;
    let partitions = options(&url, RelayGuarantee::AtLeastOnce).partitions(7);
    relay_all(&store, &url, partitions).await;
    // The library's own hash is that of the Java client.
    let reference = crate::broker::unique("reference");
    create_topic(&url, &reference, 7).await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", url.brokers()).set("partitioner", "murmur2_random");
    crate::broker::produce_with(config, &reference, &keys(50));
    let place = |topic: &str| {
        let records = records_of(&url, topic, 50);
        let mut places: Vec<_> = records
            .iter()
            .map(|record| (record.key().unwrap().to_vec(), record.partition()))
            .collect();
        places.sort();
        places
    };
    let places = place(&topic(&url));
    assert_eq!(places, place(&reference));
    for (key, partition) in places {
        let stream = StreamName::new(String::from_utf8(key).unwrap()).unwrap();
        assert_eq!(i32::try_from(partition_of(&stream, 7)).unwrap(), partition);
    }
}

fn keys(count: u32) -> Vec<(String, String)> {
    (0..count).map(|number| (format!("account-{number}"), String::new())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_everything_of_its_event() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    let event = NewEvent::json(EventId::random(), EventType::new("paid").unwrap(), r#"{"a":1}"#)
        .schema_version(2)
        .metadata(r#"{"actor":"ann"}"#)
        .tagged([Tag::of("order", "1").unwrap()])
        .correlation_id(CorrelationId::new("request").unwrap());
    let stream = StreamName::new("order-1").unwrap();
    store.append(Append::to(stream, ExpectedRevision::NoStream, [event])).await.unwrap();
    relay_all(&store, &url, options(&url, RelayGuarantee::ExactlyOnce).source("/shop")).await;
    let relayed = events_of(&url, &topic(&url), 1);
    assert_eq!(relayed, all_events(&*store).await);
    let records = records_of(&url, &topic(&url), 1);
    let headers = records.first().unwrap().headers().unwrap();
    let header = |name: &str| {
        let found = headers.iter().find(|header| header.key == name);
        String::from_utf8(found.unwrap().value.unwrap().to_vec()).unwrap()
    };
    assert_eq!(header("ce_source"), "/shop");
    assert_eq!(header("ce_specversion"), "1.0");
    assert_eq!(header("ce_type"), "paid");
    assert_eq!(header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_again_continues_at_its_checkpoint() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        for _ in 0..3 {
            deposit_in_turns(&store, 5, 40).await;
            relay_all(&store, &url, options(&url, guarantee)).await;
        }
        let stored = all_events(&*store).await;
        assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
    }
}

/// A broker that has just started can hide its last records. A session that saw none of them, or an
/// earlier one, wrote its first checkpoint, and ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_saw_an_old_checkpoint_does_not_make_the_next_one_begin_there() {
    let saw_none = json!({ "generation": 1, "position": 0 });
    let saw_an_earlier_one = json!({ "generation": 2, "position": 20 });
    for guarantee in GUARANTEES {
        for written in [&saw_none, &saw_an_earlier_one] {
            let Some(url) = shared_or_skip() else { return };
            let store = Arc::new(MemoryStore::new());
            deposit_in_turns(&store, 5, 40).await;
            relay_all(&store, &url, options(&url, guarantee)).await;
            let relay = url.relay().unwrap();
            let mut first = written.clone();
            first["format"] = json!(1);
            first["incarnation"] = json!(store.head().await.unwrap().incarnation.to_string());
            first["session"] = json!(Uuid::new_v4().to_string());
            first["topics"] = json!({});
            produce(&url, &format!("{relay}.relay"), &[(relay.to_owned(), first.to_string())]);
            deposit_in_turns(&store, 5, 40).await;
            relay_all(&store, &url, options(&url, guarantee)).await;
            let stored = all_events(&*store).await;
            assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
        }
    }
}

/// An open transaction on the topic, like one that a crashed broker has not completed yet, hides
/// what is behind its begin from consumers. Nothing of it is lost.
#[tokio::test(flavor = "multi_thread")]
async fn records_behind_an_open_transaction_are_not_taken_for_lost() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 5, 40).await;
        relay_all(&store, &url, options(&url, guarantee)).await;
        let open = block_in_place(|| open_transaction(&url, &topic(&url), 4));
        for _ in 0..2 {
            deposit_in_turns(&store, 5, 40).await;
            relay_all(&store, &url, options(&url, guarantee)).await;
        }
        block_in_place(|| open.abort_transaction(WAIT_MAX)).unwrap();
        let stored = all_events(&*store).await;
        assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_to_the_topics_of_their_categories() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 2, 10).await;
    let settings = StreamName::new("settings").unwrap();
    let event = NewEvent::json(EventId::random(), EventType::new("set").unwrap(), "{}");
    store.append(Append::to(settings, ExpectedRevision::Any, [event])).await.unwrap();
    let prefix = format!("{}.", url.relay().unwrap());
    let topics = RelayTopics::by_category(&prefix);
    relay_all(&store, &url, options(&url, RelayGuarantee::ExactlyOnce).topics(topics)).await;
    let relayed = events_of(&url, &format!("{prefix}account"), 10);
    assert_eq!(relayed.len(), 10, "without the stream that has no category");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_events_are_published_while_the_relay_runs() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    let all: Arc<dyn EventStore> = store.clone();
    let relay = Relay::new(all, &url, options(&url, RelayGuarantee::ExactlyOnce));
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    for _ in 0..5 {
        deposit_in_turns(&store, 3, 3).await;
        assert!(timeout(WAIT_MAX, progress.reached(head(&store).await)).await.unwrap());
    }
    running.abort();
    let stored = all_events(&*store).await;
    assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_other_partitions_than_before_stops_the_relay() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 5, 10).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::AtLeastOnce)).await;
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", url.brokers()).create().unwrap();
    let (topic, how) = (topic(&url), AdminOptions::new());
    let more = NewPartitions::new(&topic, 5);
    for outcome in admin.create_partitions([&more], &how).await.unwrap() {
        outcome.unwrap();
    }
    let relay = Relay::new(store, &url, options(&url, RelayGuarantee::AtLeastOnce));
    let error = timeout(WAIT_MAX, relay.run_until(pending())).await.unwrap().unwrap_err();
    let RelayError::PartitionsChanged { known: 4, found: 5, .. } = error else {
        panic!("{error}");
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_ahead_of_its_store_stops() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 1, 10).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::AtLeastOnce)).await;
    let other = Arc::new(MemoryStore::new());
    deposit_in_turns(&other, 1, 3).await;
    let relay = Relay::new(other, &url, options(&url, RelayGuarantee::AtLeastOnce));
    let error = timeout(WAIT_MAX, relay.run_until(pending())).await.unwrap().unwrap_err();
    assert!(matches!(error, RelayError::AheadOfStore { .. }), "{error}");
    assert!(error.to_string().contains("up to position 10"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_among_the_checkpoints_is_left_out() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 5, 20).await;
        relay_all(&store, &url, options(&url, guarantee)).await;
        let checkpoints = format!("{}.relay", url.relay().unwrap());
        block_in_place(|| {
            produce(&url, &checkpoints, &[("stranger".to_owned(), "garbage".to_owned())]);
        });
        deposit_in_turns(&store, 5, 20).await;
        relay_all(&store, &url, options(&url, guarantee)).await;
        let stored = all_events(&*store).await;
        assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
    }
}
