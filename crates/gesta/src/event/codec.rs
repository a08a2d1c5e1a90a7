//! Codecs: encodings of events other than JSON.
//!
//! Owns: [`EventCodec`], and [`EventData`], stored data with its content type. Invariant: the
//! content type of stored data decides how it is decoded; JSON is decoded for every event. Not
//! here: the check that encoded data decodes (`encoded`).

use std::{error::Error, fmt};

use gesta_store::{ContentType, RecordedEvent};
use serde::{Serialize, de::DeserializeOwned};

/// Stored data of an event, with its content type.
///
/// ```
/// use gesta::{EventData, store::ContentType};
///
/// let json = EventData::json(br#"{"to":"ann"}"#);
/// assert_eq!(json.content_type, &ContentType::JSON);
/// assert_eq!(EventData::from(r#"{"to":"ann"}"#), json);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventData<'d> {
    /// Media type of the bytes.
    pub content_type: &'d ContentType,
    /// The bytes.
    pub bytes: &'d [u8],
}

static JSON: ContentType = ContentType::JSON;

impl<'d> EventData<'d> {
    /// Creates data in JSON.
    #[must_use]
    pub const fn json(bytes: &'d [u8]) -> Self {
        Self { content_type: &JSON, bytes }
    }
}

impl<'d> From<&'d str> for EventData<'d> {
    fn from(json: &'d str) -> Self {
        Self::json(json.as_bytes())
    }
}

impl<'d> From<&'d RecordedEvent> for EventData<'d> {
    fn from(event: &'d RecordedEvent) -> Self {
        Self { content_type: &event.content_type, bytes: &event.data }
    }
}

impl fmt::Debug for EventData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes.len(), self.content_type)
    }
}

/// An encoding of events other than JSON, which an event names: `#[event(codec = Cbor)]`.
///
/// An event with a codec still decodes JSON, so events that were recorded before it had one stay
/// readable. Older versions of an event have the codecs of their own types.
///
/// ```
/// use gesta::{CodecError, EventCodec, EventData, prelude::*};
/// use serde::de::DeserializeOwned;
///
/// /// JSON that people read.
/// struct Pretty;
///
/// impl EventCodec for Pretty {
///     const CONTENT_TYPE: &'static str = "text/vnd.pretty";
///
///     fn encode<E: Serialize>(event: &E) -> Result<Vec<u8>, CodecError> {
///         Ok(serde_json::to_vec_pretty(event)?)
///     }
///
///     fn decode<E: DeserializeOwned>(data: EventData<'_>) -> Result<E, CodecError> {
///         Ok(serde_json::from_slice(data.bytes)?)
///     }
/// }
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "parcel-sent", codec = Pretty)]
/// struct ParcelSent {
///     to: String,
/// }
///
/// let sent = ParcelSent { to: "ann".to_owned() };
/// let encoded = EncodedEvent::of(&sent)?;
/// assert_eq!(encoded.content_type.as_str(), "text/vnd.pretty");
/// assert_eq!(encoded.data, "{\n  \"to\": \"ann\"\n}");
/// assert_eq!(ParcelSent::upcast(1, r#"{"to":"ann"}"#.into())?, sent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event codec",
    note = "implement `gesta::EventCodec` for it, or remove `codec = …` for JSON"
)]
pub trait EventCodec: 'static {
    /// Media type of the data that [`encode`](Self::encode) returns.
    const CONTENT_TYPE: &'static str;

    /// Returns whether [`decode`](Self::decode) decodes a content type. Defaults to its own.
    #[must_use]
    fn reads(content_type: &ContentType) -> bool {
        content_type.as_str() == Self::CONTENT_TYPE
    }

    /// Encodes an event.
    ///
    /// # Errors
    /// The error of the encoding. The command fails, and nothing is appended.
    fn encode<E: Serialize>(event: &E) -> Result<Vec<u8>, CodecError>;

    /// Decodes an event.
    ///
    /// # Errors
    /// The error of the encoding. The event counts as undecodable.
    fn decode<E: DeserializeOwned>(data: EventData<'_>) -> Result<E, CodecError>;
}

/// An error of a codec.
///
/// ```
/// let error: gesta::CodecError = "the data ends early".into();
/// assert_eq!(error.to_string(), "the data ends early");
/// ```
pub type CodecError = Box<dyn Error + Send + Sync>;
