//! Where streams are in their lives: their metadata, and whether their name is forbidden.
//!
//! Always holds: it says what the last published event of each metadata stream says, and what the
//! last one before a position said that no run covers yet: a run must not know of events behind it,
//! which damage may still take. Only streams that were ever described take memory here.

use bytes::Bytes;
use foldhash::HashMap;
use gesta_store::{
    Position, RecordedAt, Revision, StoreError, StreamMetadata, StreamName, StreamState,
    TombstoneStream,
};

use super::{IndexEntry, run::StreamMetaDelta};

/// What an event in a metadata stream means for the stream that it describes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamMetaChange {
    Metadata(StreamMetadata),
    Tombstone,
}

/// Which stream an entry changes the life of, and how. Metadata were checked when they were
/// offered; what cannot be read any more changes nothing.
pub(crate) fn stream_meta_change(entry: &IndexEntry<'_>) -> Option<(StreamName, StreamMetaChange)> {
    let described = entry.stream.described_stream()?;
    if entry.event_type.as_str() == TombstoneStream::EVENT_TYPE {
        return Some((described, StreamMetaChange::Tombstone));
    }
    let metadata = StreamMetadata::from_json(entry.metadata?).ok()?;
    Some((described, StreamMetaChange::Metadata(metadata)))
}

/// Where one stream is in its life, its events aside.
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

    /// The head, unless the stream is deleted.
    pub(crate) fn live(&self, head: Option<Revision>) -> Option<Revision> {
        head.filter(|head| *head >= self.truncate_before())
    }

    /// Whether reads of the stream show an event with this place and age, at `now`. The head is
    /// asked for only where max count needs it.
    pub(crate) fn shows(
        &self,
        (revision, recorded_at): (Revision, RecordedAt),
        now: RecordedAt,
        head: impl FnOnce() -> Result<Option<Revision>, StoreError>,
    ) -> Result<bool, StoreError> {
        let Some(metadata) = self.metadata.as_deref() else { return Ok(!self.tombstoned) };
        let truncated = revision < self.truncate_before();
        if self.tombstoned || truncated || metadata.expires(recorded_at, now) {
            return Ok(false);
        }
        if metadata.max_count.is_none() {
            return Ok(true);
        }
        Ok(head()?.is_none_or(|head| revision >= metadata.first_shown(head)))
    }

    pub(crate) fn state(&self, head: Option<Revision>) -> StreamState {
        match (self.tombstoned, head, self.live(head)) {
            (true, _, _) => StreamState::Tombstoned,
            (false, None, _) => StreamState::Missing,
            (false, Some(_), None) => StreamState::Deleted,
            (false, Some(_), Some(_)) => StreamState::Live,
        }
    }

    /// As a run has it.
    pub(super) fn as_lifecycle(&self) -> StreamMetaDelta {
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

/// All of them.
#[derive(Debug, Default)]
pub(super) struct StreamMetaTable {
    /// By stream, in order: the position of each change, and the life from there on.
    described: HashMap<StreamName, Vec<(Position, StreamMeta)>>,
    /// How many there were.
    changes: u64,
}

impl StreamMetaTable {
    pub(super) fn change(&mut self, stream: StreamName, change: StreamMetaChange, at: Position) {
        let past = self.described.entry(stream).or_default();
        let mut life = past.last().map(|(_, life)| life.clone()).unwrap_or_default();
        life.change(change);
        debug_assert!(past.last().is_none_or(|(last, _)| *last <= at), "changes come in order");
        past.push((at, life));
        self.changes += 1;
    }

    /// A stream's life as the events before a position say. What they superseded is forgotten:
    /// runs are made in the order of their segments.
    pub(super) fn settle(&mut self, stream: &StreamName, end: Position) -> StreamMeta {
        let Some(past) = self.described.get_mut(stream) else { return StreamMeta::default() };
        let before = past.partition_point(|(at, _)| *at < end);
        past.drain(..before.saturating_sub(1));
        past.first().filter(|(at, _)| *at < end).map(|(_, life)| life.clone()).unwrap_or_default()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn of(&self, stream: &StreamName) -> StreamMeta {
        let past = self.described.get(stream).and_then(|past| past.last());
        past.map(|(_, life)| life.clone()).unwrap_or_default()
    }
}
