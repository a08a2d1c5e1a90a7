//! The end of a stream: a deletion or a tombstone, of which a projection learns in order with
//! events.
//!
//! Invariant: what ends a stream is an event of its metadata stream, and the rows of events before
//! it are forgotten in the transaction that passes it, so a read model has what a rebuild would
//! have.
//! Not here: events that expire or are truncated one by one, which change no rows.

use gesta_store::{
    EventStore, EventType, InvalidName, ReadStream, RecordedEvent, StoreError, StreamMetadata,
    StreamName, TombstoneStream,
};

/// The types of events that may end a stream.
pub(super) fn event_types() -> Result<[EventType; 2], InvalidName> {
    Ok([EventType::new(StreamMetadata::EVENT_TYPE)?, EventType::new(TombstoneStream::EVENT_TYPE)?])
}

/// Returns the stream that this event of a metadata stream has ended, if it has. Metadata have if
/// they truncate, and the stream shows nothing that is older than they are.
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
    let first = ReadStream::forwards(stream.clone()).limit(1);
    let first = match store.read_stream(first).collect_events().await {
        Ok(events) => events.into_iter().next(),
        Err(StoreError::Deleted { .. }) => None,
        Err(error) => return Err(error),
    };
    let shows_older = first.is_some_and(|first| first.position < event.position);
    Ok((!shows_older).then_some(stream))
}
