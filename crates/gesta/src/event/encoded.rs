//! The stored form of an event, checked to be decodable.

use bytes::Bytes;
use gesta_store::{EventType, Tag};

use super::{DecodeError, EncodeError, Event};
use crate::json;

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
    /// Encodes an event and checks that the result decodes, which costs one decoding.
    ///
    /// # Errors
    /// [`EncodeError`] if a tag is invalid, or the event has no JSON form that can be decoded: a
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

/// Checks that encoded data decodes. An event that does not would block its stream forever.
fn prove_readable<E: Event>(data: &[u8]) -> Result<(), EncodeError> {
    match E::upcast(E::VERSION, data) {
        Ok(_) => Ok(()),
        Err(DecodeError::BadPayload { source, .. }) => {
            Err(json::not_readable::<E>(E::NAME, data, source).into())
        }
        Err(other) => Err(EncodeError::Unreadable { event_type: E::NAME, source: other }),
    }
}
