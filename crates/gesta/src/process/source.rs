//! Events that a manager's streams refer to by their place in the source stream.

use gesta_store::{EventStore, ReadStream, RecordedEvent, Revision, StoreError, StreamName};

use super::trouble::InputError;

/// Reads the event at a revision of its stream.
///
/// # Errors
/// [`InputError::EventGone`] if the store has another event or none at that revision.
pub(super) async fn read_source(
    store: &dyn EventStore,
    (stream, revision): (&str, u64),
    id: &str,
) -> Result<RecordedEvent, InputError> {
    let gone =
        || InputError::EventGone { stream: stream.to_owned(), revision, event: id.to_owned() };
    let name = StreamName::stored(stream.to_owned())?;
    let read = ReadStream::forwards(name).from(Revision::new(revision)).limit(1);
    let id = id.parse().map_err(|_| gone())?;
    let found = match store.read_stream(read).collect_events().await {
        Err(StoreError::Deleted { .. }) => return Err(gone()),
        found => found?,
    };
    found.into_iter().find(|event| event.id == id).ok_or_else(gone)
}
