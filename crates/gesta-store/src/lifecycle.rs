//! Setting metadata, deleting and tombstoning, as appends to the stream `$$name`.
//!
//! Owns: the appends of these operations, shared by all stores, and the rule that new metadata
//! never undo a deletion. Each operation is one atomic append that expects what was read for it, so
//! a concurrent change is a conflict. Metadata that are set after a deletion truncate at least as
//! far as the deletion did. Needs multi-stream appends, to check the stream itself in the append to
//! `$$name`. Not here: the reads, and another round after a conflict ([`store`](crate::store));
//! events that an import or a repair appends to `$$name` directly, which take effect as written.

use serde_json::Value;

use crate::{
    Append, Conflict, DeleteStream, EventId, EventType, ExpectedRevision, NewEvent, RecordedEvent,
    Revision, SetStreamMetadata, StoreError, StreamDescription, StreamMetadata, StreamName,
    StreamState, TombstoneStream,
};

/// Key in a metadata event's own metadata: events before this revision are deleted. 0: none are.
const DELETED_BEFORE: &str = "$deletedBefore";

/// Metadata to write, and the revision before which events are deleted.
struct MetadataChange {
    metadata: StreamMetadata,
    deleted_before: Revision,
}

/// Returns an error if the stream is tombstoned, or its metadata is not at the revision that the
/// caller expects.
pub(crate) fn check_change(
    change: &SetStreamMetadata,
    description: &StreamDescription,
) -> Result<(), StoreError> {
    if description.state == StreamState::Tombstoned {
        return Err(StoreError::Deleted { stream: change.stream.clone() });
    }
    // Check the caller's expectation here: the append itself expects the revision that was read.
    if !change.expected_metadata.admits(description.metadata_revision) {
        let metadata_stream = change.stream.metadata_stream()?;
        return Err(conflict(
            metadata_stream,
            change.expected_metadata,
            description.metadata_revision,
        ));
    }
    Ok(())
}

/// The append that sets metadata and carries an earlier deletion over.
///
/// It expects the revision of the metadata in which the deletion was looked up.
pub(crate) fn metadata_change(
    change: &SetStreamMetadata,
    description: &StreamDescription,
    deleted_before: Revision,
) -> Result<Append, StoreError> {
    let merged = merge_deletion(&change.metadata, deleted_before, description.head);
    let expected = expect_head(description.metadata_revision);
    Ok(Append::to(change.stream.metadata_stream()?, expected, [metadata_event(&merged)?]))
}

/// Merges the requested metadata with an earlier deletion, which they may not undo.
fn merge_deletion(
    wanted: &StreamMetadata,
    deleted_before: Revision,
    head: Option<Revision>,
) -> MetadataChange {
    // 0 as a floor would set `$tb` on streams that never were deleted.
    let floor = Some(deleted_before).filter(|before| *before > Revision::FIRST);
    let truncate_before = wanted.truncate_before.max(floor);
    // Truncation beyond the head deletes the stream.
    let deletes = truncate_before.zip(head).filter(|(before, head)| before > head);
    let deleted_now = deletes.map_or(Revision::FIRST, |(_, head)| head.next());
    MetadataChange {
        metadata: StreamMetadata { truncate_before, ..wanted.clone() },
        deleted_before: deleted_before.max(deleted_now),
    }
}

/// Returns the revision before which events are deleted, as metadata in force note it. `None` for
/// metadata that an earlier version wrote.
pub(crate) fn deletion_note(current: &RecordedEvent) -> Option<Revision> {
    let note: Value = serde_json::from_slice(&current.metadata).ok()?;
    note.get(DELETED_BEFORE)?.as_u64().map(Revision::new)
}

/// The append that truncates a stream up to its head, or `None` if nothing is left to hide.
///
/// It expects the head that was read, so an event that is appended concurrently stays visible.
pub(crate) fn deletion(
    delete: &DeleteStream,
    description: &StreamDescription,
) -> Result<Option<Append>, StoreError> {
    let stream = &delete.stream;
    // Expectations other than an exact revision see a deleted stream as missing.
    let live = match description.state {
        StreamState::Tombstoned => return Err(StoreError::Deleted { stream: stream.clone() }),
        StreamState::Live => description.head,
        StreamState::Missing | StreamState::Deleted => None,
    };
    if !admits(delete.expected, live, description.head) {
        let compared = match delete.expected {
            ExpectedRevision::Exact(_) => description.head,
            ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
                live
            }
        };
        return Err(conflict(stream.clone(), delete.expected, compared));
    }
    live.map(|head| truncation(stream, description, head.next())).transpose()
}

/// The append that tombstones a stream. It checks the stream itself, and a store refuses a second
/// tombstone.
pub(crate) fn tombstone(tombstone: TombstoneStream) -> Result<Append, StoreError> {
    let event_type = EventType::new(TombstoneStream::EVENT_TYPE)?;
    let event = NewEvent::json(EventId::random(), event_type, "{}");
    let metadata = tombstone.stream.metadata_stream()?;
    let append = Append::to(metadata, ExpectedRevision::Any, [event]);
    Ok(append.expecting(tombstone.stream, tombstone.expected))
}

/// An exact revision also holds on a deleted stream.
fn admits(expected: ExpectedRevision, live: Option<Revision>, head: Option<Revision>) -> bool {
    expected.admits(live) || matches!(expected, ExpectedRevision::Exact(_)) && expected.admits(head)
}

fn conflict(stream: StreamName, expected: ExpectedRevision, head: Option<Revision>) -> StoreError {
    Conflict::Stream { stream, expected, head }.into()
}

fn truncation(
    stream: &StreamName,
    description: &StreamDescription,
    before: Revision,
) -> Result<Append, StoreError> {
    let metadata = StreamMetadata { truncate_before: Some(before), ..description.metadata.clone() };
    let event = metadata_event(&MetadataChange { metadata, deleted_before: before })?;
    let expected_metadata = expect_head(description.metadata_revision);
    // Neither the metadata nor the head may have changed since they were read.
    Ok(Append::to(stream.metadata_stream()?, expected_metadata, [event])
        .expecting(stream.clone(), expect_head(description.head)))
}

fn expect_head(head: Option<Revision>) -> ExpectedRevision {
    head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
}

fn metadata_event(change: &MetadataChange) -> Result<NewEvent, StoreError> {
    let MetadataChange { metadata, deleted_before } = change;
    let event_type = EventType::new(StreamMetadata::EVENT_TYPE)?;
    let event = NewEvent::json(EventId::random(), event_type, metadata.to_json());
    if metadata.truncate_before.is_none() {
        return Ok(event);
    }
    // Without a truncation there is no deletion to note.
    let note = serde_json::json!({ DELETED_BEFORE: deleted_before.number() });
    Ok(NewEvent { metadata: note.to_string().into(), ..event })
}
