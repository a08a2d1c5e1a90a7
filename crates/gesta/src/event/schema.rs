//! Event types and the upcasting of their older schema versions.
//!
//! Owns: [`Event`], and the description of its versions. Invariant: stored bytes never change;
//! older versions are upcast on read. Not here: the stored form ([`EncodedEvent`]), sets of events
//! ([`EventSet`]), ids and metadata.
//!
//! [`EncodedEvent`]: super::EncodedEvent
//! [`EventSet`]: super::EventSet

use gesta_store::{ContentType, InvalidName, Tag};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CodecError, DecodeError, EncodeError, EventCodec, EventData, PersonalField};
use crate::{TypeShape, json};

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
/// let read = ParcelSent::upcast(1, r#"{"to":"ann"}"#.into())?;
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
/// let two = r#"{"to":["ann","bob"]}"#;
/// ParcelSent::upcast_each(1, two.into(), &mut |sent| read.push(sent.to))?;
/// assert_eq!(read, ["ann", "bob"]);
/// assert!(ParcelSent::upcast(1, r#"{"to":[]}"#.into()).is_err(), "it is none");
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
    /// The content type that is written: JSON, unless the event has a codec.
    const CONTENT_TYPE: &'static str = "application/json";

    /// Encodes the event, and returns the content type of the result: JSON, unless the event has a
    /// codec (`codec = Codec`).
    ///
    /// # Errors
    /// [`EncodeError`] if the event has no such form. Fix its type.
    fn to_data(&self) -> Result<(ContentType, Vec<u8>), EncodeError> {
        Ok((ContentType::JSON, json::write(Self::NAME, self)?))
    }

    /// Decodes stored data of the event's own version: JSON, and the content types of its codec.
    ///
    /// # Errors
    /// [`DecodeError`] if the content type is another, or the data does not decode.
    fn from_data(data: EventData<'_>) -> Result<Self, DecodeError> {
        from_json_or(data, |_| None)
    }

    /// Decodes stored data of a schema version: the current one with serde, older ones through
    /// upcasters.
    ///
    /// # Errors
    /// [`DecodeError`] if the version is unknown, the data does not decode, or an upcaster yields
    /// zero or several events.
    fn upcast(version: u16, data: EventData<'_>) -> Result<Self, DecodeError> {
        own_version(version, data)
    }

    /// Returns the tags by which queries and append conditions find the event.
    ///
    /// # Errors
    /// [`InvalidName`] if a value does not fit into a tag.
    fn tags(&self) -> Result<Vec<Tag>, InvalidName> {
        Ok(Vec::new())
    }

    /// Returns the fields with personal data, of this version and of all older ones.
    #[must_use]
    fn personal_fields() -> Vec<PersonalField> {
        Vec::new()
    }

    /// Decodes stored data into its current events: one, unless an upcaster drops or splits it
    /// (`split = Old`). Each keeps the position, revision and id of the stored event.
    ///
    /// # Errors
    /// [`DecodeError`] if the version is unknown or the data does not decode.
    fn upcast_each(
        version: u16,
        data: EventData<'_>,
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
/// assert_eq!(version.schema["properties"]["to"]["items"]["type"], "string");
/// assert_eq!(version.schema["required"][0], "to");
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
    /// The JSON schema of that form ([`TypeShape::with_schema`]).
    pub schema: Value,
    /// The content type that it is written as.
    pub content_type: &'static str,
}

impl EventVersion {
    /// Returns the current version of an event.
    #[must_use]
    pub fn of<E: Event>() -> Self {
        let (shape, schema) = TypeShape::with_schema::<E>();
        Self {
            version: E::VERSION,
            type_name: std::any::type_name::<E>(),
            shape,
            schema,
            content_type: E::CONTENT_TYPE,
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
/// let [first]: [EventShape; 1] = ParcelSent::shapes().try_into().expect("one version");
/// assert_eq!((first.version, first.shape), (1, "{to: String}"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventShape {
    /// Schema version, from 1.
    pub version: u16,
    /// The names and types of its fields.
    pub shape: &'static str,
}

/// Decodes the type's own version and no other.
pub(crate) fn own_version<E: Event>(version: u16, data: EventData<'_>) -> Result<E, DecodeError> {
    // A newer version comes from a newer program. Its data might decode here and lose fields.
    if version != E::VERSION {
        let event_type = E::NAME.to_owned();
        return Err(DecodeError::UnknownVersion { event_type, version, newest: E::VERSION });
    }
    E::from_data(data)
}

/// Encodes an event by a codec.
pub(crate) fn encode_by<C: EventCodec, E: Event>(
    event: &E,
) -> Result<(ContentType, Vec<u8>), EncodeError> {
    let content_type = ContentType::new(C::CONTENT_TYPE)?;
    match C::encode(event) {
        Ok(data) => Ok((content_type, data)),
        Err(source) => {
            let (event_type, content_type) = (E::NAME, C::CONTENT_TYPE);
            Err(EncodeError::Codec { event_type, content_type, source })
        }
    }
}

/// Decodes JSON, and the content types of a codec.
pub(crate) fn decode_by<C: EventCodec, E: Event>(data: EventData<'_>) -> Result<E, DecodeError> {
    from_json_or(data, |data| C::reads(data.content_type).then(|| C::decode(data)))
}

/// Decodes JSON, and other data by `other`, which returns `None` for an unknown content type.
fn from_json_or<E: Event>(
    data: EventData<'_>,
    other: impl FnOnce(EventData<'_>) -> Option<Result<E, CodecError>>,
) -> Result<E, DecodeError> {
    let (event_type, version) = (|| E::NAME.to_owned(), E::VERSION);
    if data.content_type.is_json() {
        return serde_json::from_slice(data.bytes).map_err(|source| DecodeError::BadPayload {
            event_type: event_type(),
            version,
            source,
        });
    }
    let content_type = || data.content_type.to_string();
    let decoded = other(data).ok_or_else(|| DecodeError::UnknownContentType {
        event_type: event_type(),
        version,
        content_type: content_type(),
    })?;
    decoded.map_err(|source| DecodeError::BadData {
        event_type: event_type(),
        version,
        content_type: content_type(),
        source,
    })
}
