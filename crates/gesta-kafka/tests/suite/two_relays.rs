//! Two relays of one name, and relays that end in the middle of their work.

use std::{future::pending, sync::Arc};

use gesta_kafka::{Relay, RelayError, RelayGuarantee, RelayState, RelayStatus};
use gesta_store::{EventStore, memory::MemoryStore};
use tokio::time::timeout;

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{WAIT_MAX, events_of, shared_or_skip},
    relay::{GUARANTEES, head, options, relay_all, topic},
    sequence::{assert_each_at_least_once, assert_each_once},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_earlier_of_two_relays_stops_at_its_next_batch() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 5, 20).await;
        let start = || {
            let all: Arc<dyn EventStore> = store.clone();
            let relay = Relay::new(all, &url, options(&url, guarantee));
            (relay.progress(), tokio::spawn(relay.run_until(pending())))
        };
        let (mut first, first_ends) = start();
        assert!(timeout(WAIT_MAX, first.reached(head(&store).await)).await.unwrap());
        let (mut second, second_ends) = start();
        let running = second.until(|status| status.state == RelayState::Running);
        assert!(timeout(WAIT_MAX, running).await.unwrap());
        deposit_in_turns(&store, 5, 20).await;
        let error = timeout(WAIT_MAX, first_ends).await.unwrap().unwrap().unwrap_err();
        assert!(matches!(error, RelayError::Replaced { generation: 2, .. }), "{error}");
        assert!(timeout(WAIT_MAX, second.reached(head(&store).await)).await.unwrap());
        assert!(!second_ends.is_finished(), "the later one publishes on");
        second_ends.abort();
        let stored = all_events(&*store).await;
        let relayed = events_of(&url, &topic(&url), stored.len());
        match guarantee {
            RelayGuarantee::ExactlyOnce => assert_each_once(&stored, &relayed),
            _ => assert_each_at_least_once(&stored, &relayed),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_started_with_another_store_stops_itself_and_not_the_one_that_publishes() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 5, 20).await;
        let all: Arc<dyn EventStore> = store.clone();
        let relay = Relay::new(all, &url, options(&url, guarantee));
        let mut progress = relay.progress();
        let running = tokio::spawn(relay.run_until(pending()));
        assert!(timeout(WAIT_MAX, progress.reached(head(&store).await)).await.unwrap());
        let other = Arc::new(MemoryStore::new());
        deposit_in_turns(&other, 1, 3).await;
        let relay = Relay::new(other, &url, options(&url, guarantee));
        let error = timeout(WAIT_MAX, relay.run_until(pending())).await.unwrap().unwrap_err();
        assert!(matches!(error, RelayError::AheadOfStore { .. }), "{error}");
        assert!(error.to_string().ends_with("give its relay another name"), "{error}");
        deposit_in_turns(&store, 5, 20).await;
        assert!(timeout(WAIT_MAX, progress.reached(head(&store).await)).await.unwrap());
        assert_eq!(progress.status().trouble, None);
        running.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_transactions_a_relay_that_ends_anywhere_repeats_no_event() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    for round in 0..6 {
        deposit_in_turns(&store, 7, 150).await;
        let all: Arc<dyn EventStore> = store.clone();
        let relay = Relay::new(all, &url, options(&url, RelayGuarantee::ExactlyOnce));
        let mut progress = relay.progress();
        let running = tokio::spawn(relay.run_until(pending()));
        let end = head(&store).await;
        // Every other relay ends as soon as it has begun.
        let enough = |status: &RelayStatus| {
            let is_running = status.state == RelayState::Running;
            is_running && (round % 2 == 0 || status.position >= Some(end))
        };
        let waited = timeout(WAIT_MAX, progress.until(enough)).await;
        assert!(waited.is_ok(), "round {round}: {:?}", progress.status());
        // Its thread may be in the middle of a transaction, which the next relay ends.
        running.abort();
    }
    relay_all(&store, &url, options(&url, RelayGuarantee::ExactlyOnce)).await;
    let stored = all_events(&*store).await;
    assert_each_once(&stored, &events_of(&url, &topic(&url), stored.len()));
}
