//! Setting metadata, deleting and tombstoning, as appends to the stream `$$name`.
//!
//! Owns: which event means what, alike for every store. Always holds: each is one atomic append,
//! so a crash leaves all of it or nothing. Needs multi-stream appends, for the check of the stream
//! itself.

use crate::{
    Append, Appended, Conflict, DeleteStream, EventId, EventStore, EventType, ExpectedRevision,
    NewEvent, Revision, SetStreamMetadata, StoreError, StreamDescription, StreamMetadata,
    StreamName, StreamState, TombstoneStream,
};

pub(crate) async fn set_metadata<S: EventStore + ?Sized>(
    store: &S,
    change: SetStreamMetadata,
) -> Result<Appended, StoreError> {
    let event = metadata_event(&change.metadata)?;
    let described = change.stream.metadata_stream()?;
    store.append(Append::to(described, change.expected_metadata, [event])).await
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
    let expected_metadata =
        known.metadata_revision.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let expected = known.head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
    let event = metadata_event(&metadata)?;
    Ok(Append::to(stream.metadata_stream()?, expected_metadata, [event])
        .checking(stream.clone(), expected))
}

fn metadata_event(metadata: &StreamMetadata) -> Result<NewEvent, StoreError> {
    let event_type = EventType::new(StreamMetadata::EVENT_TYPE)?;
    Ok(NewEvent::json(EventId::random(), event_type, metadata.to_json()))
}
