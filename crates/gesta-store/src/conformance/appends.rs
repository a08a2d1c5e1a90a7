//! Clauses about appends in general: order, positions, results, and invalid input.

use super::support::*;
use crate::{Append, EventStore, ExpectedRevision, Invalid, Position, ReadStream, Revision};

pub(super) async fn an_append_without_streams_is_rejected(store: &dyn EventStore) {
    assert_eq!(rejected(store.append(Append::default()).await), Invalid::NoStreams);
}

pub(super) async fn a_stream_named_twice_is_rejected(store: &dyn EventStore) {
    // Two parts of one stream would make its expectations ambiguous.
    let twice = Append::to(name("order-1"), ExpectedRevision::Any, [event()]).and(
        name("order-1"),
        ExpectedRevision::Any,
        [event()],
    );
    let stream = name("order-1");
    assert_eq!(rejected(store.append(twice).await), Invalid::StreamTwice { stream });
    assert_eq!(all_ids(store).await, [], "nothing must be appended");
}

pub(super) async fn an_event_id_given_twice_is_rejected(store: &dyn EventStore) {
    let event = event();
    let id = event.id;
    let twice = Append::to(name("order-1"), ExpectedRevision::Any, [event.clone(), event]);
    assert_eq!(rejected(store.append(twice).await), Invalid::EventTwice { id });
    assert_eq!(all_ids(store).await, [], "nothing must be appended");
}

pub(super) async fn positions_follow_the_order_of_the_append(store: &dyn EventStore) {
    // Catches a store that orders by stream name.
    let mut order = grow(store, "order-2", 5).await;
    order.extend(grow(store, "order-1", 2).await);
    assert_eq!(all_ids(store).await, order);
}

pub(super) async fn positions_rise_from_one_or_later(store: &dyn EventStore) {
    for stream in ["order-1", "order-2", "order-1"] {
        grow(store, stream, 3).await;
    }
    let positions: Vec<Position> = all(store).await.iter().map(|event| event.position).collect();
    assert_eq!(positions.len(), 9);
    assert!(
        positions.first() > Some(&Position::START),
        "the first position must be after the start, got {positions:?}"
    );
    assert!(
        positions.is_sorted_by(|earlier, later| earlier < later),
        "positions must increase, got {positions:?}"
    );
}

pub(super) async fn revisions_count_from_zero_without_gaps(store: &dyn EventStore) {
    for count in [1, 3, 2] {
        grow(store, "order-1", count).await;
        // Interleave two streams, so that positions and revisions differ.
        grow(store, "order-2", 1).await;
    }
    for (stream, count) in [("order-1", 6), ("order-2", 3)] {
        let revisions: Vec<u64> = stream_events(store, stream)
            .await
            .iter()
            .map(|event| event.revision.number())
            .collect();
        assert_eq!(revisions, (0..count).collect::<Vec<_>>(), "{stream}");
    }
}

pub(super) async fn an_append_answers_with_its_last_position_and_revision(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    let appended = append(store, "order-1", events(3)).await;
    assert_eq!(appended.revisions, [(name("order-1"), Revision::new(4))]);
    let last = collected(store.read_stream(ReadStream::backwards(name("order-1")).limit(1))).await;
    assert_eq!(last.first().map(|event| event.position), Some(appended.position));
}

pub(super) async fn an_event_is_in_its_stream_and_in_the_store_alike(store: &dyn EventStore) {
    // Move positions away from revisions.
    grow(store, "order-2", 2).await;
    grow(store, "order-1", 3).await;
    let mut all = all(store).await;
    all.retain(|event| event.stream == name("order-1"));
    assert_eq!(stream_events(store, "order-1").await, all);
}

pub(super) async fn recorded_times_never_fall(store: &dyn EventStore) {
    for stream in ["order-1", "order-2", "order-1"] {
        grow(store, stream, 4).await;
    }
    let times: Vec<_> = all(store).await.iter().map(|event| event.recorded_at).collect();
    assert_eq!(times.len(), 12);
    assert!(times.is_sorted(), "recorded times must not decrease, got {times:?}");
}

pub(super) async fn the_head_is_the_last_position(store: &dyn EventStore) {
    assert_eq!(head(store).await, Position::START, "the head of an empty store must be the start");
    for _ in 0..2 {
        let appended = append(store, "order-1", events(2)).await;
        assert_eq!(head(store).await, appended.position);
    }
}

pub(super) async fn the_incarnation_stays_while_the_store_is_open(store: &dyn EventStore) {
    let before = accepted(store.head().await).incarnation;
    grow(store, "order-1", 2).await;
    assert_eq!(accepted(store.head().await).incarnation, before);
}

pub(super) async fn capabilities_never_change(store: &dyn EventStore) {
    let before = store.capabilities();
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    assert_eq!(store.capabilities(), before);
}

/// A dropped append may or may not happen. A retry makes it happen once.
pub(super) async fn a_dropped_append_harms_nothing(store: &dyn EventStore) {
    let dropped = Append::to(name("order-1"), ExpectedRevision::NoStream, events(2));
    // One poll may start the append without ending it.
    poll_once(store.append(dropped.clone())).await;
    let other = grow(store, "order-2", 1).await;
    let appended = accepted(store.append(dropped.clone()).await);
    assert_eq!(appended.revisions, [(name("order-1"), Revision::new(1))]);
    let offered: Vec<_> = dropped.events().map(|event| event.id).collect();
    assert_eq!(stream_ids(store, "order-1").await, offered);
    assert_eq!(stream_ids(store, "order-2").await, other);
}
