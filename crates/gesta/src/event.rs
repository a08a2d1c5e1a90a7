//! Event types, their stored form, and upcasting of older schema versions.
//!
//! Owns: [`Event`], its stored form [`EncodedEvent`], and the errors of encoding and decoding.
//! Invariant: stored bytes never change; older versions are upcast on read. Not here: sets of
//! events ([`EventSet`](crate::EventSet)), ids and metadata.

use bytes::Bytes;
use gesta_store::{EventType, InvalidName, Position, RecordedEvent, Revision, StreamName, Tag};
use serde::{Serialize, de::DeserializeOwned};

use crate::{DuplicateEventName, JsonFault, TypeShape, json};

/// A fact of the business: a struct with a stable event type and a schema version.
///
/// Usually derived. A change to the struct that changes its stored form needs a new version: keep
/// the old struct, give the new one `version = 2, from = Old`, and write `From<Old>`, the upcaster.
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
/// An upcaster that drops some old events or splits them into several is declared with `split =
/// Old` and written as `From<Old> for Vec<New>`. Folds, projections and processes see each
/// resulting event, at the stored event's revision and position.
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
/// An upcaster from an event of another name does not compile:
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "derive it: `#[derive(Event, Serialize, Deserialize, Clone)]` with \
            `#[event(name = \"…\")]`"
)]
pub trait Event: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The event type under which it is stored. Must never change.
    const NAME: &'static str;
    /// The schema version that is written, from 1.
    const VERSION: u16 = 1;
    /// The names and types of the fields as written in the source, compared by event lock files.
    const SHAPE: &'static str = "";

    /// Decodes stored data of a schema version: the current one with serde, older ones through
    /// upcasters.
    ///
    /// # Errors
    /// [`DecodeError`] if the version is unknown, the data does not decode, or an upcaster yields
    /// zero or several events.
    fn upcast(version: u16, data: &[u8]) -> Result<Self, DecodeError> {
        own_version(version, data)
    }

    /// Returns the tags by which queries and append conditions find the event.
    ///
    /// # Errors
    /// [`InvalidName`] if a value does not fit into a tag.
    fn tags(&self) -> Result<Vec<Tag>, InvalidName> {
        Ok(Vec::new())
    }

    /// Decodes stored data into its current events: one, unless an upcaster drops or splits it
    /// (`split = Old`). Each keeps the position, revision and id of the stored event.
    ///
    /// # Errors
    /// [`DecodeError`] if the version is unknown or the data does not decode.
    fn upcast_each(
        version: u16,
        data: &[u8],
        each: &mut dyn FnMut(Self),
    ) -> Result<(), DecodeError> {
        each(Self::upcast(version, data)?);
        Ok(())
    }

    /// Returns every version that [`upcast`](Self::upcast) reads, oldest first.
    #[must_use]
    fn shapes() -> Vec<EventShape> {
        vec![EventShape { version: Self::VERSION, shape: Self::SHAPE }]
    }

    /// Returns the versions of [`shapes`](Self::shapes), each with its type and the full shape of
    /// that type.
    #[must_use]
    fn versions() -> Vec<EventVersion> {
        vec![EventVersion::of::<Self>()]
    }
}

/// One schema version of an event, with the type that decodes it and the full shape of that type.
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
    /// Schema version, from 1.
    pub version: u16,
    /// The Rust type that decodes it.
    pub type_name: &'static str,
    /// The shape of its JSON form.
    pub shape: TypeShape,
}

impl EventVersion {
    /// Returns the current version of an event.
    #[must_use]
    pub fn of<E: Event>() -> Self {
        Self {
            version: E::VERSION,
            type_name: std::any::type_name::<E>(),
            shape: TypeShape::of::<E>(),
        }
    }
}

/// One schema version of an event, with its fields as written in the source.
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
    /// Schema version, from 1.
    pub version: u16,
    /// The names and types of its fields.
    pub shape: &'static str,
}

/// Decodes the type's own version and no other.
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

/// The stored form of an event, without id, metadata and stream.
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
    /// Event type.
    pub event_type: EventType,
    /// Schema version, from 1.
    pub schema_version: u16,
    /// The tags by which queries and append conditions find it.
    pub tags: Vec<Tag>,
    /// The JSON form of the event.
    pub data: Bytes,
}

impl EncodedEvent {
    /// Encodes an event and checks that it decodes again, which costs one decoding.
    ///
    /// # Errors
    /// [`EncodeError`] if a tag is invalid, or the event has no JSON form that decodes again: a
    /// number is not finite, a value is nested too deeply, or the type does not accept its own
    /// output.
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

/// Checks that encoded data decodes again. An event that does not would block its stream forever.
fn prove_readable<E: Event>(data: &[u8]) -> Result<(), EncodeError> {
    match E::upcast(E::VERSION, data) {
        Ok(_) => Ok(()),
        Err(DecodeError::BadPayload { source, .. }) => {
            Err(json::not_readable::<E>(E::NAME, data, source))
        }
        Err(other) => Err(EncodeError::Unreadable { event_type: E::NAME, source: other }),
    }
}

/// An error of encoding an event or a command. Nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Invalid event type or tag. Tags derive from input, so this may be the caller's error.
    #[error("{0}")]
    Name(#[from] InvalidName),
    /// The value has no JSON form that decodes again. Fix the event type or the decision.
    #[error("{what} cannot be recorded: {field}{}{reason}", if field.is_empty() { "" } else { " " })]
    Json {
        /// Name of the event, command or timer.
        what: String,
        /// Path of the field at fault; empty for the value as a whole.
        field: String,
        /// The problem with its value.
        reason: JsonFault,
    },
    /// The event's own `upcast` does not decode the version that it writes. Fix it.
    #[error("{event_type} cannot be recorded: it could not be read back")]
    Unreadable {
        /// Event type.
        event_type: &'static str,
        /// The error of `upcast`.
        source: DecodeError,
    },
    /// Another type of this program has the same event name. Rename one.
    #[error(transparent)]
    DuplicateEventName(#[from] DuplicateEventName),
    /// A decision over a `Vec` of aggregates returned a different number of `Events`. Fix `decide`.
    #[error("the decision covers {decided} aggregates, but the command names {aggregates}")]
    NotForEach {
        /// Number of aggregates that the command named.
        aggregates: usize,
        /// Number of `Events` that the decision returned.
        decided: usize,
    },
}

/// An error of decoding a stored event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The event type is not in the set. Deploy code that knows it, or declare it with
    /// `#[events(ignore("…"))]`.
    #[error("event type {event_type} is unknown")]
    UnknownEvent {
        /// Event type.
        event_type: String,
    },
    /// The event type is known, but not this version. Deploy code that knows it.
    #[error(
        "version {version} of event type {event_type} is unknown, the newest known is {newest}"
    )]
    UnknownVersion {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// Newest version that this program decodes.
        newest: u16,
    },
    /// The data does not decode as its declared version. Fix the type or its upcaster.
    #[error("the payload is not version {version} of event type {event_type}")]
    BadPayload {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// The error of serde.
        source: serde_json::Error,
    },
    /// Not exactly one event: an upcaster drops or splits this version. Decode with
    /// [`Event::upcast_each`].
    #[error("version {version} of event type {event_type} is read as {count} events today")]
    NotOne {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// Number of events that the upcaster returned.
        count: usize,
    },
    /// The data is not JSON, so another program wrote it. Remove the type from the set.
    #[error("event type {event_type} is written as {content_type}, not as JSON")]
    NotJson {
        /// Event type.
        event_type: String,
        /// Stored content type.
        content_type: String,
    },
}

impl DecodeError {
    /// Creates [`UnknownEvent`](Self::UnknownEvent).
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

/// A recorded event that does not decode, with its place in the store.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event at revision {revision} of {stream} cannot be read \
     (type {event_type}, position {position})"
)]
pub struct UndecodableEvent {
    /// Event type.
    pub event_type: EventType,
    /// Stream of the event.
    pub stream: StreamName,
    /// Revision within the stream.
    pub revision: Revision,
    /// Position within the store.
    pub position: Position,
    /// The decoding error.
    pub source: DecodeError,
}
