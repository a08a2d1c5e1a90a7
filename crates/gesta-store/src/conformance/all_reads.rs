//! Clauses about reads of the whole store, and about filters.

use super::support::*;
use crate::{
    EventId, EventQuery, EventStore, Filter, Position, QueryItem, ReadAll, ReadFrom, RecordedEvent,
    StreamMetadata,
};

/// Appends five events to three streams, interleaved.
async fn interleaved(store: &dyn EventStore) -> Vec<RecordedEvent> {
    for stream in ["order-1", "account-1", "order-2", "order-1", "account-1"] {
        grow(store, stream, 1).await;
    }
    all(store).await
}

async fn read(store: &dyn EventStore, read: ReadAll) -> Vec<EventId> {
    recorded_ids(&collected(store.read_all(read)).await)
}

pub(super) async fn the_whole_store_reads_forwards(store: &dyn EventStore) {
    let mut added = grow(store, "order-2", 2).await;
    added.extend(grow(store, "order-1", 2).await);
    added.extend(grow(store, "order-2", 1).await);
    assert_eq!(read(store, ReadAll::forwards()).await, added);
}

pub(super) async fn the_whole_store_reads_backwards(store: &dyn EventStore) {
    let mut added = grow(store, "order-2", 2).await;
    added.extend(grow(store, "order-1", 2).await);
    assert_eq!(read(store, ReadAll::backwards()).await, reversed(&added));
}

pub(super) async fn the_whole_store_reads_from_a_position_on(store: &dyn EventStore) {
    // Start at every event in turn.
    let mut left = interleaved(store).await;
    while let Some(first) = left.first() {
        let from = ReadAll::forwards().from(first.position);
        assert_eq!(read(store, from).await, recorded_ids(&left));
        left.remove(0);
    }
}

pub(super) async fn the_whole_store_reads_from_a_position_back(store: &dyn EventStore) {
    let mut left = interleaved(store).await;
    while let Some(last) = left.last() {
        let from = ReadAll::backwards().from(last.position);
        assert_eq!(read(store, from).await, reversed(&recorded_ids(&left)));
        left.pop();
    }
}

/// There is no event at the start, and none beyond the head: a read begins at the next event in its
/// direction.
pub(super) async fn the_whole_store_reads_from_where_no_event_is(store: &dyn EventStore) {
    let all = recorded_ids(&interleaved(store).await);
    let beyond = head(store).await.next();
    let (forwards, backwards) = (ReadAll::forwards, ReadAll::backwards);
    assert_eq!(read(store, forwards().from(Position::START)).await, all);
    assert_eq!(read(store, backwards().from(Position::START)).await, []);
    for beyond in [beyond, Position::MAX] {
        assert_eq!(read(store, forwards().from(beyond)).await, []);
        assert_eq!(read(store, backwards().from(beyond)).await, reversed(&all));
    }
}

pub(super) async fn the_whole_store_reads_from_either_end(store: &dyn EventStore) {
    let all = recorded_ids(&interleaved(store).await);
    // A read away from the end that it starts at is empty.
    let from = |read: ReadAll, from| ReadAll { from, ..read };
    assert_eq!(read(store, from(ReadAll::forwards(), ReadFrom::Start)).await, all);
    assert_eq!(read(store, from(ReadAll::forwards(), ReadFrom::End)).await, []);
    assert_eq!(read(store, from(ReadAll::backwards(), ReadFrom::Start)).await, []);
    assert_eq!(read(store, from(ReadAll::backwards(), ReadFrom::End)).await, reversed(&all));
}

pub(super) async fn a_limit_ends_the_read_of_the_whole_store(store: &dyn EventStore) {
    let all = recorded_ids(&interleaved(store).await);
    for limit in 0..=all.len() + 1 {
        let expected: Vec<EventId> = all.iter().take(limit).copied().collect();
        assert_eq!(read(store, ReadAll::forwards().limit(limit as u64)).await, expected);
        let expected: Vec<EventId> = all.iter().rev().take(limit).copied().collect();
        assert_eq!(read(store, ReadAll::backwards().limit(limit as u64)).await, expected);
    }
}

/// Several pages: every event once, and no empty page.
pub(super) async fn a_large_store_comes_in_pages(store: &dyn EventStore) {
    // Interleave the streams, so that a page has events of several.
    let mut added = Vec::new();
    for stream in ["order-1", "order-2", "order-3", "order-1", "order-2", "order-3"] {
        added.extend(grow(store, stream, 150).await);
    }
    assert_eq!(read(store, ReadAll::forwards()).await, added);
    assert_eq!(read(store, ReadAll::backwards()).await, reversed(&added));
    let mut pages = store.read_all(ReadAll::forwards());
    while let Some(page) = pages.next().await {
        assert!(!accepted(page).is_empty(), "a page must not be empty");
    }
}

pub(super) async fn metadata_are_events_of_the_whole_store(store: &dyn EventStore) {
    // Metadata come first, so that the events are in both streams.
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    grow(store, "order-1", 1).await;
    let streams: Vec<_> = all(store).await.into_iter().map(|event| event.stream).collect();
    assert_eq!(streams, [name("$$order-1"), name("order-1")]);
}

/// Reads in both directions with a filter and expects the events that `selected` selects.
async fn expect_selected<M>(store: &dyn EventStore, filter: Filter, selected: M)
where
    M: Fn(&RecordedEvent) -> bool,
{
    let mut events = all(store).await;
    events.retain(selected);
    let expected = recorded_ids(&events);
    assert!(!expected.is_empty(), "this clause needs a filter that selects an event");
    assert_eq!(read(store, ReadAll::forwards().filter(filter.clone())).await, expected);
    assert_eq!(read(store, ReadAll::backwards().filter(filter)).await, reversed(&expected));
}

pub(super) async fn a_filter_picks_streams_by_name(store: &dyn EventStore) {
    // `order-12` and `reorder-1` catch matches by prefix or substring.
    for stream in ["order-1", "order-12", "account-1", "order-2", "order-1"] {
        grow(store, stream, 1).await;
    }
    let names = ["order-1", "account-1"].map(name);
    let filter = Filter::Streams(names.to_vec());
    expect_selected(store, filter, |event| names.contains(&event.stream)).await;
}

pub(super) async fn a_filter_picks_streams_by_prefix(store: &dyn EventStore) {
    // Catch matches within a name, and ones that ignore case.
    for stream in ["order-1", "reorder-1", "account-1", "Order-1", "order-2", "a"] {
        grow(store, stream, 1).await;
    }
    let filter = Filter::StreamPrefixes(vec!["order-".to_owned(), "acc".to_owned()]);
    let selected = ["order-1", "account-1", "order-2"].map(name);
    expect_selected(store, filter, |event| selected.contains(&event.stream)).await;
}

/// A category is the part before the first `-`. A name without `-` has none.
pub(super) async fn a_filter_picks_categories(store: &dyn EventStore) {
    for stream in ["order-1", "orders-1", "order", "account-1-2", "stock-1", "order-x-1"] {
        grow(store, stream, 1).await;
    }
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    let filter = Filter::Categories(["order", "account"].map(category).to_vec());
    let selected = ["order-1", "account-1-2", "order-x-1"].map(name);
    expect_selected(store, filter, |event| selected.contains(&event.stream)).await;
}

pub(super) async fn a_filter_picks_event_types(store: &dyn EventStore) {
    // `placed-again` catches a match by prefix.
    for text in ["placed", "placed-again", "paid", "shipped", "placed"] {
        append(store, "order-1", [typed(text)]).await;
    }
    let types = ["placed", "shipped"].map(event_type);
    let filter = Filter::EventTypes(types.to_vec());
    expect_selected(store, filter, |event| types.contains(&event.event_type)).await;
}

pub(super) async fn a_filter_picks_what_a_query_means(store: &dyn EventStore) {
    let (a, b) = (tag("customer:a"), tag("order:b"));
    // Both tags in any order, and the type of the second item.
    let selected = [
        typed("placed").tagged([b.clone(), a.clone()]),
        typed("closed"),
        typed("paid").tagged([tag("x"), a.clone(), b.clone()]),
    ];
    // One tag too few, another type with both tags, neither.
    let others = [
        typed("placed").tagged([a.clone()]),
        typed("shipped").tagged([a.clone(), b.clone()]),
        typed("opened"),
    ];
    let expected = ids(&selected);
    for (one, other) in selected.into_iter().zip(others) {
        append(store, "order-1", [one, other]).await;
    }
    let types = ["placed", "paid"].map(event_type);
    let query = EventQuery::of(QueryItem::every().of_types(types).tagged([a, b]))
        .or(QueryItem::every().of_types([event_type("closed")]));
    expect_selected(store, Filter::Query(query), |event| expected.contains(&event.id)).await;
}

pub(super) async fn a_filtered_read_begins_and_ends_where_it_is_told(store: &dyn EventStore) {
    let all = interleaved(store).await;
    let filter = || Filter::Streams(vec![name("account-1")]);
    let from = all.last().expect("there are events").position;
    let forwards = ReadAll::forwards().filter(filter()).limit(1);
    let backwards = ReadAll::backwards().filter(filter()).from(from).limit(1);
    let mut selected: Vec<EventId> = stream_ids(store, "account-1").await;
    assert_eq!(read(store, backwards).await, selected.split_off(1));
    assert_eq!(
        read(store, forwards).await,
        selected,
        "the limit must count only events that the filter selects"
    );
}
