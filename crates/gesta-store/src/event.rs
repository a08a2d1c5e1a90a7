//! Events: new ones, as offered to a store, and recorded ones, as read from it.
//!
//! Owns: [`NewEvent`], [`RecordedEvent`] and their parts. A recorded event never changes. Not here:
//! the meaning of the payload; typed events belong to the `gesta` crate.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;

use crate::{CausationId, CorrelationId, EventId, EventType, Position, Revision, StreamName, Tag};

/// The media type of an event's data (RFC 6838).
///
/// ```
/// use gesta_store::ContentType;
///
/// assert_eq!(ContentType::JSON.as_str(), "application/json");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContentType(Cow<'static, str>);

impl ContentType {
    /// `application/json`.
    pub const JSON: Self = Self(Cow::Borrowed("application/json"));
    /// `application/octet-stream`: opaque bytes.
    pub const OCTET_STREAM: Self = Self(Cow::Borrowed("application/octet-stream"));
    /// Maximum length, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Creates a content type from a media type.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](crate::InvalidName) if the text is empty, too long, or has control
    /// characters. Its syntax is not checked.
    pub fn new(text: impl Into<String>) -> Result<Self, crate::InvalidName> {
        let text = text.into();
        crate::InvalidName::check("content type", &text, Self::BYTES_MAX)?;
        Ok(Self(Cow::Owned(text)))
    }

    /// Creates a content type from stored text, which an earlier version may have accepted by a
    /// weaker rule.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](crate::InvalidName) if the text is empty, too long, or has a zero byte.
    pub fn stored(text: impl Into<String>) -> Result<Self, crate::InvalidName> {
        let text = text.into();
        crate::name::check_stored("content type", &text, Self::BYTES_MAX)?;
        Ok(Self(Cow::Owned(text)))
    }

    /// Returns the media type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `true` for `application/json`, with or without parameters, and for types that end
    /// with `+json` (RFC 6839).
    #[must_use]
    pub fn is_json(&self) -> bool {
        if *self == Self::JSON {
            return true;
        }
        // Media types are case-insensitive, and parameters follow the first `;`.
        let essence = self.0.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The time at which a store recorded an event, in microseconds since 1970-01-01T00:00Z.
///
/// Taken from the store's clock. Never decreases from one position to the next. Order is defined by
/// positions alone.
///
/// ```
/// use gesta_store::RecordedAt;
///
/// assert!(RecordedAt::from_micros(1) > RecordedAt::from_micros(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordedAt(u64);

impl RecordedAt {
    /// Creates a time from microseconds since 1970-01-01T00:00Z.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since 1970-01-01T00:00Z.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Returns the time elapsed since `earlier`, or zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// An event that is not yet stored.
///
/// Start from [`NewEvent::json`] or [`NewEvent::new`] and set what differs.
///
/// ```
/// use gesta_store::{EventId, EventType, NewEvent, Tag};
///
/// let placed = NewEvent::json(
///     EventId::derived_from("request-42", 0),
///     EventType::new("order-placed")?,
///     r#"{"customer":"17850"}"#,
/// )
/// .tagged([Tag::of("customer", "17850")?]);
/// assert_eq!(placed.schema_version, 1);
/// assert_eq!(placed.tags.len(), 1);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewEvent {
    /// Identity of the event. A retry must use the same id.
    pub id: EventId,
    /// Stable name of the kind of event.
    pub event_type: EventType,
    /// Version of the type's schema that `data` follows, from 1.
    pub schema_version: u16,
    /// Media type of `data`.
    pub content_type: ContentType,
    /// The payload.
    pub data: Bytes,
    /// Data about the event rather than of it, by convention JSON. May be empty.
    pub metadata: Bytes,
    /// Tags that queries and append conditions match. A set: the store may change the order.
    pub tags: Vec<Tag>,
    /// The conversation that the event belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// The command or event that caused this event.
    pub causation_id: Option<CausationId>,
}

impl NewEvent {
    /// Creates an event of schema version 1, without metadata, tags, or related ids.
    #[must_use]
    pub fn new(
        id: EventId,
        event_type: EventType,
        content_type: ContentType,
        data: impl Into<Bytes>,
    ) -> Self {
        Self {
            id,
            event_type,
            schema_version: 1,
            content_type,
            data: data.into(),
            metadata: Bytes::new(),
            tags: Vec::new(),
            correlation_id: None,
            causation_id: None,
        }
    }

    /// Creates an event with [`ContentType::JSON`]; otherwise like [`NewEvent::new`].
    #[must_use]
    pub fn json(id: EventId, event_type: EventType, data: impl Into<Bytes>) -> Self {
        Self::new(id, event_type, ContentType::JSON, data)
    }

    /// Sets the version of the type's schema that the data follows, from 1.
    #[must_use]
    pub fn schema_version(self, schema_version: u16) -> Self {
        Self { schema_version, ..self }
    }

    /// Sets the metadata, by convention JSON.
    #[must_use]
    pub fn metadata(self, metadata: impl Into<Bytes>) -> Self {
        Self { metadata: metadata.into(), ..self }
    }

    /// Sets the conversation that the event belongs to.
    #[must_use]
    pub fn correlation_id(self, id: impl Into<Option<CorrelationId>>) -> Self {
        Self { correlation_id: id.into(), ..self }
    }

    /// Sets the command or event that caused this event.
    #[must_use]
    pub fn causation_id(self, id: impl Into<Option<CausationId>>) -> Self {
        Self { causation_id: id.into(), ..self }
    }

    /// Replaces the tags.
    #[must_use]
    pub fn tagged(self, tags: impl IntoIterator<Item = Tag>) -> Self {
        Self { tags: tags.into_iter().collect(), ..self }
    }

    /// Returns the size that [`Limits`](crate::Limits) apply to: the bytes of all fields of
    /// variable length, except the content type.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| tag.as_str().len()).sum();
        let related = self.correlation_id.as_ref().map_or(0, |id| id.as_str().len())
            + self.causation_id.as_ref().map_or(0, |id| id.as_str().len());
        self.data.len() + self.metadata.len() + self.event_type.as_str().len() + tags + related
    }
}

/// An event that is stored. Immutable.
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, Revision,
///     StreamName, memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let stream = StreamName::new("order-1")?;
/// let placed = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// store.append(Append::to(stream.clone(), ExpectedRevision::NoStream, [placed])).await?;
///
/// let events = store.read_stream(ReadStream::forwards(stream)).collect_events().await?;
/// assert_eq!(events[0].revision, Revision::FIRST);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// The stream that the event belongs to.
    pub stream: StreamName,
    /// Place in the stream.
    pub revision: Revision,
    /// Place in the store.
    pub position: Position,
    /// Time of the append, by the store's clock.
    pub recorded_at: RecordedAt,
    /// Identity of the event.
    pub id: EventId,
    /// Stable name of the kind of event.
    pub event_type: EventType,
    /// Version of the type's schema that `data` follows.
    pub schema_version: u16,
    /// Media type of `data`.
    pub content_type: ContentType,
    /// The payload.
    pub data: Bytes,
    /// Data about the event rather than of it.
    pub metadata: Bytes,
    /// Tags, in no particular order.
    pub tags: Vec<Tag>,
    /// The conversation that the event belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// The command or event that caused this event.
    pub causation_id: Option<CausationId>,
}

impl RecordedEvent {
    /// Creates the recorded form of an event, at the place and time that a store assigns to it.
    #[must_use]
    pub fn new(
        event: NewEvent,
        stream: StreamName,
        revision: Revision,
        position: Position,
        recorded_at: RecordedAt,
    ) -> Self {
        let NewEvent {
            id,
            event_type,
            schema_version,
            content_type,
            data,
            metadata,
            tags,
            correlation_id,
            causation_id,
        } = event;
        Self {
            stream,
            revision,
            position,
            recorded_at,
            id,
            event_type,
            schema_version,
            content_type,
            data,
            metadata,
            tags,
            correlation_id,
            causation_id,
        }
    }
}

impl From<&RecordedEvent> for NewEvent {
    /// The event in the form in which it was appended, with the same id.
    fn from(event: &RecordedEvent) -> Self {
        Self {
            id: event.id,
            event_type: event.event_type.clone(),
            schema_version: event.schema_version,
            content_type: event.content_type.clone(),
            data: event.data.clone(),
            metadata: event.metadata.clone(),
            tags: event.tags.clone(),
            correlation_id: event.correlation_id.clone(),
            causation_id: event.causation_id.clone(),
        }
    }
}
