//! Clauses about listing streams and categories: selection, order and pages.

use super::support::*;
use crate::{EventStore, ListCategories, ListStreams, StreamMetadata};

fn every() -> ListStreams {
    ListStreams { prefix: String::new(), after: None, limit: usize::MAX }
}

async fn listed(store: &dyn EventStore, list: ListStreams) -> Vec<String> {
    let names = accepted(store.list_streams(list).await);
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

async fn categories(store: &dyn EventStore, after: Option<&str>, limit: usize) -> Vec<String> {
    let list = ListCategories { after: after.map(category), limit };
    let names = accepted(store.list_categories(list).await);
    names.iter().map(|name| name.as_str().to_owned()).collect()
}

async fn grow_each(store: &dyn EventStore, names: &[&str]) {
    for name in names {
        grow(store, name, 1).await;
    }
}

pub(super) async fn streams_are_listed_in_byte_order(store: &dyn EventStore) {
    assert_eq!(listed(store, every()).await, [""; 0]);
    // Byte order differs from alphabetical order here.
    grow_each(store, &["b-2", "é-1", "a-1", "B-1", "b-10", "b-2", "z"]).await;
    assert_eq!(listed(store, every()).await, ["B-1", "a-1", "b-10", "b-2", "z", "é-1"]);
}

pub(super) async fn streams_are_listed_in_pages(store: &dyn EventStore) {
    grow_each(store, &["a-1", "a-2", "a-3", "b-1", "b-2"]).await;
    let after = |text, limit| ListStreams { after: Some(name(text)), limit, ..every() };
    assert_eq!(listed(store, ListStreams { limit: 2, ..every() }).await, ["a-1", "a-2"]);
    assert_eq!(listed(store, after("a-2", 2)).await, ["a-3", "b-1"]);
    assert_eq!(listed(store, after("b-1", 2)).await, ["b-2"]);
    assert_eq!(listed(store, after("b-2", 2)).await, [""; 0]);
    assert_eq!(
        listed(store, after("a-25", 1)).await,
        ["a-3"],
        "`after` may name a stream that does not exist"
    );
    assert_eq!(listed(store, ListStreams { limit: 0, ..every() }).await, [""; 0]);
}

pub(super) async fn streams_are_listed_by_prefix(store: &dyn EventStore) {
    grow_each(store, &["order-1", "order-2", "orders-1", "account-1", "Order-1"]).await;
    let order = || ListStreams { prefix: "order-".to_owned(), ..every() };
    assert_eq!(listed(store, order()).await, ["order-1", "order-2"]);
    let after = ListStreams { after: Some(name("order-1")), ..order() };
    assert_eq!(listed(store, after).await, ["order-2"]);
    // A start before the prefix, and one after it.
    let before = ListStreams { after: Some(name("account-1")), limit: 1, ..order() };
    assert_eq!(listed(store, before).await, ["order-1"]);
    let past = ListStreams { after: Some(name("zebra-1")), ..order() };
    assert_eq!(listed(store, past).await, [""; 0]);
}

pub(super) async fn system_streams_are_listed_only_when_asked_for(store: &dyn EventStore) {
    grow_each(store, &["order-1"]).await;
    // Creates the stream `$$order-1`.
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    assert_eq!(listed(store, every()).await, ["order-1"]);
    let system = ListStreams { prefix: "$".to_owned(), ..every() };
    assert_eq!(listed(store, system).await, ["$$order-1"]);
}

pub(super) async fn streams_that_ended_are_not_listed(store: &dyn EventStore) {
    grow_each(store, &["a-1", "a-2", "a-3", "a-4"]).await;
    delete(store, "a-2").await;
    tombstone(store, "a-3").await;
    assert_eq!(listed(store, every()).await, ["a-1", "a-4"]);
    grow_each(store, &["a-2"]).await;
    assert_eq!(
        listed(store, every()).await,
        ["a-1", "a-2", "a-4"],
        "a revived stream must be listed"
    );
}

pub(super) async fn streams_without_events_are_not_listed(store: &dyn EventStore) {
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    assert_eq!(listed(store, every()).await, [""; 0]);
}

pub(super) async fn categories_are_listed_in_byte_order(store: &dyn EventStore) {
    grow_each(store, &["b-2", "é-1", "a-1-2", "B-1", "b-10", "settings", "-1"]).await;
    assert_eq!(categories(store, None, usize::MAX).await, ["B", "a", "b", "é"]);
}

pub(super) async fn categories_are_listed_in_pages(store: &dyn EventStore) {
    grow_each(store, &["a-1", "b-1", "c-1"]).await;
    assert_eq!(categories(store, None, 2).await, ["a", "b"]);
    assert_eq!(categories(store, Some("b"), 2).await, ["c"]);
    assert_eq!(categories(store, Some("aa"), 1).await, ["b"]);
    assert_eq!(categories(store, None, 0).await, [""; 0]);
}

pub(super) async fn categories_outlive_their_streams(store: &dyn EventStore) {
    grow_each(store, &["a-1", "b-1"]).await;
    delete(store, "a-1").await;
    tombstone(store, "b-1").await;
    assert_eq!(categories(store, None, usize::MAX).await, ["a", "b"]);
}
