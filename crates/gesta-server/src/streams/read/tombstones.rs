//! Tombstones in the whole store, which clients know as the last event of the stream that ended;
//! and in the streams of metadata, which have ended with them.

use gesta_store::{
    EventStore, EventType, RecordedEvent, Revision, StoreError, StreamName, StreamState,
    TombstoneStream,
};

/// Type of the event that ends a stream.
const ENDED_TYPE: &str = "$streamDeleted";

/// Gives tombstones the stream, the revision and the type that clients expect. Other events stay as
/// they are.
pub(super) fn as_ends(mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    let tombstones =
        events.iter_mut().filter(|event| event.event_type.as_str() == TombstoneStream::EVENT_TYPE);
    for event in tombstones {
        let Some(ended) = event.stream.described_stream() else { continue };
        event.stream = ended;
        event.revision = Revision::new(i64::MAX.cast_unsigned());
        event.event_type = EventType::new(ENDED_TYPE).expect("the type is a valid name");
    }
    events
}

/// Refuses to read the metadata of a tombstoned stream.
pub(super) async fn refuse_ended_metadata(
    store: &dyn EventStore,
    stream: &StreamName,
) -> Result<(), StoreError> {
    let Some(described) = stream.described_stream() else { return Ok(()) };
    match store.describe_stream(&described).await?.state {
        StreamState::Tombstoned => Err(StoreError::Deleted { stream: stream.clone() }),
        StreamState::Missing | StreamState::Live | StreamState::Deleted => Ok(()),
    }
}
