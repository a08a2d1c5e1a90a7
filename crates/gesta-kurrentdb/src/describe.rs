//! The state of one stream, which the protocol tells by several calls.
//!
//! Owns: [`describe`]. Invariant: a deleted stream is told from one that never was by its last
//! revision. Not here: deletion ([`deletion`](crate::deletion)).

use gesta_store::{
    Conflict, ExpectedRevision, Revision, StoreError, StreamAppend, StreamDescription,
    StreamMetadata, StreamName, StreamState,
};

use crate::{
    append_one::send_part,
    core::Core,
    read::{Tail, last_event, tail},
    wire::{NUMBER_MAX, malformed, stream_metadata},
};

/// An expectation that no stream meets.
const NEVER: ExpectedRevision = ExpectedRevision::Exact(Revision::new(NUMBER_MAX - 1));

/// Returns state, head and metadata of a stream.
pub(crate) async fn describe(
    core: &Core,
    stream: &StreamName,
) -> Result<StreamDescription, StoreError> {
    let found = tail(core, stream).await?;
    let (metadata, at) = metadata_of(core, stream).await?;
    let (state, head) = match found {
        Tail::Live(head) => (StreamState::Live, Some(head)),
        Tail::Tombstoned => (StreamState::Tombstoned, None),
        // The server answers alike for a stream that is deleted and one that never was.
        Tail::Empty if metadata.truncate_before.is_none() => (StreamState::Missing, None),
        Tail::Empty => match deleted_head(core, stream, &metadata).await? {
            Some(head) => (StreamState::Deleted, Some(head)),
            None => (StreamState::Missing, None),
        },
    };
    Ok(StreamDescription::new(state).head(head).metadata(metadata, at))
}

/// Returns the metadata in force, and their revision.
async fn metadata_of(
    core: &Core,
    stream: &StreamName,
) -> Result<(StreamMetadata, Option<Revision>), StoreError> {
    // A name that is too long for metadata has none.
    let Ok(name) = stream.metadata_stream() else { return Ok(Default::default()) };
    match last_event(core, &name).await {
        Ok(Some(event)) if event.event_type.as_str() == StreamMetadata::EVENT_TYPE => {
            Ok((stream_metadata(&event), Some(event.revision)))
        }
        Ok(Some(_) | None) | Err(StoreError::Deleted { .. }) => Ok(Default::default()),
        Err(error) => Err(error),
    }
}

/// Returns the last revision of a stream whose events are all truncated: the answer to an
/// expectation that cannot hold names it.
async fn deleted_head(
    core: &Core,
    stream: &StreamName,
    metadata: &StreamMetadata,
) -> Result<Option<Revision>, StoreError> {
    let part = StreamAppend::new(stream.clone(), NEVER, []);
    match send_part(core, part).await {
        Err(StoreError::Conflict(Conflict::Stream { head, .. })) => Ok(head),
        // Without the right to append, the truncation tells the same unless it is without end.
        Err(StoreError::Denied { .. }) => Ok(metadata
            .truncate_before
            .and_then(Revision::previous)
            .filter(|head| head.number() < NUMBER_MAX - 1)),
        Err(error) => Err(error),
        Ok(_) => Err(malformed(0, "an expectation held that cannot hold")),
    }
}
