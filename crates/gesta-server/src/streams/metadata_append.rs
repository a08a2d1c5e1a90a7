//! Appends of metadata about streams that are deleted, or that they delete.
//!
//! Owns: [`append`]. Invariants:
//! - Metadata that truncate a stream before the largest revision delete it as `Delete` does, so
//!   that later events are visible. The next revision is recorded in place of the largest one.
//! - Metadata without a truncation leave a deleted stream deleted: they are recorded with the
//!   truncation that the stream has.
//! - What was looked up for this holds at the moment of the append, or is looked up again.
//!
//! Not here: metadata that name another truncation, which take effect as written.

use gesta_store::{
    Append, Appended, Conflict, EventStore, ExpectedRevision, Revision, StoreError, StreamAppend,
    StreamDescription, StreamMetadata, StreamName, StreamState,
};

/// The revision before which clients truncate what they delete.
const LARGEST: Revision = Revision::new(i64::MAX.cast_unsigned());

/// Metadata whose truncation depends on the state of their stream.
struct OpenMetadata {
    /// Index of the part of the append.
    part: usize,
    stream: StreamName,
    metadata: StreamMetadata,
}

/// Appends to the store, with the truncation that metadata leave open.
pub(super) async fn append(store: &dyn EventStore, append: Append) -> Result<Appended, StoreError> {
    let open: Vec<_> = (0..append.streams.len())
        .filter_map(|part| OpenMetadata::of(&append.streams, part))
        .collect();
    if open.is_empty() {
        return store.append(append).await;
    }
    let mut refused = None;
    loop {
        let mut closed = append.clone();
        let mut looked_at = Vec::new();
        for metadata in &open {
            let known = store.describe_stream(&metadata.stream).await?;
            looked_at.extend(metadata.close(&known, &mut closed));
        }
        match store.append(closed.clone()).await {
            // The stream or its metadata have changed since, or the caller expects another state.
            Err(StoreError::Conflict(Conflict::Stream { stream, .. }))
                if looked_at.contains(&stream) && refused.as_ref() != Some(&closed) =>
            {
                refused = Some(closed);
            }
            outcome => return outcome,
        }
    }
}

impl OpenMetadata {
    fn of(parts: &[StreamAppend], part: usize) -> Option<Self> {
        let StreamAppend { stream, events, .. } = parts.get(part)?;
        let described = stream.described_stream()?;
        let [event] = events.as_slice() else { return None };
        if event.event_type.as_str() != StreamMetadata::EVENT_TYPE {
            return None;
        }
        // The store refuses metadata that cannot be read.
        let metadata = StreamMetadata::from_json(&event.data).ok()?;
        let open = Self { part, stream: described, metadata };
        let is_open = match open.metadata.truncate_before {
            None => true,
            // An append that also has events of the stream says itself what it expects there.
            Some(_) => open.deletes() && parts.iter().all(|part| part.stream != open.stream),
        };
        is_open.then_some(open)
    }

    fn deletes(&self) -> bool {
        self.metadata.truncate_before.is_some_and(|before| before >= LARGEST)
    }

    /// Puts the truncation into the append, and returns the stream that it expects as it is known.
    fn close(&self, known: &StreamDescription, append: &mut Append) -> Option<StreamName> {
        let next = known.head.map_or(Revision::FIRST, Revision::next);
        let part = append.streams.get_mut(self.part)?;
        if self.deletes() {
            self.truncate(part, next);
            let head = StreamAppend::new(self.stream.clone(), at(known.head), []);
            append.streams.push(head);
            return Some(self.stream.clone());
        }
        if known.state == StreamState::Deleted {
            self.truncate(part, next);
        }
        // A deletion is metadata, too: no other ones come in between.
        if part.expected != ExpectedRevision::Any || known.state == StreamState::Tombstoned {
            return None;
        }
        part.expected = at(known.metadata_revision);
        Some(part.stream.clone())
    }

    fn truncate(&self, part: &mut StreamAppend, before: Revision) {
        let metadata = self.metadata.clone().truncate_before(before);
        for event in &mut part.events {
            event.data = metadata.to_json().into();
        }
    }
}

fn at(head: Option<Revision>) -> ExpectedRevision {
    head.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact)
}
