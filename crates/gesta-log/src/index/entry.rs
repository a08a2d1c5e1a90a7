//! The values of the index: entries, spans and ranges of positions, locations, terms.

use gesta_store::{
    Category, EventId, EventType, Position, RecordedAt, RecordedEvent, Revision, StreamName, Tag,
};

use crate::format::Seed;

/// The indexed fields of one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry<'a> {
    pub(crate) id: EventId,
    pub(crate) stream: &'a StreamName,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
    pub(crate) recorded_at: RecordedAt,
    /// Offset of the record in its segment.
    pub(crate) offset: u64,
    pub(crate) event_type: &'a EventType,
    pub(crate) tags: &'a [Tag],
    /// The event's data, if its stream is a metadata stream.
    pub(crate) metadata: Option<&'a [u8]>,
}

impl<'a> From<&'a (u64, RecordedEvent)> for IndexEntry<'a> {
    fn from((offset, event): &'a (u64, RecordedEvent)) -> Self {
        Self {
            id: event.id,
            stream: &event.stream,
            revision: event.revision,
            position: event.position,
            recorded_at: event.recorded_at,
            offset: *offset,
            event_type: &event.event_type,
            tags: &event.tags,
            metadata: event.stream.is_system().then_some(&*event.data),
        }
    }
}

impl IndexEntry<'_> {
    /// Returns whether both entries have the same stream, event type and tags.
    pub(super) fn has_same_terms_as(&self, other: &Self) -> bool {
        self.stream == other.stream
            && self.event_type == other.event_type
            && self.tags == other.tags
    }
}

/// The positions of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendSpan {
    pub(crate) first: Position,
    pub(crate) events: u32,
}

/// The location of a record on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) position: Position,
    pub(crate) segment: u64,
    pub(crate) seed: Seed,
    pub(crate) offset: u64,
    /// Offset of the segment's next record, if it is already indexed.
    pub(crate) next: Option<u64>,
}

/// A contiguous range of positions within one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PositionRange {
    pub(crate) segment: u64,
    pub(crate) seed: Seed,
    pub(crate) first: u64,
    /// Exclusive.
    pub(crate) end: u64,
}

/// A term of the index, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedTerm {
    Stream(StreamName),
    Category(Category),
    EventType(EventType),
    Tag(Tag),
}
