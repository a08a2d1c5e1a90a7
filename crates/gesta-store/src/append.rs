//! Appends: the events and conditions of one atomic write, and its result.
//!
//! Owns: [`Append`], and the checks that need no store ([`Append::check`]). Not here: the checks
//! against the store's state ([`EventStore::append`](crate::EventStore::append)).

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use crate::{
    Capability, CapabilitySet, ContentType, EventId, EventQuery, ExpectedRevision, Invalid, Limits,
    NewEvent, Position, Revision, StoreError, StreamMetadata, StreamName, TombstoneStream,
};

/// The part of an [`Append`] for one stream: the expected revision and the events.
///
/// Without events it is a pure check of the stream.
///
/// ```
/// use gesta_store::{ExpectedRevision, StreamAppend, StreamName};
///
/// let account = StreamName::new("account-1")?;
/// let check = StreamAppend::new(account, ExpectedRevision::StreamExists, []);
/// assert!(check.events.is_empty());
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamAppend {
    /// The stream's name.
    pub stream: StreamName,
    /// The condition on the stream, evaluated before any event of the append.
    pub expected: ExpectedRevision,
    /// The events, in the order of their revisions. May be empty.
    pub events: Vec<NewEvent>,
}

/// A condition over the whole store: no visible event after a position matches a query.
///
/// Hidden events (deleted, tombstoned, truncated, beyond max count or max age) do not match, so the
/// result is the same before and after scavenging. Max age is measured at the time at which the
/// append is recorded.
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
    /// The query that no event may match.
    pub none_matching: EventQuery,
    /// The position up to which the writer has read; only later events are tested.
    ///
    /// A position beyond the head is rejected with [`Invalid::BeyondHead`].
    pub after: Position,
}

/// One atomic write: events for one or several streams, with expected revisions, and an optional
/// condition over the whole store.
///
/// Positions follow the order of the parts, and of the events within each part. A store with
/// [`Capability::StreamParts`] takes several parts of one stream: all of their expectations are
/// evaluated on the state before the append, and their events are recorded where the parts stand,
/// between those of other streams.
///
/// ```
/// use gesta_store::{Append, EventId, EventType, ExpectedRevision, NewEvent, StreamName};
///
/// let event = |name: &str| {
///     let event_type = EventType::new(name)?;
///     Ok::<_, gesta_store::InvalidName>(NewEvent::json(EventId::random(), event_type, "{}"))
/// };
/// let transfer =
///     Append::to(StreamName::new("account-1")?, ExpectedRevision::StreamExists, [event("sent")?])
///         .and(StreamName::new("account-2")?, ExpectedRevision::Any, [event("received")?])
///         .expecting(StreamName::new("bank-1")?, ExpectedRevision::StreamExists);
/// assert_eq!(transfer.events().count(), 2);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Append {
    /// The parts, one for each stream; see [`check`](Self::check) for several parts of one stream.
    pub streams: Vec<StreamAppend>,
    /// The condition over the whole store.
    pub condition: Option<AppendCondition>,
    /// Allows events of any type in streams whose name begins with `$`; see
    /// [`privileged`](Self::privileged).
    pub privileged: bool,
}

impl Append {
    /// Creates an append to these streams.
    #[must_use]
    pub fn of(streams: Vec<StreamAppend>) -> Self {
        Self { streams, ..Self::default() }
    }

    /// Creates an append to one stream.
    #[must_use]
    pub fn to(
        stream: StreamName,
        expected: ExpectedRevision,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        Self::default().and(stream, expected, events)
    }

    /// Adds events for another stream, or further ones for a stream behind those of others.
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

    /// Adds an expectation on a stream without appending to it.
    #[must_use]
    pub fn expecting(self, stream: StreamName, expected: ExpectedRevision) -> Self {
        self.and(stream, expected, [])
    }

    /// Sets the condition over the whole store, in place of an earlier one.
    #[must_use]
    pub fn with_condition(self, condition: AppendCondition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// Allows events of any type in streams whose name begins with `$`, such as `$settings`. For
    /// servers and tools that own such streams. Needs
    /// [`Capability::SystemStreams`](crate::Capability::SystemStreams).
    ///
    /// Streams of metadata (`$$name`) still take valid metadata and tombstones only.
    #[must_use]
    pub fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// Returns the events of all streams, in the order of their positions.
    pub fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.streams.iter().flat_map(|stream| &stream.events)
    }

    /// Validates everything that needs no store. Stores call it first, so that all of them reject
    /// the same input.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rejected`] for:
    /// - an append without streams;
    /// - an event id that occurs twice;
    /// - events of one stream in two parts, unless events of other streams stand between them and
    ///   the later part expects [`Any`](ExpectedRevision::Any); metadata streams have one part with
    ///   events. Parts without events may name any stream again;
    /// - an exceeded limit;
    /// - a system stream, unless the event is valid metadata or a tombstone, or the append is
    ///   [privileged](Self::privileged);
    /// - a stream whose name is too long to have a metadata stream.
    pub fn check(&self, limits: &Limits) -> Result<(), StoreError> {
        if self.streams.is_empty() {
            return Err(Invalid::NoStreams.into());
        }
        if self.has_several_parts_of_one_stream() {
            self.check_parts()?;
        }
        if let Some(twice) = first_twice(self.events(), |event| event.id) {
            return Err(Invalid::EventTwice { id: twice.id }.into());
        }
        within("streams per append", self.streams.len(), limits.streams_per_append_max)?;
        within("events per append", self.events().count(), limits.events_per_append_max)?;
        let mut append_bytes = 0;
        for part in &self.streams {
            part.check_stream(self.privileged)?;
            for event in &part.events {
                check_event(event, limits)?;
                // Count the overhead of each record too, so that many tiny events reach the limit
                // as well.
                append_bytes += event.content_bytes()
                    + part.stream.as_str().len()
                    + limits.event_overhead_bytes;
            }
        }
        // Last, so that an oversized event is reported as such.
        within("append bytes", append_bytes, limits.append_bytes_max)
    }

    fn has_several_parts_of_one_stream(&self) -> bool {
        first_twice(self.streams.iter(), |part| &part.stream).is_some()
    }

    /// Rejects a further part of a stream that has an expectation, which would be ambiguous, or
    /// that continues the part before it, so that the same events have the same parts each time.
    fn check_parts(&self) -> Result<(), StoreError> {
        let mut written = HashSet::new();
        let mut before: Option<&StreamName> = None;
        for part in self.streams.iter().filter(|part| !part.events.is_empty()) {
            let StreamAppend { stream, expected, .. } = part;
            let is_first = written.insert(stream);
            let may_follow = *expected == ExpectedRevision::Any
                && before != Some(stream)
                && stream.described_stream().is_none();
            if !is_first && !may_follow {
                return Err(Invalid::StreamTwice { stream: stream.clone() }.into());
            }
            before = Some(stream);
        }
        Ok(())
    }
}

impl Append {
    /// Returns the features that a store needs for this append; see
    /// [`Capabilities::check`](crate::Capabilities::check).
    #[must_use]
    pub fn capabilities(&self) -> CapabilitySet {
        let mut needed = CapabilitySet::EMPTY;
        if self.streams.len() > 1 {
            needed = needed.with(Capability::MultiStreamAppend);
        }
        if self.has_several_parts_of_one_stream() {
            needed = needed.with(Capability::StreamParts);
        }
        if let Some(condition) = &self.condition {
            needed = needed.with(Capability::AppendCondition);
            needed = needed.union(condition.none_matching.capabilities());
        }
        if self.privileged {
            needed = needed.with(Capability::SystemStreams);
        }
        if self.events().any(|event| !event.tags.is_empty()) {
            needed = needed.with(Capability::Tags);
        }
        let plain = [ContentType::JSON, ContentType::OCTET_STREAM];
        if self.events().any(|event| !plain.contains(&event.content_type)) {
            needed = needed.with(Capability::ContentTypes);
        }
        needed
    }
}

impl StreamAppend {
    /// Appends events to a stream, in order, if it is as expected.
    #[must_use]
    pub fn new(
        stream: StreamName,
        expected: ExpectedRevision,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Self {
        Self { stream, expected, events: events.into_iter().collect() }
    }

    /// Returns `true` if this part repeats an earlier one: the one that recorded events with these
    /// ids in this stream, the first of them at the revision `first`.
    #[must_use]
    pub fn repeats(&self, stream: &StreamName, first: Revision, ids: &[EventId]) -> bool {
        self.expected.could_begin_at(first)
            && self.stream == *stream
            && self.events.iter().map(|event| event.id).eq(ids.iter().copied())
    }

    /// Rejects events that the stream cannot take: without privilege, system streams hold metadata
    /// and tombstones only, and a stream without room for its metadata stream could not be deleted.
    fn check_stream(&self, privileged: bool) -> Result<(), StoreError> {
        if self.events.is_empty() {
            return Ok(());
        }
        // A pure check adds nothing, so it may name any stream.
        if !self.stream.is_system() {
            return Ok(self.stream.check_room()?);
        }
        if self.stream.described_stream().is_none() {
            let refused = || Invalid::SystemStream { stream: self.stream.clone() }.into();
            return if privileged { Ok(self.stream.check_room()?) } else { Err(refused()) };
        }
        for event in &self.events {
            match event.event_type.as_str() {
                TombstoneStream::EVENT_TYPE => {}
                // Unreadable metadata would make the stream unreadable.
                StreamMetadata::EVENT_TYPE => drop(StreamMetadata::from_json(&event.data)?),
                _ => return Err(Invalid::SystemStream { stream: self.stream.clone() }.into()),
            }
        }
        Ok(())
    }
}

/// Returns the first item whose key equals that of an earlier item.
fn first_twice<'a, Item, Key: Eq + Hash>(
    mut items: impl Iterator<Item = &'a Item>,
    key: impl Fn(&'a Item) -> Key,
) -> Option<&'a Item> {
    // Skip the hash set for the common append: one event in one stream.
    let (first, second) = (items.next()?, items.next()?);
    // Sorting would need `Ord` keys, and pairwise comparison is quadratic.
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

/// The result of an append.
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
#[non_exhaustive]
pub struct Appended {
    /// The position of the append's last event; for an append without events, the head that it was
    /// checked against.
    pub position: Position,
    /// The new head of each stream that got events, in the order of the append.
    pub revisions: Vec<(StreamName, Revision)>,
    /// The call that recorded the events: this one, or an earlier one that it repeats.
    pub recorded: RecordedWhen,
}

impl Appended {
    /// Creates the answer of a store to an append that it has just recorded or checked. Of several
    /// revisions of one stream, the last is kept, at the place of the first.
    #[must_use]
    pub fn new(position: Position, revisions: Vec<(StreamName, Revision)>) -> Self {
        let revisions = last_of_each(revisions);
        Self { position, revisions, recorded: RecordedWhen::Now }
    }

    /// Turns the answer into that of a repeat.
    #[must_use]
    pub fn earlier(self) -> Self {
        Self { recorded: RecordedWhen::Earlier, ..self }
    }
}

/// Keeps the last revision of each stream, at the place of the first.
fn last_of_each(revisions: Vec<(StreamName, Revision)>) -> Vec<(StreamName, Revision)> {
    if first_twice(revisions.iter(), |(stream, _)| stream).is_none() {
        return revisions;
    }
    let mut places = HashMap::new();
    let mut last: Vec<(StreamName, Revision)> = Vec::new();
    for (stream, revision) in revisions {
        let place = *places.entry(stream.clone()).or_insert(last.len());
        match last.get_mut(place) {
            Some((_, head)) => *head = revision,
            None => last.push((stream, revision)),
        }
    }
    last
}

/// The time at which an append was recorded, relative to the call that is answered.
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, RecordedWhen,
///     StreamName, memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// assert_eq!(store.append(append.clone()).await?.recorded, RecordedWhen::Now);
/// assert_eq!(store.append(append).await?.recorded, RecordedWhen::Earlier);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedWhen {
    /// This call recorded the events. Also the answer to an append without events, which is checked
    /// now.
    Now,
    /// The events were there already. An earlier call recorded them, or an earlier attempt of this
    /// one: a store that sends an append again after a connection broke cannot tell the two apart.
    Earlier,
}
