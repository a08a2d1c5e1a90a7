//! Events: as offered to a store and as recorded by it.
//!
//! Owns: [`NewEvent`], [`RecordedEvent`] and what they carry. Always holds: a recorded event is
//! never changed. Not here: what the bytes mean; typed events are the framework's.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;

use crate::{CausationId, CorrelationId, EventId, EventType, Position, Revision, StreamName, Tag};

/// How an event's data are written: a media type.
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
    /// `application/octet-stream`: bytes that only their writer understands.
    pub const OCTET_STREAM: Self = Self(Cow::Borrowed("application/octet-stream"));
    /// The longest media type, in bytes (RFC 6838 allows 127 for each half).
    pub const BYTES_MAX: usize = 255;

    /// Any other media type.
    ///
    /// # Errors
    /// [`InvalidName`](crate::InvalidName) when the text is empty or too long, or has control
    /// characters.
    pub fn new(text: impl Into<String>) -> Result<Self, crate::InvalidName> {
        let text = text.into();
        crate::InvalidName::check("content type", &text, Self::BYTES_MAX)?;
        Ok(Self(Cow::Owned(text)))
    }

    /// A media type that is stored already, which an earlier version may have let pass.
    ///
    /// # Errors
    /// [`InvalidName`](crate::InvalidName) when the text is empty, too long or has a zero byte.
    pub fn stored(text: impl Into<String>) -> Result<Self, crate::InvalidName> {
        let text = text.into();
        crate::name::check_stored("content type", &text, Self::BYTES_MAX)?;
        Ok(Self(Cow::Owned(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether payloads of this type are JSON: `application/json`, with parameters such as a
    /// charset or without, and the types that end with `+json` (RFC 6839).
    #[must_use]
    pub fn is_json(&self) -> bool {
        if *self == Self::JSON {
            return true;
        }
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

/// When a store recorded an event, by the store's clock: microseconds since 1970-01-01T00:00Z.
///
/// Never falls from one position to the next, and never decides order; positions do.
///
/// ```
/// use gesta_store::RecordedAt;
///
/// assert!(RecordedAt::from_micros(1) > RecordedAt::from_micros(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordedAt(u64);

impl RecordedAt {
    /// That many microseconds after 1970-01-01T00:00Z.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00Z.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// An event that is offered to a store.
///
/// Fields are open: set what differs from [`NewEvent::json`] or [`NewEvent::new`].
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
pub struct NewEvent {
    /// Which event this is; a retry offers the same id.
    pub id: EventId,
    /// What kind of event it is.
    pub event_type: EventType,
    /// Which version of that type's schema the data follow; 1 is the first.
    pub schema_version: u16,
    /// How the data are written.
    pub content_type: ContentType,
    /// What happened.
    pub data: Bytes,
    /// What is known about how it happened: JSON by convention, possibly empty.
    pub metadata: Bytes,
    /// What queries and append conditions can ask for; a set, in any order.
    pub tags: Vec<Tag>,
    /// Which conversation it belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// What caused it.
    pub causation_id: Option<CausationId>,
}

impl NewEvent {
    /// An event of schema version 1 without metadata, tags, or related ids.
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

    /// [`NewEvent::new`] with [`ContentType::JSON`].
    #[must_use]
    pub fn json(id: EventId, event_type: EventType, data: impl Into<Bytes>) -> Self {
        Self::new(id, event_type, ContentType::JSON, data)
    }

    /// The same event with these tags.
    #[must_use]
    pub fn tagged(self, tags: impl IntoIterator<Item = Tag>) -> Self {
        Self { tags: tags.into_iter().collect(), ..self }
    }

    /// Bytes that the event adds to a store beyond fixed-size fields: what limits count.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| tag.as_str().len()).sum();
        let related = self.correlation_id.as_ref().map_or(0, |id| id.as_str().len())
            + self.causation_id.as_ref().map_or(0, |id| id.as_str().len());
        self.data.len() + self.metadata.len() + self.event_type.as_str().len() + tags + related
    }
}

/// An event that a store accepted for ever.
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
pub struct RecordedEvent {
    /// The stream that it belongs to.
    pub stream: StreamName,
    /// Its place in the stream.
    pub revision: Revision,
    /// Its place in the store.
    pub position: Position,
    /// When the store recorded it.
    pub recorded_at: RecordedAt,
    /// Which event it is.
    pub id: EventId,
    /// What kind of event it is.
    pub event_type: EventType,
    /// Which version of that type's schema the data follow.
    pub schema_version: u16,
    /// How the data are written.
    pub content_type: ContentType,
    /// What happened.
    pub data: Bytes,
    /// What is known about how it happened.
    pub metadata: Bytes,
    /// What queries and append conditions can ask for.
    pub tags: Vec<Tag>,
    /// Which conversation it belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// What caused it.
    pub causation_id: Option<CausationId>,
}
