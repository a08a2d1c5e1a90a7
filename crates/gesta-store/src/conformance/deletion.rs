//! Clauses about deleted streams, which an append revives, and tombstoned ones, which stay gone.

use super::support::*;
use crate::{
    Appended, Conflict, DeleteStream, EventStore, ExpectedRevision, ReadStream, Revision,
    SetStreamMetadata, StoreError, StreamMetadata, StreamState, TombstoneStream,
};

async fn delete_expecting(
    store: &dyn EventStore,
    expected: ExpectedRevision,
) -> Result<Appended, StoreError> {
    store.delete_stream(DeleteStream { stream: name("order-1"), expected }).await
}

async fn tombstone_expecting(
    store: &dyn EventStore,
    expected: ExpectedRevision,
) -> Result<Appended, StoreError> {
    store.tombstone_stream(TombstoneStream { stream: name("order-1"), expected }).await
}

pub(super) async fn a_deleted_stream_reads_empty(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    assert_eq!(stream_ids(store, "order-1").await, []);
    let backwards = ReadStream::backwards(name("order-1"));
    assert_eq!(collected(store.read_stream(backwards)).await, []);
}

pub(super) async fn a_revived_stream_goes_on_counting(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    let appended = append(store, "order-1", events(2)).await;
    assert_eq!(appended.revisions, [(name("order-1"), Revision::new(3))]);
    let shown = stream_events(store, "order-1").await;
    let revisions: Vec<u64> = shown.iter().map(|event| event.revision.number()).collect();
    assert_eq!(revisions, [2, 3], "deleted events must stay hidden");
}

pub(super) async fn no_stream_holds_on_a_deleted_stream(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    accepted(expecting(store, "order-1", ExpectedRevision::NoStream).await);
}

pub(super) async fn the_exact_head_holds_on_a_deleted_stream(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    conflict(expecting(store, "order-1", exact(0)).await);
    accepted(expecting(store, "order-1", exact(1)).await);
}

pub(super) async fn stream_exists_conflicts_on_a_deleted_stream(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    let (stream, expected) = (name("order-1"), ExpectedRevision::StreamExists);
    let found = conflict(expecting(store, "order-1", expected).await);
    assert_eq!(found, Conflict::Stream { stream, expected, head: None });
}

pub(super) async fn deleting_checks_where_the_stream_is(store: &dyn EventStore) {
    conflict(delete_expecting(store, ExpectedRevision::StreamExists).await);
    let added = grow(store, "order-1", 2).await;
    conflict(delete_expecting(store, ExpectedRevision::NoStream).await);
    conflict(delete_expecting(store, exact(0)).await);
    assert_eq!(stream_ids(store, "order-1").await, added, "nothing must be hidden");
    accepted(delete_expecting(store, exact(1)).await);
    assert_eq!(stream_ids(store, "order-1").await, []);
    conflict(delete_expecting(store, ExpectedRevision::StreamExists).await);
    let (stream, expected, head) = (name("order-1"), exact(7), Some(Revision::new(1)));
    let found = conflict(delete_expecting(store, expected).await);
    assert_eq!(
        found,
        Conflict::Stream { stream, expected, head },
        "the conflict must show the last revision"
    );
}

pub(super) async fn deleting_nothing_answers_with_the_head(store: &dyn EventStore) {
    grow(store, "order-2", 2).await;
    let answer = delete(store, "order-1").await;
    assert_eq!(answer.position, head(store).await);
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    // A second deletion must not append metadata again.
    let events = all_ids(store).await.len();
    let answer = delete(store, "order-1").await;
    assert_eq!(answer.position, head(store).await);
    assert_eq!(all_ids(store).await.len(), events, "nothing must be appended");
}

pub(super) async fn deleting_keeps_the_other_metadata(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    let custom = [("team".to_owned(), "sales".into())].into_iter().collect();
    let metadata = crate::StreamMetadata { custom, ..crate::StreamMetadata::default() };
    set_metadata(store, "order-1", metadata.clone()).await;
    delete(store, "order-1").await;
    let known = accepted(store.describe_stream(&name("order-1")).await);
    assert_eq!(known.metadata.custom, metadata.custom);
}

pub(super) async fn a_tombstoned_stream_takes_no_events(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    tombstone(store, "order-1").await;
    let before = all_ids(store).await;
    for expected in [ExpectedRevision::Any, ExpectedRevision::NoStream, exact(1)] {
        let refused = deleted(expecting(store, "order-1", expected).await);
        assert_eq!(refused, name("order-1"));
    }
    assert_eq!(all_ids(store).await, before, "nothing must be appended");
}

pub(super) async fn reading_a_tombstoned_stream_says_deleted(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    tombstone(store, "order-1").await;
    // The error is an item of the pages.
    for read in [ReadStream::forwards, ReadStream::backwards] {
        let read = store.read_stream(read(name("order-1")));
        assert_eq!(deleted(read.collect_events().await), name("order-1"));
    }
}

pub(super) async fn a_tombstoned_stream_has_no_second_end(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    tombstone(store, "order-1").await;
    let stream = name("order-1");
    assert_eq!(deleted(delete_expecting(store, ExpectedRevision::Any).await), stream);
    assert_eq!(deleted(tombstone_expecting(store, ExpectedRevision::Any).await), stream);
}

pub(super) async fn a_tombstoned_stream_takes_no_metadata(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    tombstone(store, "order-1").await;
    let change = crate::SetStreamMetadata {
        stream: name("order-1"),
        expected_metadata: ExpectedRevision::Any,
        metadata: crate::StreamMetadata::default(),
    };
    assert_eq!(deleted(store.set_stream_metadata(change).await), name("order-1"));
}

pub(super) async fn a_tombstoned_streams_events_stay_in_the_whole_store(store: &dyn EventStore) {
    let added = grow(store, "order-1", 2).await;
    tombstone(store, "order-1").await;
    let all = all_ids(store).await;
    assert!(all.starts_with(&added), "expected {added:?} and the tombstone, got {all:?}");
}

pub(super) async fn tombstoning_checks_where_the_stream_is(store: &dyn EventStore) {
    conflict(tombstone_expecting(store, ExpectedRevision::StreamExists).await);
    let added = grow(store, "order-1", 2).await;
    conflict(tombstone_expecting(store, ExpectedRevision::NoStream).await);
    conflict(tombstone_expecting(store, exact(0)).await);
    assert_eq!(stream_ids(store, "order-1").await, added, "nothing must be hidden");
    accepted(tombstone_expecting(store, exact(1)).await);
}

pub(super) async fn a_stream_that_never_was_can_be_tombstoned(store: &dyn EventStore) {
    accepted(tombstone_expecting(store, ExpectedRevision::NoStream).await);
    deleted(expecting(store, "order-1", ExpectedRevision::Any).await);
}

pub(super) async fn a_deleted_stream_can_be_tombstoned(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    delete(store, "order-1").await;
    accepted(tombstone_expecting(store, ExpectedRevision::Any).await);
    deleted(expecting(store, "order-1", ExpectedRevision::Any).await);
}

fn at_most(count: u64) -> StreamMetadata {
    StreamMetadata { max_count: std::num::NonZeroU64::new(count), ..StreamMetadata::default() }
}

fn truncated_before(revision: u64) -> StreamMetadata {
    StreamMetadata { truncate_before: Some(Revision::new(revision)), ..StreamMetadata::default() }
}

async fn revisions(store: &dyn EventStore) -> Vec<u64> {
    let shown = stream_events(store, "order-1").await;
    shown.iter().map(|event| event.revision.number()).collect()
}

pub(super) async fn metadata_set_on_a_deleted_stream_keep_it_deleted(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    delete(store, "order-1").await;
    // None of these marks the stream as deleted.
    for metadata in [at_most(10), truncated_before(1), StreamMetadata::default()] {
        set_metadata(store, "order-1", metadata.clone()).await;
        assert_eq!(revisions(store).await, [0; 0], "{metadata:?}");
        let known = accepted(store.describe_stream(&name("order-1")).await);
        assert_eq!(known.state, StreamState::Deleted, "{metadata:?}");
        assert_eq!(
            known.metadata.max_count, metadata.max_count,
            "the other metadata must take effect"
        );
    }
    grow(store, "order-1", 1).await;
    assert_eq!(revisions(store).await, [3], "an append must revive the deleted stream");
}

pub(super) async fn metadata_set_after_a_revival_keep_what_was_deleted_hidden(
    store: &dyn EventStore,
) {
    grow(store, "order-1", 3).await;
    delete(store, "order-1").await;
    grow(store, "order-1", 3).await;
    for metadata in [at_most(10), truncated_before(1), StreamMetadata::default()] {
        set_metadata(store, "order-1", metadata.clone()).await;
        assert_eq!(revisions(store).await, [3, 4, 5], "{metadata:?}");
    }
    set_metadata(store, "order-1", truncated_before(5)).await;
    assert_eq!(revisions(store).await, [5], "a later truncation must hide more events");
    set_metadata(store, "order-1", truncated_before(0)).await;
    assert_eq!(
        revisions(store).await,
        [3, 4, 5],
        "truncated events must be shown again, but no deleted ones"
    );
}

/// Truncation beyond the head is a deletion.
pub(super) async fn metadata_that_delete_are_kept_like_a_deletion(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    set_metadata(store, "order-1", truncated_before(2)).await;
    set_metadata(store, "order-1", at_most(10)).await;
    assert_eq!(revisions(store).await, [0; 0]);
    grow(store, "order-1", 1).await;
    set_metadata(store, "order-1", truncated_before(0)).await;
    assert_eq!(revisions(store).await, [2]);
}

/// Metadata that were read before a deletion and are written back after it do not undo it.
pub(super) async fn metadata_read_before_a_deletion_are_set_in_vain(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    set_metadata(store, "order-1", at_most(5)).await;
    let known = accepted(store.describe_stream(&name("order-1")).await);
    delete(store, "order-1").await;
    // The deletion wrote metadata, so the revision read is outdated.
    let read = known.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let set = async |expected_metadata| {
        let (stream, metadata) = (name("order-1"), known.metadata.clone());
        store.set_stream_metadata(SetStreamMetadata { stream, expected_metadata, metadata }).await
    };
    let found = conflict(set(read).await);
    let (stream, head) = (name("$$order-1"), Some(Revision::new(1)));
    assert_eq!(found, Conflict::Stream { stream, expected: read, head });
    accepted(set(ExpectedRevision::Any).await);
    assert_eq!(revisions(store).await, [0; 0]);
}
