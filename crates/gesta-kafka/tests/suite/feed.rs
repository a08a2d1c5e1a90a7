//! The feed: what a relay has published, read as a store.

use std::sync::Arc;

use gesta_kafka::{KafkaFeed, KafkaUrl, RelayGuarantee, RelayTopics, recorded_event};
use gesta_store::{
    Append, Delivery, EventId, EventStore, EventType, ExpectedRevision, Filter, Invalid, NewEvent,
    Position, ReadAll, ReadStream, RecordedEvent, Revision, StoreError, StreamName, StreamState,
    Subscribe, Subscription, memory::MemoryStore,
};
use tokio::{task::block_in_place, time::timeout};

use crate::{
    bank::{all_events, deposit_in_turns},
    broker::{WAIT_MAX, produce_again, records_of, shared_or_skip},
    relay::{GUARANTEES, options, relay_all, topic},
};

fn feed(url: &KafkaUrl) -> KafkaFeed {
    KafkaFeed::at(url).unwrap()
}

async fn read(feed: &KafkaFeed, read: ReadAll) -> Vec<RecordedEvent> {
    timeout(WAIT_MAX, feed.read_all(read).collect_events()).await.unwrap().unwrap()
}

/// Returns the next deliveries up to the head, and the position there.
async fn up_to_head(subscription: &mut Subscription) -> (Vec<RecordedEvent>, Position) {
    let mut events = Vec::new();
    loop {
        match timeout(WAIT_MAX, subscription.next()).await.unwrap().unwrap().unwrap() {
            Delivery::Events(page) => events.extend(page),
            Delivery::CaughtUp(position) => return (events, position),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_all_partitions_are_in_the_order_of_positions() {
    for guarantee in GUARANTEES {
        let Some(url) = shared_or_skip() else { return };
        let store = Arc::new(MemoryStore::new());
        deposit_in_turns(&store, 30, 2_500).await;
        relay_all(&store, &url, options(&url, guarantee)).await;
        let (stored, feed) = (all_events(&*store).await, feed(&url));
        assert_eq!(feed.head().await.unwrap(), store.head().await.unwrap());
        assert_eq!(read(&feed, ReadAll::forwards()).await, stored);
        for position in [1, 2, 700, 2_499, 2_500, 2_501] {
            let from = |read: ReadAll| read.from(Position::new(position)).limit(3);
            for read_all in [from(ReadAll::forwards()), from(ReadAll::backwards())] {
                let expected = store.read_all(read_all.clone()).collect_events().await.unwrap();
                assert_eq!(read(&feed, read_all).await, expected, "at {position}");
            }
        }
        let last = read(&feed, ReadAll::backwards().limit(400)).await;
        assert!(last.iter().eq(stored.iter().rev().take(400)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_catches_up_and_stays_live() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 9, 500).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::ExactlyOnce)).await;
    let feed = feed(&url);
    let incarnation = feed.head().await.unwrap().incarnation;
    let after = Subscribe::to_all().after(Position::new(123)).incarnation(incarnation);
    let mut subscription = feed.subscribe(after.into());
    let (events, position) = up_to_head(&mut subscription).await;
    let stored = all_events(&*store).await;
    assert_eq!((events.as_slice(), position), (&stored[123..], Position::new(500)));
    deposit_in_turns(&store, 9, 30).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::ExactlyOnce)).await;
    let mut live = Vec::new();
    while live.len() < 30 {
        match timeout(WAIT_MAX, subscription.next()).await.unwrap().unwrap().unwrap() {
            Delivery::Events(page) => live.extend(page),
            other => assert!(matches!(other, Delivery::Checkpoint(_)), "{other:?}"),
        }
    }
    assert_eq!(live, all_events(&*store).await[500..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filtered_events_move_the_position() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 3, 20).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::AtLeastOnce)).await;
    let other = Filter::EventTypes(vec![EventType::new("withdrawn").unwrap()]);
    let mut subscription = feed(&url).subscribe(Subscribe::to_all().filter(other).into());
    let mut reached = Position::START;
    while reached < Position::new(20) {
        match timeout(WAIT_MAX, subscription.next()).await.unwrap().unwrap().unwrap() {
            Delivery::Checkpoint(position) | Delivery::CaughtUp(position) => reached = position,
            other => panic!("{other:?}"),
        }
    }
}

/// A relay that crashed before its checkpoint publishes all events after the earlier one again.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_relay_has_repeated_are_there_once() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    let at_least_once = || options(&url, RelayGuarantee::AtLeastOnce);
    deposit_in_turns(&store, 11, 300).await;
    relay_all(&store, &url, at_least_once()).await;
    let mut records = records_of(&url, &topic(&url), 300);
    records.retain(|record| recorded_event(record).unwrap().position > Position::new(120));
    block_in_place(|| produce_again(&url, &records));
    deposit_in_turns(&store, 11, 50).await;
    relay_all(&store, &url, at_least_once()).await;
    let records = records_of(&url, &topic(&url), 530);
    assert_eq!(records.len(), 530, "180 events twice");
    let (stored, feed) = (all_events(&*store).await, feed(&url));
    assert_eq!(read(&feed, ReadAll::forwards()).await, stored);
    assert!(read(&feed, ReadAll::backwards()).await.iter().eq(stored.iter().rev()));
    for after in [119, 120, 121, 200, 299, 300, 301] {
        let from = Subscribe::to_all().after(Position::new(after));
        let (events, _) = up_to_head(&mut feed.subscribe(from.into())).await;
        assert_eq!(events, stored[usize::try_from(after).unwrap()..], "after {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_relay_adds_is_read_from_then_on() {
    let Some(url) = shared_or_skip() else { return };
    let store = Arc::new(MemoryStore::new());
    let prefix = format!("{}.", url.relay().unwrap());
    let by_category =
        || options(&url, RelayGuarantee::ExactlyOnce).topics(RelayTopics::by_category(&prefix));
    deposit_in_turns(&store, 3, 10).await;
    relay_all(&store, &url, by_category()).await;
    let feed = feed(&url);
    let mut subscription = feed.subscribe(Subscribe::to_all().into());
    let (events, _) = up_to_head(&mut subscription).await;
    assert_eq!(events.len(), 10);
    let order = StreamName::new("order-1").unwrap();
    let placed = NewEvent::json(EventId::random(), EventType::new("placed").unwrap(), "{}");
    store.append(Append::to(order.clone(), ExpectedRevision::Any, [placed])).await.unwrap();
    deposit_in_turns(&store, 3, 1).await;
    relay_all(&store, &url, by_category()).await;
    let mut live = Vec::new();
    while live.len() < 2 {
        let delivery = timeout(WAIT_MAX, subscription.next()).await.unwrap().unwrap().unwrap();
        if let Delivery::Events(page) = delivery {
            live.extend(page);
        }
    }
    assert_eq!(live, all_events(&*store).await[10..]);
    // One stream is found among the topics.
    let read = feed.read_stream(ReadStream::backwards(order.clone()));
    assert_eq!(read.collect_events().await.unwrap(), live[..1]);
    let described = feed.describe_stream(&order).await.unwrap();
    assert_eq!((described.state, described.head), (StreamState::Live, Some(Revision::FIRST)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_refuses_what_it_cannot_do() {
    let Some(url) = shared_or_skip() else { return };
    let feed = feed(&url);
    let error = feed.head().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(url.brokers()), "{error}");
    let store = Arc::new(MemoryStore::new());
    deposit_in_turns(&store, 1, 5).await;
    relay_all(&store, &url, options(&url, RelayGuarantee::AtLeastOnce)).await;
    let stream = StreamName::new("order-1").unwrap();
    let placed = NewEvent::json(EventId::random(), EventType::new("placed").unwrap(), "{}");
    let append = Append::to(stream.clone(), ExpectedRevision::Any, [placed]);
    let error = feed.append(append).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    let beyond = Subscribe::to_all().after(Position::new(6));
    let error = feed.subscribe(beyond.into()).next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Rejected(Invalid::BeyondHead { .. })), "{error}");
    let error = feed.subscribe(Subscribe::to_stream(stream).into()).next().await.unwrap();
    assert!(matches!(error, Err(StoreError::Rejected(_))));
}
