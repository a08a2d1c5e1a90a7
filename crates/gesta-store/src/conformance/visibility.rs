//! Clauses about visible and raw reads of the whole store.

use std::{num::NonZeroU64, time::Duration};

use super::support::*;
use crate::{
    Delivery, EventId, EventQuery, EventStore, Filter, QueryItem, ReadAll, RecordedEvent, Revision,
    StreamMetadata, Subscribe, Visibility,
};

fn truncated_before(revision: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(Revision::new(revision)), ..StreamMetadata::default() }
}

fn at_most(count: u64) -> StreamMetadata {
    StreamMetadata { max_count: NonZeroU64::new(count), ..StreamMetadata::default() }
}

fn not_older_than(seconds: u64) -> StreamMetadata {
    StreamMetadata { max_age: Some(Duration::from_secs(seconds)), ..StreamMetadata::default() }
}

/// Returns the ids of a visible read without system events, and expects the same backwards.
async fn visible(store: &dyn EventStore, filter: Filter) -> Vec<EventId> {
    let read = |read: ReadAll| read.filter(filter.clone()).visibility(Visibility::Visible);
    let plain = |mut events: Vec<RecordedEvent>| {
        events.retain(|event| !event.stream.is_system());
        recorded_ids(&events)
    };
    let forwards = plain(collected(store.read_all(read(ReadAll::forwards()))).await);
    let backwards = plain(collected(store.read_all(read(ReadAll::backwards()))).await);
    assert_eq!(
        reversed(&backwards),
        forwards,
        "reads in both directions must return the same events"
    );
    forwards
}

pub(super) async fn a_visible_read_leaves_out_streams_that_ended(store: &dyn EventStore) {
    grow(store, "user-1", 2).await;
    grow(store, "user-2", 2).await;
    let kept = grow(store, "user-3", 2).await;
    delete(store, "user-1").await;
    tombstone(store, "user-2").await;
    assert_eq!(visible(store, Filter::Everything).await, kept);
    // Earlier events of the stream stay hidden.
    let revived = grow(store, "user-1", 1).await;
    assert_eq!(visible(store, Filter::Everything).await, [kept, revived].concat());
}

pub(super) async fn a_visible_read_leaves_out_what_metadata_hide(store: &dyn EventStore) {
    let truncated = grow(store, "user-1", 3).await.split_off(1);
    let counted = grow(store, "user-2", 3).await.split_off(2);
    set_metadata(store, "user-1", truncated_before(1)).await;
    set_metadata(store, "user-2", at_most(1)).await;
    let kept = [truncated, counted].concat();
    assert_eq!(visible(store, Filter::Everything).await, kept);
    grow(store, "user-3", 1).await;
    set_metadata(store, "user-3", not_older_than(0)).await;
    // Age is measured by the store's clock, which takes a moment to advance.
    while !stream_ids(store, "user-3").await.is_empty() {
        pause().await;
    }
    assert_eq!(visible(store, Filter::Everything).await, kept);
}

pub(super) async fn a_visible_read_shows_what_is_shown_again(store: &dyn EventStore) {
    let added = grow(store, "user-1", 3).await;
    set_metadata(store, "user-1", truncated_before(2)).await;
    assert_eq!(visible(store, Filter::Everything).await, added.clone().split_off(2));
    set_metadata(store, "user-1", truncated_before(0)).await;
    assert_eq!(visible(store, Filter::Everything).await, added);
}

pub(super) async fn a_limit_counts_only_visible_events(store: &dyn EventStore) {
    // More hidden events than a page has.
    grow(store, "user-1", 300).await;
    let kept = grow(store, "user-2", 2).await;
    grow(store, "user-3", 300).await;
    delete(store, "user-1").await;
    delete(store, "user-3").await;
    for (read, expected) in
        [(ReadAll::forwards(), kept.first()), (ReadAll::backwards(), kept.last())]
    {
        // Backwards, two metadata events come first.
        let metadata = 2 * u64::from(read == ReadAll::backwards());
        let read = read.limit(1 + metadata).visibility(Visibility::Visible);
        let mut events = collected(store.read_all(read)).await;
        events.retain(|event| !event.stream.is_system());
        assert_eq!(recorded_ids(&events).iter().collect::<Vec<_>>(), Vec::from_iter(expected));
    }
}

pub(super) async fn a_filtered_visible_read_leaves_out_the_same(store: &dyn EventStore) {
    append(store, "order-2", [selected(store)]).await;
    let event = selected(store);
    let kept = [event.id];
    append(store, "order-1", [event]).await;
    delete(store, "order-2").await;
    for filter in filters(store) {
        assert_eq!(visible(store, filter.clone()).await, kept, "{filter:?}");
    }
}

pub(super) async fn an_event_query_is_about_visible_events(store: &dyn EventStore) {
    let query = EventQuery::of(QueryItem::every().of_types([event_type("registered")]));
    let read = || ReadAll::forwards().filter(Filter::Query(query.clone()));
    append(store, "user-1", [typed("registered")]).await;
    let kept = [typed("registered")];
    let expected = ids(&kept);
    append(store, "user-2", kept).await;
    delete(store, "user-1").await;
    // The query overrides the request.
    for visibility in [Visibility::Raw, Visibility::Visible] {
        let found = collected(store.read_all(read().visibility(visibility))).await;
        assert_eq!(recorded_ids(&found), expected, "{visibility:?}");
    }
}

/// Returns the ids that a subscription delivers before it has caught up, without system events.
async fn delivered_ids(store: &dyn EventStore, visibility: Visibility) -> Vec<EventId> {
    let mut subscription = store.subscribe(Subscribe::to_all().visibility(visibility).into());
    let (mut events, _) = caught_up(&mut subscription).await;
    events.retain(|event| !event.stream.is_system());
    recorded_ids(&events)
}

pub(super) async fn a_raw_subscription_delivers_hidden_events(store: &dyn EventStore) {
    let mut added = grow(store, "user-1", 2).await;
    added.extend(grow(store, "user-2", 2).await);
    delete(store, "user-1").await;
    tombstone(store, "user-2").await;
    assert_eq!(delivered_ids(store, Visibility::Raw).await, added);
}

pub(super) async fn a_visible_subscription_passes_over_hidden_events(store: &dyn EventStore) {
    grow(store, "user-1", 300).await;
    // Behind a page of hidden events.
    let mut kept = grow(store, "user-2", 3).await;
    tombstone(store, "user-1").await;
    set_metadata(store, "user-2", truncated_before(1)).await;
    kept.remove(0);
    assert_eq!(delivered_ids(store, Visibility::Visible).await, kept);
}

pub(super) async fn a_visible_subscription_calls_nothing_back(store: &dyn EventStore) {
    // An event that was delivered while visible is not taken back.
    let mut added = grow(store, "user-1", 1).await;
    let mut subscription =
        store.subscribe(Subscribe::to_all().visibility(Visibility::Visible).into());
    let mut seen = recorded_ids(&caught_up(&mut subscription).await.0);
    delete(store, "user-1").await;
    added.extend(grow(store, "user-1", 1).await);
    while seen.len() < 2 {
        if let Delivery::Events(page) = next(&mut subscription).await {
            let plain = page.iter().filter(|event| !event.stream.is_system());
            seen.extend(plain.map(|event| event.id));
        }
    }
    assert_eq!(seen, added, "events from before and after the deletion must be delivered");
}
