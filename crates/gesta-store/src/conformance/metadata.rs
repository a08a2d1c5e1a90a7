//! Clauses about stream metadata: that they are stored, and which events they hide.

use std::{num::NonZeroU64, time::Duration};

use super::support::*;
use crate::{
    Acl, Capability, EventStore, ExpectedRevision, ReadStream, Revision, SetStreamMetadata,
    StoreError, StreamMetadata, StreamState,
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

/// Reads in both directions and expects these revisions.
async fn expect_revisions(store: &dyn EventStore, expected: &[u64]) {
    let forwards = stream_events(store, "order-1").await;
    let revisions: Vec<u64> = forwards.iter().map(|event| event.revision.number()).collect();
    assert_eq!(revisions, expected);
    // Hidden events are hidden in both directions.
    let backwards = collected(store.read_stream(ReadStream::backwards(name("order-1")))).await;
    assert_eq!(backwards, reversed(&forwards));
}

pub(super) async fn metadata_come_back_as_they_were_set(store: &dyn EventStore) {
    let metadata = StreamMetadata {
        max_age: Some(Duration::from_secs(3_600)),
        max_count: NonZeroU64::new(100),
        truncate_before: Some(Revision::new(1)),
        cache_control: Some(Duration::from_secs(5)),
        acl: Some(Acl {
            read: vec!["ann".to_owned(), "ben".to_owned()],
            append: vec!["ann".to_owned()],
            delete: vec!["root".to_owned()],
            read_metadata: vec!["auditor".to_owned()],
            set_metadata: vec!["root".to_owned()],
        }),
        custom: [("team".to_owned(), "sales".into())].into_iter().collect(),
    };
    set_metadata(store, "order-1", metadata.clone()).await;
    let known = accepted(store.describe_stream(&name("order-1")).await);
    assert_eq!(known.metadata, metadata);
    assert_eq!(known.metadata_revision, Some(Revision::FIRST));
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    let known = accepted(store.describe_stream(&name("order-1")).await);
    assert_eq!(
        known.metadata,
        StreamMetadata::default(),
        "the new metadata must replace all fields"
    );
    assert_eq!(known.metadata_revision, Some(Revision::new(1)));
}

/// A newer version, or another tool, may have meant them.
pub(super) async fn unknown_metadata_come_back_unchanged(store: &dyn EventStore) {
    let custom = [("$unknown".to_owned(), serde_json::json!({"a": [1, "b"]}))];
    let custom = custom.into_iter().collect();
    let metadata = StreamMetadata { custom, ..at_most(3) };
    set_metadata(store, "order-1", metadata.clone()).await;
    let known = accepted(store.describe_stream(&name("order-1")).await);
    assert_eq!(known.metadata, metadata);
    // A deletion keeps them, too.
    grow(store, "order-1", 1).await;
    if has(store, Capability::Deletion) {
        delete(store, "order-1").await;
        let known = accepted(store.describe_stream(&name("order-1")).await);
        assert_eq!(known.metadata.custom, metadata.custom);
    }
}

pub(super) async fn a_stream_without_metadata_has_the_default(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    let known = accepted(store.describe_stream(&name("order-1")).await);
    assert_eq!(known.metadata, StreamMetadata::default());
    assert_eq!(known.metadata_revision, None);
}

pub(super) async fn a_description_follows_a_stream_through_its_life(store: &dyn EventStore) {
    let stream = name("order-1");
    let known = async || accepted(store.describe_stream(&stream).await);
    set_metadata(store, "order-1", StreamMetadata::default()).await;
    assert_eq!((known().await.state, known().await.head), (StreamState::Missing, None));
    // Live, deleted, and the same again after a revival.
    for (head, grown) in [(1, StreamState::Live), (3, StreamState::Live)] {
        grow(store, "order-1", 2).await;
        let head = Some(Revision::new(head));
        assert_eq!((known().await.state, known().await.head), (grown, head));
        delete(store, "order-1").await;
        assert_eq!((known().await.state, known().await.head), (StreamState::Deleted, head));
    }
    tombstone(store, "order-1").await;
    assert_eq!(known().await.state, StreamState::Tombstoned);
}

pub(super) async fn setting_metadata_answers_with_their_revision(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    for revision in 0..2 {
        let answer = set_metadata(store, "order-1", at_most(9)).await;
        assert_eq!(answer.revisions, [(name("$$order-1"), Revision::new(revision))]);
        assert_eq!(answer.position, head(store).await);
    }
}

pub(super) async fn setting_metadata_checks_where_they_are(store: &dyn EventStore) {
    let set = async |expected_metadata, count| -> Result<(), StoreError> {
        let (stream, metadata) = (name("order-1"), at_most(count));
        let change = SetStreamMetadata { stream, expected_metadata, metadata };
        store.set_stream_metadata(change).await.map(drop)
    };
    // Metadata that were never set do not exist.
    conflict(set(ExpectedRevision::StreamExists, 1).await);
    accepted(set(ExpectedRevision::NoStream, 2).await);
    conflict(set(ExpectedRevision::NoStream, 3).await);
    conflict(set(exact(1), 4).await);
    accepted(set(exact(0), 5).await);
    let known = accepted(store.describe_stream(&name("order-1")).await);
    assert_eq!(known.metadata, at_most(5));
}

pub(super) async fn max_count_shows_only_the_last_events(store: &dyn EventStore) {
    grow(store, "order-1", 4).await;
    set_metadata(store, "order-1", at_most(2)).await;
    expect_revisions(store, &[2, 3]).await;
    grow(store, "order-1", 1).await;
    expect_revisions(store, &[3, 4]).await;
    set_metadata(store, "order-1", at_most(9)).await;
    expect_revisions(store, &[0, 1, 2, 3, 4]).await;
}

pub(super) async fn truncate_before_hides_what_is_before(store: &dyn EventStore) {
    grow(store, "order-1", 4).await;
    set_metadata(store, "order-1", truncated_before(3)).await;
    expect_revisions(store, &[3]).await;
    grow(store, "order-1", 1).await;
    expect_revisions(store, &[3, 4]).await;
    set_metadata(store, "order-1", truncated_before(0)).await;
    expect_revisions(store, &[0, 1, 2, 3, 4]).await;
}

/// Age is measured by the store's clock, which takes a moment to advance.
pub(super) async fn max_age_hides_what_is_older(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    set_metadata(store, "order-1", not_older_than(0)).await;
    while !stream_ids(store, "order-1").await.is_empty() {
        pause().await;
    }
    set_metadata(store, "order-1", not_older_than(86_400)).await;
    expect_revisions(store, &[0, 1, 2]).await;
}

pub(super) async fn a_read_of_hidden_events_begins_at_the_first_shown(store: &dyn EventStore) {
    grow(store, "order-1", 4).await;
    set_metadata(store, "order-1", truncated_before(2)).await;
    let forwards = ReadStream::forwards(name("order-1")).from(Revision::FIRST).limit(1);
    let shown = collected(store.read_stream(forwards)).await;
    assert_eq!(shown.first().map(|event| event.revision), Some(Revision::new(2)));
    let backwards = ReadStream::backwards(name("order-1")).from(Revision::new(1));
    assert_eq!(collected(store.read_stream(backwards)).await, []);
}

pub(super) async fn what_metadata_hide_stays_in_the_whole_store(store: &dyn EventStore) {
    let mut added = Vec::new();
    // Each kind of metadata hides at least one event.
    let cases = [("a-1", at_most(1)), ("b-1", truncated_before(2)), ("c-1", not_older_than(0))];
    for (stream, metadata) in cases {
        added.extend(grow(store, stream, 3).await);
        set_metadata(store, stream, metadata).await;
    }
    added.extend(grow(store, "d-1", 2).await);
    delete(store, "d-1").await;
    let mut seen = all(store).await;
    seen.retain(|event| !event.stream.is_system());
    assert_eq!(recorded_ids(&seen), added);
}

pub(super) async fn metadata_are_read_as_a_stream(store: &dyn EventStore) {
    set_metadata(store, "order-1", at_most(2)).await;
    let events = stream_events(store, "$$order-1").await;
    let set: Vec<_> = events
        .iter()
        .map(|event| (event.event_type.as_str(), accepted(StreamMetadata::from_json(&event.data))))
        .collect();
    assert_eq!(set, [(StreamMetadata::EVENT_TYPE, at_most(2))]);
}
