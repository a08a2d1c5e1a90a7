//! The streams that a projection has emitted to, kept so that they can be deleted.
//!
//! Invariant: a stream is recorded in the append of the first event that goes to it.

use std::collections::HashSet;

use gesta_store::{
    DeleteStream, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream,
    StoreError, StreamAppend, StreamName,
};

use super::names;

const TRACKED: &str = "$StreamTracked";

/// Returns the part of an append that records streams. The data are the name.
pub(super) fn record(projection: &str, streams: &[StreamName]) -> Result<StreamAppend, StoreError> {
    let event_type = EventType::new(TRACKED)?;
    let events = streams.iter().map(|stream| {
        let name = serde_json::Value::from(stream.as_str()).to_string();
        NewEvent::json(EventId::random(), event_type.clone(), name)
    });
    let tracked = names::emitted_streams(projection);
    Ok(StreamAppend::new(tracked, ExpectedRevision::Any, events))
}

pub(super) async fn names(
    store: &dyn EventStore,
    projection: &str,
) -> Result<HashSet<StreamName>, StoreError> {
    let mut names = HashSet::new();
    let mut pages = store.read_stream(ReadStream::forwards(names::emitted_streams(projection)));
    while let Some(page) = pages.next().await {
        let found = page?.into_iter().filter_map(|event| {
            let name: String = serde_json::from_slice(&event.data).ok()?;
            StreamName::stored(name).ok()
        });
        names.extend(found);
    }
    Ok(names)
}

/// Deletes streams. A stream that nobody may use again stays.
pub(super) async fn delete(
    store: &dyn EventStore,
    streams: &HashSet<StreamName>,
) -> Result<(), StoreError> {
    for stream in streams {
        let delete = DeleteStream::new(stream.clone(), ExpectedRevision::Any);
        match store.delete_stream(delete).await {
            Ok(_) | Err(StoreError::Deleted { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
