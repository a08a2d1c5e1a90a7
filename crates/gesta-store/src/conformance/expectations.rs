//! Clauses about expected revisions: when they hold, and that a conflict appends nothing.

use super::support::*;
use crate::{Append, Conflict, EventStore, ExpectedRevision, Revision, StreamMetadata};

pub(super) async fn any_holds_on_a_missing_a_live_and_a_deleted_stream(store: &dyn EventStore) {
    accepted(expecting(store, "order-1", ExpectedRevision::Any).await);
    accepted(expecting(store, "order-1", ExpectedRevision::Any).await);
    delete(store, "order-1").await;
    accepted(expecting(store, "order-1", ExpectedRevision::Any).await);
}

/// A stream with metadata but without events does not exist.
pub(super) async fn no_stream_holds_where_there_are_no_events(store: &dyn EventStore) {
    accepted(expecting(store, "order-1", ExpectedRevision::NoStream).await);
    set_metadata(store, "order-2", StreamMetadata::default()).await;
    accepted(expecting(store, "order-2", ExpectedRevision::NoStream).await);
}

pub(super) async fn no_stream_conflicts_where_there_are_events(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    conflict(expecting(store, "order-1", ExpectedRevision::NoStream).await);
}

pub(super) async fn stream_exists_holds_where_there_are_events(store: &dyn EventStore) {
    grow(store, "order-1", 1).await;
    accepted(expecting(store, "order-1", ExpectedRevision::StreamExists).await);
}

pub(super) async fn stream_exists_conflicts_where_there_are_none(store: &dyn EventStore) {
    conflict(expecting(store, "order-1", ExpectedRevision::StreamExists).await);
}

pub(super) async fn an_exact_revision_holds_at_the_head(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    accepted(expecting(store, "order-1", exact(2)).await);
    accepted(expecting(store, "order-1", exact(3)).await);
}

pub(super) async fn an_exact_revision_conflicts_before_the_head(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    conflict(expecting(store, "order-1", exact(1)).await);
}

pub(super) async fn an_exact_revision_conflicts_beyond_the_head(store: &dyn EventStore) {
    grow(store, "order-1", 3).await;
    conflict(expecting(store, "order-1", exact(3)).await);
    conflict(expecting(store, "order-2", exact(0)).await);
}

pub(super) async fn a_conflict_names_the_stream_the_expectation_and_the_head(
    store: &dyn EventStore,
) {
    grow(store, "order-1", 3).await;
    for (stream, expected, head) in [
        ("order-1", exact(7), Some(Revision::new(2))),
        ("order-1", ExpectedRevision::NoStream, Some(Revision::new(2))),
        ("order-2", ExpectedRevision::StreamExists, None),
    ] {
        let found = conflict(expecting(store, stream, expected).await);
        assert_eq!(found, Conflict::Stream { stream: name(stream), expected, head });
    }
}

pub(super) async fn a_conflict_appends_nothing(store: &dyn EventStore) {
    let before = grow(store, "order-1", 2).await;
    conflict(store.append(Append::to(name("order-1"), exact(0), events(2))).await);
    assert_eq!(all_ids(store).await, before);
}

pub(super) async fn a_check_without_events_holds_or_conflicts(store: &dyn EventStore) {
    grow(store, "order-1", 2).await;
    for holds in [ExpectedRevision::Any, ExpectedRevision::StreamExists, exact(1)] {
        accepted(store.append(Append::default().expecting(name("order-1"), holds)).await);
    }
    for fails in [ExpectedRevision::NoStream, exact(0)] {
        conflict(store.append(Append::default().expecting(name("order-1"), fails)).await);
    }
}

pub(super) async fn a_check_without_events_answers_with_the_head(store: &dyn EventStore) {
    let before = grow(store, "order-1", 2).await;
    let check = Append::default().expecting(name("order-1"), exact(1));
    let answer = accepted(store.append(check).await);
    assert_eq!(answer.position, head(store).await);
    assert_eq!(answer.revisions, [], "no stream must get events");
    assert_eq!(all_ids(store).await, before, "nothing must be appended");
}
