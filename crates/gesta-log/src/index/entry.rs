//! The values of the index: entries, spans and ranges of positions, locations, terms.

use gesta_store::{
    Category, CausationId, CorrelationId, EventId, EventType, Position, RecordedAt, RecordedEvent,
    Revision, StreamName, Tag,
};

use super::run::Term;
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
    pub(crate) correlation_id: Option<&'a CorrelationId>,
    pub(crate) causation_id: Option<&'a CausationId>,
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
            correlation_id: event.correlation_id.as_ref(),
            causation_id: event.causation_id.as_ref(),
            metadata: event.stream.is_system().then_some(&*event.data),
        }
    }
}

impl IndexEntry<'_> {
    /// Returns whether both entries have the same stream, event type and tags. Their ids may
    /// differ.
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
    /// `None` if only the records tell: the index has merged appends with the same first id.
    pub(crate) events: Option<u32>,
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

/// A range of positions with the recorded time of its last event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedRange {
    pub(crate) first: u64,
    /// Exclusive.
    pub(crate) end: u64,
    /// `None` if it is not known without reading the event.
    pub(crate) last_recorded_at: Option<RecordedAt>,
}

/// A term of the index, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnedTerm {
    Stream(StreamName),
    Category(Category),
    EventType(EventType),
    Tag(Tag),
    EventId(EventId),
    Correlation(CorrelationId),
    Causation(CausationId),
    /// First events of streams but the system's.
    Streams,
    StreamsOf(Category),
}

impl OwnedTerm {
    /// The term by reference.
    pub(super) fn as_term(&self) -> Term<'_> {
        match self {
            Self::Stream(name) => Term::Stream(name),
            Self::Category(category) => Term::Category(category),
            Self::EventType(event_type) => Term::EventType(event_type),
            Self::Tag(tag) => Term::Tag(tag),
            Self::EventId(id) => Term::EventId(*id),
            Self::Correlation(id) => Term::Correlation(id),
            Self::Causation(id) => Term::Causation(id),
            Self::Streams => Term::Streams,
            Self::StreamsOf(category) => Term::StreamsOf(category),
        }
    }
}
