//! The stored form of an event, checked to be decodable.

use std::fmt;

use bytes::Bytes;
use gesta_store::{ContentType, EventId, EventType, NewEvent, Tag};

use super::{DecodeError, EncodeError, Event, EventData};
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
#[non_exhaustive]
pub struct EncodedEvent {
    /// Event type.
    pub event_type: EventType,
    /// Schema version, from 1.
    pub schema_version: u16,
    /// The tags by which queries and append conditions find it.
    pub tags: Vec<Tag>,
    /// Media type of the data: JSON, unless the event has a codec.
    pub content_type: ContentType,
    /// The event in that form.
    pub data: Bytes,
}

impl EncodedEvent {
    /// Encodes an event and checks that the result decodes, which costs one decoding.
    ///
    /// # Errors
    /// [`EncodeError`] if a tag is invalid, or the event has no stored form that can be decoded: a
    /// number is not finite, a value is nested too deeply, or the type does not accept its own
    /// output.
    pub fn of<E: Event>(event: &E) -> Result<Self, EncodeError> {
        let (content_type, data) = event.to_data()?;
        prove_readable::<E>(EventData { content_type: &content_type, bytes: &data })?;
        Ok(Self {
            event_type: EventType::new(E::NAME)?,
            schema_version: E::VERSION,
            tags: event.tags()?,
            content_type,
            data: data.into(),
        })
    }

    /// Makes a new event of it, without metadata and related ids.
    #[must_use]
    pub fn with_id(self, id: EventId) -> NewEvent {
        let Self { event_type, schema_version, tags, content_type, data } = self;
        NewEvent::new(id, event_type, content_type, data)
            .schema_version(schema_version)
            .tagged(tags)
    }
}

/// A check of encoded events.
pub(crate) trait CheckEvent: fmt::Debug + Send + Sync {
    /// Refuses an event by an error.
    fn check(&self, event: &EncodedEvent) -> Result<(), EncodeError>;
}

/// Checks that encoded data decodes. An event that does not would block its stream forever.
fn prove_readable<E: Event>(data: EventData<'_>) -> Result<(), EncodeError> {
    match E::upcast(E::VERSION, data) {
        Ok(_) => Ok(()),
        Err(DecodeError::BadPayload { source, .. }) => {
            Err(json::not_readable::<E>(E::NAME, data.bytes, source).into())
        }
        Err(other) => Err(EncodeError::Unreadable { event_type: E::NAME, source: other }),
    }
}
