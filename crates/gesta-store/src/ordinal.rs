//! Ordinals: the n-th event of a category, of an event type or of a conversation, and the n-th
//! stream.
//!
//! Owns: [`Ordinal`], the request [`ReadOrdinals`] and its result, [`OrdinalPages`]. Invariants:
//! ordinals of one index are 0, 1, 2, … in the order of positions, an event keeps its ordinal for
//! ever, and the ordinal of an event that is removed for good is not given to another one. Not
//! here: how a store counts.

use std::fmt;

use crate::{
    Capability, CapabilitySet, Category, CorrelationId, Direction, EventType, Pages, ReadFrom,
    RecordedAt, RecordedEvent, Revision, StreamName,
};

/// The place of an event among the events of one [`OrdinalIndex`]: 0, 1, 2, …
///
/// ```
/// use gesta_store::Ordinal;
///
/// assert!(Ordinal::new(1) > Ordinal::FIRST);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ordinal(u64);

impl Ordinal {
    /// The ordinal of the first event.
    pub const FIRST: Self = Self(0);

    /// Creates an ordinal from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The events that share one count of ordinals.
///
/// ```
/// use gesta_store::{Capability, Category, OrdinalIndex};
///
/// let orders = OrdinalIndex::Category(Category::new("order")?);
/// assert_eq!(orders.capability(), Capability::CategoryOrdinals);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OrdinalIndex {
    /// Events of the streams in a category.
    Category(Category),
    /// Events of one type.
    EventType(EventType),
    /// Events of one conversation.
    Correlation(CorrelationId),
    /// The first event of each stream, which makes an order of all streams. Streams whose name
    /// begins with `$` are left out.
    Streams,
    /// The same for the streams in a category.
    StreamsOf(Category),
}

impl OrdinalIndex {
    /// Returns the feature that a store needs for this index.
    #[must_use]
    pub const fn capability(&self) -> Capability {
        match self {
            Self::Category(_) => Capability::CategoryOrdinals,
            Self::EventType(_) => Capability::EventTypeOrdinals,
            Self::Correlation(_) => Capability::CorrelationOrdinals,
            Self::Streams | Self::StreamsOf(_) => Capability::StreamOrdinals,
        }
    }

    /// Returns `true` if the event counts.
    #[must_use]
    pub fn counts(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::Category(category) => event.stream.category().as_ref() == Some(category),
            Self::EventType(event_type) => event.event_type == *event_type,
            Self::Correlation(id) => event.correlation_id.as_ref() == Some(id),
            Self::Streams => Self::begins_stream(&event.stream, event.revision),
            Self::StreamsOf(category) => {
                Self::begins_stream(&event.stream, event.revision)
                    && event.stream.category().as_ref() == Some(category)
            }
        }
    }

    /// Returns `true` if an event at this place counts in [`Streams`](Self::Streams).
    #[must_use]
    pub fn begins_stream(stream: &StreamName, revision: Revision) -> bool {
        revision == Revision::FIRST && !stream.is_system()
    }
}

/// Parameters of a read by ordinals.
///
/// Includes hidden events, as a raw read of the whole store does. An ordinal whose event was
/// removed for good is left out.
///
/// ```
/// use gesta_store::{Category, Ordinal, OrdinalIndex, ReadOrdinals};
///
/// let orders = OrdinalIndex::Category(Category::new("order")?);
/// let page = ReadOrdinals::forwards(orders).from(Ordinal::new(200)).limit(100);
/// assert_eq!(page.limit, 100);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOrdinals {
    /// The events that are counted.
    pub of: OrdinalIndex,
    /// Direction of the read.
    pub direction: Direction,
    /// Starting point.
    pub from: ReadFrom<Ordinal>,
    /// Maximum number of events.
    pub limit: u64,
}

impl ReadOrdinals {
    /// Reads from the first event to the last.
    #[must_use]
    pub const fn forwards(of: OrdinalIndex) -> Self {
        Self { of, direction: Direction::Forwards, from: ReadFrom::Start, limit: u64::MAX }
    }

    /// Reads from the last event to the first.
    #[must_use]
    pub const fn backwards(of: OrdinalIndex) -> Self {
        Self { of, direction: Direction::Backwards, from: ReadFrom::End, limit: u64::MAX }
    }

    /// Starts at this ordinal, inclusive.
    #[must_use]
    pub fn from(self, ordinal: Ordinal) -> Self {
        Self { from: ReadFrom::At(ordinal), ..self }
    }

    /// Starts at this time: forwards at the first event recorded at or after it, backwards at the
    /// last event recorded at or before it. Needs [`Capability::TimeStarts`].
    #[must_use]
    pub fn from_time(self, time: RecordedAt) -> Self {
        Self { from: ReadFrom::Time(time), ..self }
    }

    /// Returns the features that a store needs for this read.
    #[must_use]
    pub const fn capabilities(&self) -> CapabilitySet {
        self.from.capabilities().with(self.of.capability())
    }

    /// Limits the number of events.
    #[must_use]
    pub fn limit(self, events: u64) -> Self {
        Self { limit: events, ..self }
    }
}

/// An event and its ordinal.
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Ordinal, OrdinalIndex,
///     ReadOrdinals, StreamName, memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let stream = StreamName::new("order-1")?;
/// let event_type = EventType::new("order-placed")?;
/// let placed = NewEvent::json(EventId::random(), event_type.clone(), "{}");
/// store.append(Append::to(stream, ExpectedRevision::NoStream, [placed])).await?;
///
/// let read = ReadOrdinals::forwards(OrdinalIndex::EventType(event_type));
/// let events = store.read_ordinals(read).collect_events().await?;
/// assert_eq!(events[0].ordinal, Ordinal::FIRST);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store counts events");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrdinalEvent {
    /// The place among the events that are counted.
    pub ordinal: Ordinal,
    /// The event.
    pub event: RecordedEvent,
}

impl OrdinalEvent {
    /// Creates the answer of a store.
    #[must_use]
    pub const fn new(ordinal: Ordinal, event: RecordedEvent) -> Self {
        Self { ordinal, event }
    }
}

/// The result of a read by ordinals: a stream of pages.
///
/// ```
/// use gesta_store::{
///     Category, EventStore, OrdinalIndex, OrdinalPages, ReadOrdinals, memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let orders = OrdinalIndex::Category(Category::new("order")?);
/// let mut pages: OrdinalPages = store.read_ordinals(ReadOrdinals::forwards(orders));
/// assert!(pages.next().await.is_none());
/// # Ok::<(), gesta_store::InvalidName>(())
/// # }).expect("the name is valid");
/// ```
pub type OrdinalPages = Pages<OrdinalEvent>;
