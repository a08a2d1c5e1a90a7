//! Topics that another program deletes while a relay runs, or a feed is read.

use std::{future::pending, sync::Arc};

use gesta_kafka::{KafkaFeed, Relay, RelayError, RelayGuarantee, RelayStatus};
use gesta_store::{EventStore, Invalid, ReadAll, StoreError, memory::MemoryStore};
use tokio::time::timeout;

use crate::{
    bank::deposit_in_turns,
    broker::{WAIT_MAX, create_topic, delete_topic, shared_or_skip},
    relay::{GUARANTEES, head, options, relay_all, topic},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_events_names_its_topic_when_it_is_deleted() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 3, 10).await;
    let all: Arc<dyn EventStore> = store.clone();
    let relay = Relay::new(all, &url, options(&url, RelayGuarantee::AtLeastOnce));
    let mut progress = relay.progress();
    let running = tokio::spawn(relay.run_until(pending()));
    assert!(timeout(WAIT_MAX, progress.reached(head(&store).await)).await.unwrap());
    delete_topic(&url, &topic(&url)).await;
    let (topic, brokers) = (topic(&url), url.brokers().to_owned());
    let named = |status: &RelayStatus| {
        let parts = [topic.as_str(), brokers.as_str(), "a relay of another name"];
        status.trouble.as_ref().is_some_and(|told| parts.iter().all(|part| told.contains(part)))
    };
    let noticed = timeout(WAIT_MAX, progress.until(named)).await;
    assert!(noticed.is_ok_and(|noticed| noticed), "{:?}", progress.status());
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_and_created_again_ends_the_relay_with_the_loss() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 3, 30).await;
        let all: Arc<dyn EventStore> = store.clone();
        let relay = Relay::new(all, &url, options(&url, guarantee));
        let mut progress = relay.progress();
        let running = tokio::spawn(relay.run_until(pending()));
        assert!(timeout(WAIT_MAX, progress.reached(head(&store).await)).await.unwrap());
        delete_topic(&url, &topic(&url)).await;
        create_topic(&url, &topic(&url), 4).await;
        deposit_in_turns(&store, 3, 3).await;
        let ended = timeout(WAIT_MAX, running).await.unwrap().unwrap();
        let error = ended.unwrap_err();
        assert!(matches!(error, RelayError::RecordsLost { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_a_deleted_topic_is_refused_with_what_to_do() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 3, 10).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::AtLeastOnce)).await;
    delete_topic(&url, &topic(&url)).await;
    let feed = KafkaFeed::at(&url).unwrap();
    for read in [ReadAll::forwards(), ReadAll::backwards().limit(1)] {
        let refused = timeout(WAIT_MAX, feed.read_all(read).collect_events()).await.unwrap();
        let Err(StoreError::Rejected(Invalid::Refused { reason })) = refused else {
            panic!("{refused:?}");
        };
        let relay = url.relay().unwrap();
        for part in [relay, url.brokers(), "start a relay of another name"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
