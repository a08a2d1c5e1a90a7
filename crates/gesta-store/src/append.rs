//! Appends: what is offered to a store in one atomic step, and what comes back.
//!
//! Owns: [`Append`] and the checks that need no store ([`Append::check`]). Not here: what a store
//! does with it ([`EventStore::append`](crate::EventStore::append)).

use std::{collections::HashSet, hash::Hash};

use crate::{
    EventQuery, ExpectedRevision, Invalid, Limits, NewEvent, Position, Revision, StoreError,
    StreamMetadata, StreamName, TombstoneStream,
};

/// Events for one stream, and what is expected of it. Without events: a pure check.
///
/// ```
/// use gesta_store::{ExpectedRevision, StreamAppend, StreamName};
///
/// let check = StreamAppend {
///     stream: StreamName::new("account-1")?,
///     expected: ExpectedRevision::StreamExists,
///     events: vec![],
/// };
/// assert!(check.events.is_empty());
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAppend {
    /// Which stream.
    pub stream: StreamName,
    /// What must hold of it, before this append, for any of the append to happen.
    pub expected: ExpectedRevision,
    /// The events, in order.
    pub events: Vec<NewEvent>,
}

/// A condition wider than one stream: no visible event after `after` matches the query.
///
/// Events that deletion, tombstones, truncation, max count or max age hide do not count, so the
/// answer is the same before and after scavenging. Age is counted up to when this append is recorded.
///
/// `after` is the position up to which the writer has looked; a position beyond the head is
/// [`Invalid::BeyondHead`].
///
/// ```
/// use gesta_store::{AppendCondition, EventQuery, Position, QueryItem, Tag};
///
/// let unique = AppendCondition {
///     none_matching: EventQuery::of(QueryItem::every().tagged([Tag::of("email", "a@b.c")?])),
///     after: Position::START,
/// };
/// assert_eq!(unique.none_matching.items().len(), 1);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendCondition {
    /// The events that must not be there.
    pub none_matching: EventQuery,
    /// Only events after this position count.
    pub after: Position,
}

/// What one atomic step offers to a store: events for one or several streams, and conditions.
///
/// Positions follow the order of the streams here and of the events within each.
///
/// ```
/// use gesta_store::{Append, EventId, EventType, ExpectedRevision, NewEvent, StreamName};
///
/// let event = |name: &str| {
///     Ok::<_, gesta_store::InvalidName>(NewEvent::json(EventId::random(), EventType::new(name)?, "{}"))
/// };
/// let transfer =
///     Append::to(StreamName::new("account-1")?, ExpectedRevision::StreamExists, [event("sent")?])
///         .and(StreamName::new("account-2")?, ExpectedRevision::Any, [event("received")?])
///         .checking(StreamName::new("bank-1")?, ExpectedRevision::StreamExists);
/// assert_eq!(transfer.events().count(), 2);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Append {
    /// The streams, each at most once.
    pub streams: Vec<StreamAppend>,
    /// The wider condition, if any.
    pub condition: Option<AppendCondition>,
}

impl Append {
    /// Appends events to one stream.
    #[must_use]
    pub fn to(
        stream: StreamName,
        expected: ExpectedRevision,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        Self::default().and(stream, expected, events)
    }

    /// Also appends events to another stream.
    #[must_use]
    pub fn and(
        mut self,
        stream: StreamName,
        expected: ExpectedRevision,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        let events = events.into_iter().collect();
        self.streams.push(StreamAppend { stream, expected, events });
        self
    }

    /// Also checks a stream without appending to it.
    #[must_use]
    pub fn checking(self, stream: StreamName, expected: ExpectedRevision) -> Self {
        self.and(stream, expected, [])
    }

    /// Only if this condition holds, too.
    #[must_use]
    pub fn provided(self, condition: AppendCondition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// The events of all streams, in the order of their positions.
    pub fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.streams.iter().flat_map(|stream| &stream.events)
    }

    /// Refuses what no store may accept, so that all stores refuse alike. Stores call it first.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] for an append without streams, a stream or an event id given
    /// twice, a limit exceeded, a system stream, stream metadata that cannot be read, or events for
    /// a stream whose name leaves no room for its metadata stream.
    pub fn check(&self, limits: &Limits) -> Result<(), StoreError> {
        if self.streams.is_empty() {
            return Err(Invalid::NoStreams.into());
        }
        if let Some(twice) = first_twice(self.streams.iter(), |part| &part.stream) {
            return Err(Invalid::StreamTwice { stream: twice.stream.clone() }.into());
        }
        if let Some(twice) = first_twice(self.events(), |event| event.id) {
            return Err(Invalid::EventTwice { id: twice.id }.into());
        }
        let mut append_bytes = 0;
        for part in &self.streams {
            part.check_stream()?;
            for event in &part.events {
                check_event(event, limits)?;
                append_bytes +=
                    event.content_bytes() + part.stream.as_str().len() + Limits::EVENT_OVERHEAD;
            }
        }
        within("append bytes", append_bytes, limits.append_bytes_max)
    }
}

impl StreamAppend {
    /// A stream with events can be deleted, and a system stream takes only what the system writes
    /// there.
    fn check_stream(&self) -> Result<(), StoreError> {
        if self.events.is_empty() {
            return Ok(());
        }
        if !self.stream.is_system() {
            return Ok(self.stream.check_room()?);
        }
        if self.stream.described_stream().is_none() {
            return Err(Invalid::SystemStream { stream: self.stream.clone() }.into());
        }
        for event in &self.events {
            match event.event_type.as_str() {
                TombstoneStream::EVENT_TYPE => {}
                StreamMetadata::EVENT_TYPE => drop(StreamMetadata::from_json(&event.data)?),
                _ => return Err(Invalid::SystemStream { stream: self.stream.clone() }.into()),
            }
        }
        Ok(())
    }
}

/// The first item whose key an earlier one has, too.
fn first_twice<'a, Item, Key: Eq + Hash>(
    mut items: impl Iterator<Item = &'a Item>,
    key: impl Fn(&'a Item) -> Key,
) -> Option<&'a Item> {
    // Most appends have one event in one stream.
    let (first, second) = (items.next()?, items.next()?);
    let mut keys = HashSet::from([key(first)]);
    std::iter::once(second).chain(items).find(|item| !keys.insert(key(item)))
}

fn check_event(event: &NewEvent, limits: &Limits) -> Result<(), StoreError> {
    within("tags", event.tags.len(), limits.tags_max)?;
    within("event bytes", event.content_bytes(), limits.event_bytes_max)
}

fn within(limit: &'static str, actual: usize, max: usize) -> Result<(), StoreError> {
    if actual > max { Err(Invalid::Limit { limit, actual, max }.into()) } else { Ok(()) }
}

/// What an append returns: where its last event is and each stream's new head.
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Revision, StreamName,
///     memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let stream = StreamName::new("order-1")?;
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let appended = store.append(Append::to(stream.clone(), ExpectedRevision::Any, [event])).await?;
/// assert_eq!(appended.revisions, vec![(stream, Revision::FIRST)]);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The last event's position; of an append without events, the head that it was checked at.
    pub position: Position,
    /// The new head of each stream that got events, in the order of the append.
    pub revisions: Vec<(StreamName, Revision)>,
}
