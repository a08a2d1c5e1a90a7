//! Detection of the end of a stream: a deletion or a tombstone.
//!
//! Invariant: an event of the metadata stream ends a stream. The transaction that moves the
//! checkpoint past this event deletes the stream's rows, so a read model equals its rebuild.
//!
//! Not here: expiry and truncation of single events, which change no rows.

use gesta_store::{
    EventStore, EventType, InvalidName, ReadStream, RecordedEvent, StoreError, StreamMetadata,
    StreamName, TombstoneStream,
};

/// Types of metadata events that may end a stream.
pub(super) fn event_types() -> Result<[EventType; 2], InvalidName> {
    Ok([EventType::new(StreamMetadata::EVENT_TYPE)?, EventType::new(TombstoneStream::EVENT_TYPE)?])
}

/// Returns the stream that this metadata event has ended, or `None` if it ended none.
pub(super) async fn ended_by(
    event: &RecordedEvent,
    store: &dyn EventStore,
) -> Result<Option<StreamName>, StoreError> {
    let Some(stream) = event.stream.described_stream() else { return Ok(None) };
    if event.event_type.as_str() == TombstoneStream::EVENT_TYPE {
        return Ok(Some(stream));
    }
    let metadata = StreamMetadata::from_json(&event.data).ok();
    if metadata.is_none_or(|metadata| metadata.truncate_before.is_none()) {
        return Ok(None);
    }
    // A truncation is a deletion only if it hides all events up to its own position. Later visible
    // events belong to a stream that was created again under the same name.
    let first = ReadStream::forwards(stream.clone()).limit(1);
    let first = match store.read_stream(first).collect_events().await {
        Ok(events) => events.into_iter().next(),
        Err(StoreError::Deleted { .. }) => None,
        Err(error) => return Err(error),
    };
    let shows_older = first.is_some_and(|first| first.position < event.position);
    Ok((!shows_older).then_some(stream))
}
