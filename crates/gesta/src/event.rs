//! Events as types: what one is called, how it is written, how older versions of it are read.
//!
//! Owns: [`Event`], its stored form [`EncodedEvent`], and why either direction can fail. Always
//! holds: stored bytes never change; an older version is brought up to date while it is read. Not
//! here: which events belong together ([`EventSet`](crate::EventSet)), ids and metadata.

use bytes::Bytes;
use gesta_store::{EventType, InvalidName, Position, RecordedEvent, Revision, StreamName, Tag};
use serde::{Serialize, de::DeserializeOwned};

use crate::{JsonFault, NameTwice, TypeShape, json};

/// A fact of the business, as a struct with a name that is stable for ever.
///
/// Derive it. A change of the struct that changes its stored form needs a new version: keep the
/// old struct, give the new one `version = 2, from = Old`, and write `From<Old>`, the upcaster.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcel-sent")]
/// struct ParcelSentV1 {
///     to: String,
/// }
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "parcel-sent", version = 2, from = ParcelSentV1)]
/// struct ParcelSent {
///     #[event(tag = "customer")]
///     to: String,
///     grams: Option<u32>,
/// }
///
/// impl From<ParcelSentV1> for ParcelSent {
///     fn from(old: ParcelSentV1) -> Self {
///         Self { to: old.to, grams: None }
///     }
/// }
///
/// let read = ParcelSent::upcast(1, br#"{"to":"ann"}"#)?;
/// assert_eq!(read, ParcelSent { to: "ann".to_owned(), grams: None });
/// assert_eq!(read.tags()?, vec![Tag::of("customer", "ann")?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An upcaster that drops some old events, or splits them into several, is `split = Old` with
/// `From<Old> for Vec<New>`. Folds, projections and processes see each, at the place of the stored
/// event; nothing stored changes.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcels-sent")]
/// struct ParcelsSent {
///     to: Vec<String>,
/// }
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "parcels-sent", version = 2, split = ParcelsSent)]
/// struct ParcelSent {
///     to: String,
/// }
///
/// impl From<ParcelsSent> for Vec<ParcelSent> {
///     fn from(old: ParcelsSent) -> Self {
///         old.to.into_iter().map(|to| ParcelSent { to }).collect()
///     }
/// }
///
/// let mut read = Vec::new();
/// ParcelSent::upcast_each(1, br#"{"to":["ann","bob"]}"#, &mut |sent| read.push(sent.to))?;
/// assert_eq!(read, ["ann", "bob"]);
/// assert!(ParcelSent::upcast(1, br#"{"to":[]}"#).is_err(), "it is none");
/// # Ok::<(), gesta::DecodeError>(())
/// ```
///
/// An upcaster from another event is refused by the compiler:
///
/// ```compile_fail
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcel-lost")]
/// struct ParcelLost;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcel-sent", version = 2, from = ParcelLost)]
/// struct ParcelSent;
///
/// impl From<ParcelLost> for ParcelSent {
///     fn from(_: ParcelLost) -> Self {
///         Self
///     }
/// }
/// ```
pub trait Event: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The event type under which it is stored.
    const NAME: &'static str;
    /// The schema version that is written; 1 is the first.
    const VERSION: u16 = 1;
    /// Fields and types as the source has them: what a lock file of events compares.
    const SHAPE: &'static str = "";

    /// Reads stored bytes of a schema version: its own by serde, older ones through upcasters.
    ///
    /// # Errors
    /// [`DecodeError`] when the version is unknown or the bytes are not of it.
    fn upcast(version: u16, data: &[u8]) -> Result<Self, DecodeError> {
        own_version(version, data)
    }

    /// What queries and append conditions can find it by.
    ///
    /// # Errors
    /// [`InvalidName`] when a value does not fit into a tag.
    fn tags(&self) -> Result<Vec<Tag>, InvalidName> {
        Ok(Vec::new())
    }

    /// Reads stored bytes as the events that they mean today: one, unless an upcaster drops or
    /// splits what it reads (`split = Old`). Each keeps the place and the id of the stored event.
    ///
    /// # Errors
    /// [`DecodeError`] when the version is unknown or the bytes are not of it.
    fn upcast_each(
        version: u16,
        data: &[u8],
        each: &mut dyn FnMut(Self),
    ) -> Result<(), DecodeError> {
        each(Self::upcast(version, data)?);
        Ok(())
    }

    /// Every version that [`upcast`](Self::upcast) reads, oldest first.
    #[must_use]
    fn shapes() -> Vec<EventShape> {
        vec![EventShape { version: Self::VERSION, shape: Self::SHAPE }]
    }

    /// The versions of [`shapes`](Self::shapes), each with its type and that type's whole shape.
    #[must_use]
    fn versions() -> Vec<EventVersion> {
        vec![EventVersion::of::<Self>()]
    }
}

/// One schema version of an event: the type that reads it, and the shape of that type down to its
/// leaves.
///
/// ```
/// use gesta::{EventVersion, prelude::*};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcel-sent")]
/// struct ParcelSent {
///     to: Vec<String>,
/// }
///
/// let version = EventVersion::of::<ParcelSent>();
/// assert_eq!(version.version, 1);
/// assert_eq!(version.shape.to_string(), ".: struct, to: list, to[]: text");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventVersion {
    /// The schema version.
    pub version: u16,
    /// The Rust type that reads it.
    pub type_name: &'static str,
    /// The shape of its JSON.
    pub shape: TypeShape,
}

impl EventVersion {
    /// The version that an event is written in today.
    #[must_use]
    pub fn of<E: Event>() -> Self {
        Self {
            version: E::VERSION,
            type_name: std::any::type_name::<E>(),
            shape: TypeShape::of::<E>(),
        }
    }
}

/// The shape of one schema version of an event.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcel-sent")]
/// struct ParcelSent {
///     to: String,
/// }
///
/// assert_eq!(ParcelSent::shapes(), [EventShape { version: 1, shape: "{to: String}" }]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventShape {
    /// The schema version.
    pub version: u16,
    /// Its fields and types.
    pub shape: &'static str,
}

/// Reads the version that the type itself writes, and no other.
pub(crate) fn own_version<E: Event>(version: u16, data: &[u8]) -> Result<E, DecodeError> {
    if version != E::VERSION {
        let event_type = E::NAME.to_owned();
        return Err(DecodeError::UnknownVersion { event_type, version, newest: E::VERSION });
    }
    serde_json::from_slice(data).map_err(|source| DecodeError::BadPayload {
        event_type: E::NAME.to_owned(),
        version,
        source,
    })
}

/// The stored form of an event, before it has an id, metadata and a stream.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "parcel-sent")]
/// struct ParcelSent {
///     to: String,
/// }
///
/// let stored = EncodedEvent::of(&ParcelSent { to: "ann".to_owned() })?;
/// assert_eq!(stored.data, r#"{"to":"ann"}"#);
/// # Ok::<(), gesta::EncodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    /// Its type.
    pub event_type: EventType,
    /// The version of its schema.
    pub schema_version: u16,
    /// What queries can find it by.
    pub tags: Vec<Tag>,
    /// JSON.
    pub data: Bytes,
}

impl EncodedEvent {
    /// Writes an event and proves that it can be read back, which costs one decoding.
    ///
    /// # Errors
    /// [`EncodeError`] when a tag is not one, or the event has no JSON form that can be read back:
    /// a number is not finite, a value is nested too deep, the type does not read what it writes.
    pub fn of<E: Event>(event: &E) -> Result<Self, EncodeError> {
        let data = json::write(E::NAME, event)?;
        prove_readable::<E>(&data)?;
        Ok(Self {
            event_type: EventType::new(E::NAME)?,
            schema_version: E::VERSION,
            tags: event.tags()?,
            data: data.into(),
        })
    }
}

/// What cannot be read back must not become a fact: it would stop its stream for ever.
fn prove_readable<E: Event>(data: &[u8]) -> Result<(), EncodeError> {
    match E::upcast(E::VERSION, data) {
        Ok(_) => Ok(()),
        Err(DecodeError::BadPayload { source, .. }) => {
            Err(json::not_readable::<E>(E::NAME, data, source))
        }
        Err(other) => Err(EncodeError::Unreadable { event_type: E::NAME, source: other }),
    }
}

/// Why an event or a command cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A name or a tag is none; a tag's text comes from input, so the input may be at fault.
    #[error("{0}")]
    Name(#[from] InvalidName),
    /// The value has no JSON form that can be read back. Nothing was appended.
    #[error("{what} cannot be recorded: {field}{}{reason}", if field.is_empty() { "" } else { " " })]
    Json {
        /// The name of the event, command or timer.
        what: String,
        /// The path to the field at fault; empty for the value as a whole.
        field: String,
        /// What is wrong with it.
        reason: JsonFault,
    },
    /// The event's own `upcast` does not read the version that it writes. Fix it.
    #[error("{event_type} cannot be recorded: it could not be read back")]
    Unreadable {
        /// The name of the event.
        event_type: &'static str,
        /// What `upcast` said.
        source: DecodeError,
    },
    /// Another type of this program has the name of an event. Nothing was appended.
    #[error(transparent)]
    NameTwice(#[from] NameTwice),
    /// A decision over a `Vec` of aggregates did not answer for each of them. Fix `decide`.
    #[error("decided for {decided} aggregates of {aggregates}")]
    NotForEach {
        /// How many the command named.
        aggregates: usize,
        /// How many the decision answered for.
        decided: usize,
    },
}

/// Why stored bytes are not an event that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No event of the set has this type. Deploy code that knows it, or declare that the set goes
    /// on without it: `#[events(ignore("…"))]`.
    #[error("event type {event_type} is unknown")]
    UnknownEvent {
        /// The stored type.
        event_type: String,
    },
    /// The type is known, this version of it is not. Deploy code that knows it.
    #[error(
        "version {version} of event type {event_type} is unknown, the newest known is {newest}"
    )]
    UnknownVersion {
        /// The stored type.
        event_type: String,
        /// The stored version.
        version: u16,
        /// The newest version that this program reads.
        newest: u16,
    },
    /// The bytes are not of the version that they claim to be. Fix the type or its upcaster.
    #[error("the payload is not version {version} of event type {event_type}")]
    BadPayload {
        /// The stored type.
        event_type: String,
        /// The stored version.
        version: u16,
        /// What serde said.
        source: serde_json::Error,
    },
    /// An upcaster drops or splits this version, and one event was asked for. Read each.
    #[error("version {version} of event type {event_type} is read as {count} events today")]
    NotOne {
        /// The stored type.
        event_type: String,
        /// The stored version.
        version: u16,
        /// How many events it is read as.
        count: usize,
    },
    /// The bytes are not JSON: somebody else wrote them. Leave the type out of the set.
    #[error("event type {event_type} is written as {content_type}, not as JSON")]
    NotJson {
        /// The stored type.
        event_type: String,
        /// How it is written.
        content_type: String,
    },
}

impl DecodeError {
    /// No event of the set has this type.
    #[must_use]
    pub fn unknown_event(event_type: &str) -> Self {
        Self::UnknownEvent { event_type: event_type.to_owned() }
    }

    pub(crate) fn of(self, event: &RecordedEvent) -> UndecodableEvent {
        UndecodableEvent {
            event_type: event.event_type.clone(),
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
            source: self,
        }
    }
}

/// A recorded event that this program cannot read, and where it is.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event at revision {revision} of {stream} cannot be read \
     (type {event_type}, position {position})"
)]
pub struct UndecodableEvent {
    /// Its type.
    pub event_type: EventType,
    /// Its stream.
    pub stream: StreamName,
    /// Its place there.
    pub revision: Revision,
    /// Its place in the store.
    pub position: Position,
    /// Why.
    pub source: DecodeError,
}
