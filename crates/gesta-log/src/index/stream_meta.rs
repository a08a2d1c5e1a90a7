//! Stream metadata and tombstones.
//!
//! Holds the current state of each described stream, and the states since the end of the last run:
//! the run of a segment must not contain changes from later segments, which damage may still take.
//! Streams without metadata take no memory.

use bytes::Bytes;
use foldhash::HashMap;
use gesta_store::{
    Position, RecordedAt, Revision, StoreError, StreamMetadata, StreamName, StreamState,
    TombstoneStream,
};

use super::{entry::IndexEntry, run::StreamMetaDelta};

/// A change of a stream's metadata, from an event of its metadata stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamMetaChange {
    Metadata(StreamMetadata),
    Tombstone,
}

/// Returns the stream that an event describes, and the change. Metadata was validated when it was
/// appended; unreadable metadata changes nothing.
pub(crate) fn stream_meta_change(entry: &IndexEntry<'_>) -> Option<(StreamName, StreamMetaChange)> {
    let described = entry.stream.described_stream()?;
    // A tombstone has no readable metadata.
    if entry.event_type.as_str() == TombstoneStream::EVENT_TYPE {
        return Some((described, StreamMetaChange::Tombstone));
    }
    let metadata = StreamMetadata::from_json(entry.metadata?).ok()?;
    Some((described, StreamMetaChange::Metadata(metadata)))
}

/// The metadata of one stream, and whether it is tombstoned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StreamMeta {
    metadata: Option<Box<StreamMetadata>>,
    pub(crate) tombstoned: bool,
}

impl StreamMeta {
    pub(crate) fn metadata(&self) -> StreamMetadata {
        self.metadata.as_deref().cloned().unwrap_or_default()
    }

    pub(crate) fn truncate_before(&self) -> Revision {
        let truncated = self.metadata.as_ref().and_then(|metadata| metadata.truncate_before);
        truncated.unwrap_or(Revision::FIRST)
    }

    /// Returns the head, or `None` if the stream is deleted.
    pub(crate) fn live(&self, head: Option<Revision>) -> Option<Revision> {
        head.filter(|head| *head >= self.truncate_before())
    }

    /// Returns whether reads show an event with this revision and recorded time at `now`. Calls
    /// `head` only if `$maxCount` is set.
    pub(crate) fn shows(
        &self,
        (revision, recorded_at): (Revision, RecordedAt),
        now: RecordedAt,
        head: impl FnOnce() -> Result<Option<Revision>, StoreError>,
    ) -> Result<bool, StoreError> {
        let Some(metadata) = self.metadata.as_deref() else { return Ok(!self.tombstoned) };
        // Cheapest tests first: the head may need a lookup on disk.
        let truncated = revision < self.truncate_before();
        if self.tombstoned || truncated || metadata.is_expired(recorded_at, now) {
            return Ok(false);
        }
        if metadata.max_count.is_none() {
            return Ok(true);
        }
        Ok(head()?.is_none_or(|head| revision >= metadata.first_visible(head)))
    }

    pub(crate) fn state(&self, head: Option<Revision>) -> StreamState {
        match (self.tombstoned, head, self.live(head)) {
            (true, _, _) => StreamState::Tombstoned,
            (false, None, _) => StreamState::Missing,
            (false, Some(_), None) => StreamState::Deleted,
            (false, Some(_), Some(_)) => StreamState::Live,
        }
    }

    /// Returns the state in the form that a run stores.
    pub(super) fn as_delta(&self) -> StreamMetaDelta {
        let metadata = self.metadata.as_ref().map(|metadata| Bytes::from(metadata.to_json()));
        StreamMetaDelta { metadata, tombstoned: self.tombstoned }
    }

    pub(crate) fn change(&mut self, change: StreamMetaChange) {
        match change {
            StreamMetaChange::Metadata(metadata) => self.metadata = Some(Box::new(metadata)),
            StreamMetaChange::Tombstone => self.tombstoned = true,
        }
    }
}

/// The metadata of all described streams.
#[derive(Debug, Default)]
pub(super) struct StreamMetaTable {
    /// By stream: the position of each change and the resulting state, ascending.
    described: HashMap<StreamName, Vec<(Position, StreamMeta)>>,
    /// Number of changes so far; see
    /// [`Index::stream_meta_changes`](super::Index::stream_meta_changes).
    changes: u64,
}

impl StreamMetaTable {
    pub(super) fn change(&mut self, stream: StreamName, change: StreamMetaChange, at: Position) {
        let past = self.described.entry(stream).or_default();
        let mut meta = past.last().map(|(_, meta)| meta.clone()).unwrap_or_default();
        meta.change(change);
        debug_assert!(past.last().is_none_or(|(last, _)| *last <= at), "changes come in order");
        past.push((at, meta));
        self.changes += 1;
    }

    /// Returns the state of a stream before `end`, and forgets the states that it supersedes. Runs
    /// are made in the order of their segments, so no later call asks for these.
    pub(super) fn settle(&mut self, stream: &StreamName, end: Position) -> StreamMeta {
        let Some(past) = self.described.get_mut(stream) else { return StreamMeta::default() };
        // Keep the last state before `end`: it is the base of later ones.
        let before = past.partition_point(|(at, _)| *at < end);
        past.drain(..before.saturating_sub(1));
        past.first().filter(|(at, _)| *at < end).map(|(_, meta)| meta.clone()).unwrap_or_default()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn of(&self, stream: &StreamName) -> StreamMeta {
        let past = self.described.get(stream).and_then(|past| past.last());
        past.map(|(_, meta)| meta.clone()).unwrap_or_default()
    }
}
