//! Setting metadata, deleting and tombstoning, as appends to the stream `$$name`.
//!
//! Owns: the meaning of these events, alike for every store, and the rule that a deletion is never
//! undone by metadata. Always holds: each change is one atomic append, so a crash leaves all of it
//! or nothing; metadata set after a deletion truncate at least as far as the deletion did. Needs
//! multi-stream appends, for the check of the stream itself. Not here: events appended to `$$name`
//! directly (an import, a repair); they hold as they are written.

use serde_json::Value;

use crate::{
    Append, Appended, Conflict, DeleteStream, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, ReadStream, RecordedEvent, Revision, SetStreamMetadata, StoreError,
    StreamDescription, StreamMetadata, StreamName, StreamState, TombstoneStream,
};

/// Sets metadata, and carries an earlier deletion over. The append expects the metadata that the
/// deletion was looked up in, so a deletion that comes in between makes it try again.
pub(crate) async fn set_metadata<S: EventStore + ?Sized>(
    store: &S,
    change: SetStreamMetadata,
) -> Result<Appended, StoreError> {
    let SetStreamMetadata { stream, expected_metadata, metadata } = change;
    let described = stream.metadata_stream()?;
    loop {
        let known = store.describe_stream(&stream).await?;
        if known.state == StreamState::Tombstoned {
            return Err(StoreError::Deleted { stream });
        }
        if !expected_metadata.admits(known.metadata_revision) {
            return Err(unexpected(described, expected_metadata, known.metadata_revision));
        }
        let deleted_before = deleted_before(store, &described, &stream, &known).await?;
        let event = metadata_event(&carried_over(&metadata, deleted_before, known.head))?;
        let expected = exactly(known.metadata_revision);
        match store.append(Append::to(described.clone(), expected, [event])).await {
            Err(StoreError::Conflict(_)) => {}
            outcome => return outcome,
        }
    }
}

/// In a metadata event's own metadata: events before this revision were deleted; 0: none were.
const DELETED_BEFORE: &str = "$deletedBefore";

/// A stream's metadata, and the revision before which its events were deleted.
struct Carried {
    metadata: StreamMetadata,
    deleted_before: Revision,
}

/// The metadata as they are written: a deletion is neither forgotten nor undone.
fn carried_over(
    wanted: &StreamMetadata,
    deleted_before: Revision,
    head: Option<Revision>,
) -> Carried {
    let floor = Some(deleted_before).filter(|before| *before > Revision::FIRST);
    let truncate_before = wanted.truncate_before.max(floor);
    // Truncating past the head is deleting, too.
    let deletes = truncate_before.zip(head).filter(|(before, head)| before > head);
    let deleted_now = deletes.map_or(Revision::FIRST, |(_, head)| head.next());
    Carried {
        metadata: StreamMetadata { truncate_before, ..wanted.clone() },
        deleted_before: deleted_before.max(deleted_now),
    }
}

/// The revision before which events of a stream were deleted, so far; the first one: none were.
async fn deleted_before<S: EventStore + ?Sized>(
    store: &S,
    described: &StreamName,
    stream: &StreamName,
    known: &StreamDescription,
) -> Result<Revision, StoreError> {
    let (Some(before), Some(head)) = (known.metadata.truncate_before, known.head) else {
        return Ok(Revision::FIRST);
    };
    if before > head {
        return Ok(head.next());
    }
    let last = ReadStream::backwards(described.clone()).limit(1);
    let last = store.read_stream(last).collect_events().await?.pop();
    let in_force = last.filter(|event| Some(event.revision) == known.metadata_revision);
    // Metadata that are hidden themselves cannot be asked; the truncation is kept to be safe.
    let Some(in_force) = in_force else { return Ok(before) };
    match noted(&in_force) {
        Some(noted) => Ok(noted),
        None => deleted_without_note(store, stream, before, &in_force).await,
    }
}

fn noted(in_force: &RecordedEvent) -> Option<Revision> {
    let note: Value = serde_json::from_slice(&in_force.metadata).ok()?;
    note.get(DELETED_BEFORE)?.as_u64().map(Revision::new)
}

/// The same for metadata without a note, as earlier versions wrote them. They deleted the stream if
/// the first event that they let through came after them.
async fn deleted_without_note<S: EventStore + ?Sized>(
    store: &S,
    stream: &StreamName,
    before: Revision,
    in_force: &RecordedEvent,
) -> Result<Revision, StoreError> {
    let first = ReadStream::forwards(stream.clone()).from(before).limit(1);
    let first = store.read_stream(first).collect_events().await?.pop();
    let truncated = first.is_some_and(|first| first.position < in_force.position);
    Ok(if truncated { Revision::FIRST } else { before })
}

/// Truncates everything up to the head. What was read is checked again by the append, so an event
/// that comes in between makes it try again.
pub(crate) async fn delete<S: EventStore + ?Sized>(
    store: &S,
    delete: DeleteStream,
) -> Result<Appended, StoreError> {
    loop {
        let known = store.describe_stream(&delete.stream).await?;
        let live = match known.state {
            StreamState::Tombstoned => return Err(StoreError::Deleted { stream: delete.stream }),
            StreamState::Live => known.head,
            StreamState::Missing | StreamState::Deleted => None,
        };
        if !admits(delete.expected, live, known.head) {
            let judged = match delete.expected {
                ExpectedRevision::Exact(_) => known.head,
                ExpectedRevision::Any
                | ExpectedRevision::NoStream
                | ExpectedRevision::StreamExists => live,
            };
            return Err(unexpected(delete.stream, delete.expected, judged));
        }
        let Some(head) = live else {
            let head = store.head().await?;
            return Ok(Appended { position: head.position, revisions: Vec::new() });
        };
        match store.append(truncation(&delete.stream, &known, head.next())?).await {
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
    let append = Append::to(metadata, ExpectedRevision::Any, [event]);
    store.append(append.checking(tombstone.stream, tombstone.expected)).await
}

/// An exact revision holds on a deleted stream too.
fn admits(expected: ExpectedRevision, live: Option<Revision>, head: Option<Revision>) -> bool {
    expected.admits(live) || matches!(expected, ExpectedRevision::Exact(_)) && expected.admits(head)
}

fn unexpected(
    stream: StreamName,
    expected: ExpectedRevision,
    head: Option<Revision>,
) -> StoreError {
    Conflict::Stream { stream, expected, head }.into()
}

fn truncation(
    stream: &StreamName,
    known: &StreamDescription,
    before: Revision,
) -> Result<Append, StoreError> {
    let metadata = StreamMetadata { truncate_before: Some(before), ..known.metadata.clone() };
    let event = metadata_event(&Carried { metadata, deleted_before: before })?;
    let expected_metadata = exactly(known.metadata_revision);
    Ok(Append::to(stream.metadata_stream()?, expected_metadata, [event])
        .checking(stream.clone(), exactly(known.head)))
}

/// Expects a stream to be just here.
fn exactly(head: Option<Revision>) -> ExpectedRevision {
    head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
}

fn metadata_event(carried: &Carried) -> Result<NewEvent, StoreError> {
    let Carried { metadata, deleted_before } = carried;
    let event_type = EventType::new(StreamMetadata::EVENT_TYPE)?;
    let event = NewEvent::json(EventId::random(), event_type, metadata.to_json());
    if metadata.truncate_before.is_none() {
        return Ok(event);
    }
    let note = serde_json::json!({ DELETED_BEFORE: deleted_before.number() });
    Ok(NewEvent { metadata: note.to_string().into(), ..event })
}
