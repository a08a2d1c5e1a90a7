//! Links that clients have written: events of the type `$>` whose data name another event.

use gesta_store::{EventStore, ReadStream, RecordedEvent, Revision, StoreError, StreamName};

use super::messages::Found;

/// Type of an event that stands for another one.
pub(crate) const LINK_TYPE: &str = "$>";

/// Looks the target of a link up. Another event is returned as it is.
pub(crate) async fn resolve(
    store: &dyn EventStore,
    event: RecordedEvent,
) -> Result<Found, StoreError> {
    if event.event_type.as_str() != LINK_TYPE {
        return Ok(Found::Event(event));
    }
    let target = match linked_place(&event.data) {
        Some((stream, revision)) => visible_event(store, stream, revision).await?,
        None => None,
    };
    Ok(Found::Link { link: event, target: target.map(Box::new) })
}

/// Returns the event at a revision, or `None` if it is hidden or does not exist.
pub(crate) async fn visible_event(
    store: &dyn EventStore,
    stream: StreamName,
    revision: Revision,
) -> Result<Option<RecordedEvent>, StoreError> {
    let read = ReadStream::forwards(stream).from(revision).limit(1);
    match store.read_stream(read).collect_events().await {
        Ok(events) => Ok(events.into_iter().next().filter(|event| event.revision == revision)),
        Err(StoreError::Deleted { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads `revision@stream`.
pub(crate) fn linked_place(data: &[u8]) -> Option<(StreamName, Revision)> {
    let (revision, stream) = std::str::from_utf8(data).ok()?.split_once('@')?;
    Some((StreamName::stored(stream).ok()?, Revision::new(revision.parse().ok()?)))
}
