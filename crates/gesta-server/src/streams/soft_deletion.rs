//! Deletions that clients write themselves: metadata that truncate a stream before the largest
//! revision.
//!
//! Invariant: the stream is deleted as by `Delete`, so that later events are visible. The metadata
//! that are recorded have the next revision in place of the largest one.

use gesta_store::{
    Append, Appended, Conflict, EventStore, ExpectedRevision, Revision, StoreError, StreamAppend,
    StreamMetadata, StreamName,
};

/// The revision before which clients truncate what they delete.
const LARGEST: Revision = Revision::new(i64::MAX.cast_unsigned());

/// A deletion, written as metadata.
pub(super) struct SoftDeletion {
    part: StreamAppend,
    deleted: StreamName,
    metadata: StreamMetadata,
}

impl SoftDeletion {
    /// Returns the deletion that an append is, or the append.
    pub(super) fn of(append: Append) -> Result<Self, Append> {
        let deletion = match append.streams.as_slice() {
            [part] => deletion(part),
            _ => None,
        };
        deletion.ok_or(append)
    }

    pub(super) async fn append(self, store: &dyn EventStore) -> Result<Appended, StoreError> {
        let Self { mut part, deleted, metadata } = self;
        loop {
            let head = store.describe_stream(&deleted).await?.head;
            let truncated = metadata.clone();
            let truncated = truncated.truncate_before(head.map_or(Revision::FIRST, Revision::next));
            for event in &mut part.events {
                event.data = truncated.to_json().into();
            }
            let expected = head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            let append = Append::of(vec![part.clone()]).expecting(deleted.clone(), expected);
            match store.append(append).await {
                // The stream has grown: what came in between is deleted, too.
                Err(StoreError::Conflict(Conflict::Stream { stream, .. })) if stream == deleted => {
                }
                outcome => return outcome,
            }
        }
    }
}

fn deletion(part: &StreamAppend) -> Option<SoftDeletion> {
    let deleted = part.stream.described_stream()?;
    let [event] = part.events.as_slice() else { return None };
    if event.event_type.as_str() != StreamMetadata::EVENT_TYPE {
        return None;
    }
    // The store refuses metadata that cannot be read.
    let metadata = StreamMetadata::from_json(&event.data).ok()?;
    let is_deletion = metadata.truncate_before.is_some_and(|before| before >= LARGEST);
    is_deletion.then(|| SoftDeletion { part: part.clone(), deleted, metadata })
}
