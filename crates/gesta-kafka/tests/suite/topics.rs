//! Topics whose settings do not fit: they are named with what to set, and used once it is set.

use std::{future::pending, sync::Arc};

use gesta_kafka::{
    KafkaFeed, KafkaUrl, Relay, RelayGuarantee, RelayProgress, Source, SourceOptions,
};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, StreamName,
    memory::MemoryStore,
};
use tokio::time::timeout;

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{WAIT_MAX, change_topic, create_topic, events_of, shared_or_skip, unique},
    relay::{GUARANTEES, head, options, topic},
    sequence::assert_each_once,
    source::append_payments,
};

/// More than Kafka's default for a record, also compressed.
const LARGE_BYTES: usize = 3 << 20;

/// Returns JSON of random letters.
fn incompressible(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut text = String::from("\"");
    while text.len() < bytes {
        // The generator of Knuth's MMIX.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text.push('"');
    text
}

/// Waits until a relay is in trouble, and returns that.
async fn trouble_of(progress: &mut RelayProgress) -> String {
    let noticed = progress.until(|status| status.trouble.is_some());
    assert!(timeout(WAIT_MAX, noticed).await.unwrap());
    progress.status().trouble.unwrap()
}

async fn expect_published(store: &MemoryStore, progress: &mut RelayProgress, url: &KafkaUrl) {
    let reached = timeout(WAIT_MAX, progress.reached(head(store).await)).await;
    assert!(reached.unwrap(), "{:?}", progress.status());
    let stored = all_events(store).await;
    assert_each_once(&stored, &events_of(url, &topic(url), stored.len()));
    let read = KafkaFeed::at(url).unwrap().read_all(ReadAll::forwards()).collect_events();
    assert_eq!(timeout(WAIT_MAX, read).await.unwrap().unwrap(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_larger_than_its_topic_takes_is_published_once_the_topic_takes_it() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 3, 5).await;
        let large = EventType::new("scanned").unwrap();
        let large = NewEvent::json(EventId::random(), large, incompressible(LARGE_BYTES));
        let stream = StreamName::new("scan-1").unwrap();
        let stamped = EventType::new("stamped").unwrap();
        let after = NewEvent::json(EventId::random(), stamped, "{}");
        let scanned = Append::to(stream, ExpectedRevision::NoStream, [large, after]);
        store.append(scanned).await.unwrap();
        deposit_in_turns(&store, 3, 5).await;
        let relay = Relay::new(store.clone(), &url, options(&url, guarantee));
        let mut progress = relay.progress();
        let running = tokio::spawn(relay.run_until(pending()));
        let trouble = trouble_of(&mut progress).await;
        for part in ["scan-1 has 31457", "max.message.bytes", &topic(&url), url.brokers()] {
            assert!(trouble.contains(part), "{part}: {trouble}");
        }
        // The next attempt fails as well.
        let again = progress.until(|status| status.trouble.is_none());
        assert!(timeout(WAIT_MAX, again).await.unwrap());
        trouble_of(&mut progress).await;
        change_topic(&url, &topic(&url), &[("max.message.bytes", "8388608")]).await;
        expect_published(&store, &mut progress, &url).await;
        running.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_of_events_is_refused_until_it_keeps_them() {
    let Some(url) = shared_or_skip() else { return };
    create_topic(&url, &topic(&url), 2).await;
    change_topic(&url, &topic(&url), &[("cleanup.policy", "compact")]).await;
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 3, 30).await;
    let relay = Relay::new(store.clone(), &url, options(&url, RelayGuarantee::AtLeastOnce));
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    let trouble = trouble_of(&mut progress).await;
    for part in ["cleanup.policy=delete", &topic(&url), url.brokers()] {
        assert!(trouble.contains(part), "{part}: {trouble}");
    }
    change_topic(&url, &topic(&url), &[("cleanup.policy", "delete")]).await;
    expect_published(&store, &mut progress, &url).await;
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_refuses_a_compacted_topic_of_dead_letters() {
    let Some(url) = shared_or_skip() else { return };
    let (name, payments) = (unique("bank"), unique("payments"));
    let dead_letters = format!("{name}.dead-letters");
    create_topic(&url, &payments, 1).await;
    create_topic(&url, &dead_letters, 1).await;
    change_topic(&url, &dead_letters, &[("cleanup.policy", "compact,delete")]).await;
    let of_source = SourceOptions::new(name, [payments.as_str()]).unwrap();
    let source = Source::new(&url, of_source);
    let mut progress = source.progress();
    let received = append_payments(&Arc::new(MemoryStore::new()));
    let running = tokio::spawn(async move { source.run_until(received, pending()).await });
    let noticed = progress.until(|status| status.trouble.is_some());
    assert!(timeout(WAIT_MAX, noticed).await.unwrap());
    let trouble = progress.status().trouble.unwrap();
    assert!(trouble.contains(&dead_letters) && trouble.contains("compact"), "{trouble}");
    change_topic(&url, &dead_letters, &[("cleanup.policy", "delete")]).await;
    let works = progress.until(|status| status.trouble.is_none() && status.partitions > 0);
    assert!(timeout(WAIT_MAX, works).await.unwrap());
    running.abort();
}
