//! Setting metadata, deleting and tombstoning, as appends to the stream `$$name`.
//!
//! Owns: the encoding of these operations, shared by all stores, and the rule that new metadata
//! never undo a deletion. Each operation is one atomic append. Metadata that are set after a
//! deletion truncate at least as far as the deletion did. Needs multi-stream appends, to check the
//! stream itself in the append to `$$name`. Not here: events that an import or a repair appends to
//! `$$name` directly; they take effect as written.

use serde_json::Value;

use crate::{
    Append, Appended, Conflict, DeleteStream, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, ReadStream, RecordedEvent, Revision, SetStreamMetadata, StoreError,
    StreamDescription, StreamMetadata, StreamName, StreamState, TombstoneStream,
};

/// Sets metadata and carries an earlier deletion over.
///
/// The append expects the revision of the metadata in which the deletion was looked up, so a
/// concurrent deletion causes another round.
pub(crate) async fn set_metadata<S: EventStore + ?Sized>(
    store: &S,
    change: SetStreamMetadata,
) -> Result<Appended, StoreError> {
    let SetStreamMetadata { stream, expected_metadata, metadata } = change;
    let metadata_stream = stream.metadata_stream()?;
    loop {
        // Read, decide, and append on condition that nothing has changed.
        let description = store.describe_stream(&stream).await?;
        if description.state == StreamState::Tombstoned {
            return Err(StoreError::Deleted { stream });
        }
        // Check the caller's expectation here: the append itself expects the revision that was
        // read.
        if !expected_metadata.admits(description.metadata_revision) {
            return Err(conflict(
                metadata_stream,
                expected_metadata,
                description.metadata_revision,
            ));
        }
        let deleted_before = deleted_before(store, &metadata_stream, &stream, &description).await?;
        let event = metadata_event(&merge_deletion(&metadata, deleted_before, description.head))?;
        let expected = expect_head(description.metadata_revision);
        match store.append(Append::to(metadata_stream.clone(), expected, [event])).await {
            // The metadata changed concurrently: read them again.
            Err(StoreError::Conflict(_)) => {}
            outcome => return outcome,
        }
    }
}

/// Key in a metadata event's own metadata: events before this revision are deleted. 0: none are.
const DELETED_BEFORE: &str = "$deletedBefore";

/// Metadata to write, and the revision before which events are deleted.
struct MetadataChange {
    metadata: StreamMetadata,
    deleted_before: Revision,
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

/// Returns the revision before which the events of a stream are deleted, or [`Revision::FIRST`] if
/// there was no deletion.
async fn deleted_before<S: EventStore + ?Sized>(
    store: &S,
    metadata_stream: &StreamName,
    stream: &StreamName,
    description: &StreamDescription,
) -> Result<Revision, StoreError> {
    let (Some(before), Some(head)) = (description.metadata.truncate_before, description.head)
    else {
        return Ok(Revision::FIRST);
    };
    // Everything is truncated, so the stream is deleted at present.
    if before > head {
        return Ok(head.next());
    }
    let last = ReadStream::backwards(metadata_stream.clone()).limit(1);
    let last = store.read_stream(last).collect_events().await?.pop();
    let current = last.filter(|event| Some(event.revision) == description.metadata_revision);
    // The metadata event is hidden by the metadata of `$$name`. Keep the truncation, to be safe.
    let Some(current) = current else { return Ok(before) };
    match deletion_note(&current) {
        Some(deleted) => Ok(deleted),
        None => deleted_before_without_note(store, stream, before, &current).await,
    }
}

fn deletion_note(current: &RecordedEvent) -> Option<Revision> {
    let note: Value = serde_json::from_slice(&current.metadata).ok()?;
    note.get(DELETED_BEFORE)?.as_u64().map(Revision::new)
}

/// The same for metadata without a note, as earlier versions wrote them.
///
/// They deleted the stream if the first event that they show was appended after them.
async fn deleted_before_without_note<S: EventStore + ?Sized>(
    store: &S,
    stream: &StreamName,
    before: Revision,
    current: &RecordedEvent,
) -> Result<Revision, StoreError> {
    let first = ReadStream::forwards(stream.clone()).from(before).limit(1);
    let first = store.read_stream(first).collect_events().await?.pop();
    // Events that were there before the metadata are a truncation's.
    let truncated = first.is_some_and(|first| first.position < current.position);
    Ok(if truncated { Revision::FIRST } else { before })
}

/// Truncates up to the head.
///
/// The append checks the head again, so a concurrent append causes another round.
pub(crate) async fn delete<S: EventStore + ?Sized>(
    store: &S,
    delete: DeleteStream,
) -> Result<Appended, StoreError> {
    loop {
        let description = store.describe_stream(&delete.stream).await?;
        // Expectations other than an exact revision see a deleted stream as missing.
        let live = match description.state {
            StreamState::Tombstoned => return Err(StoreError::Deleted { stream: delete.stream }),
            StreamState::Live => description.head,
            StreamState::Missing | StreamState::Deleted => None,
        };
        if !admits(delete.expected, live, description.head) {
            let compared = match delete.expected {
                ExpectedRevision::Exact(_) => description.head,
                ExpectedRevision::Any
                | ExpectedRevision::NoStream
                | ExpectedRevision::StreamExists => live,
            };
            return Err(conflict(delete.stream, delete.expected, compared));
        }
        // Nothing to hide: report the head without an append.
        let Some(head) = live else {
            let head = store.head().await?;
            return Ok(Appended { position: head.position, revisions: Vec::new() });
        };
        match store.append(truncation(&delete.stream, &description, head.next())?).await {
            // The stream or its metadata changed concurrently: read them again.
            Err(StoreError::Conflict(_)) => {}
            outcome => return outcome,
        }
    }
}

pub(crate) async fn tombstone<S: EventStore + ?Sized>(
    store: &S,
    tombstone: TombstoneStream,
) -> Result<Appended, StoreError> {
    let event_type = EventType::new(TombstoneStream::EVENT_TYPE)?;
    let event = NewEvent::json(EventId::random(), event_type, "{}");
    let metadata = tombstone.stream.metadata_stream()?;
    // The append checks the stream itself, and refuses a second tombstone.
    let append = Append::to(metadata, ExpectedRevision::Any, [event]);
    store.append(append.expecting(tombstone.stream, tombstone.expected)).await
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
