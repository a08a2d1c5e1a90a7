//! Recorded events with their types: what projections, processes and histories see.
//!
//! Owns: [`Recorded`], and [`EventMetadata`], the JSON that says how an event came about. Always
//! holds: metadata that somebody else wrote never hinder reading the event. Not here: the bytes.

use bytes::Bytes;
use gesta_store::{
    CausationId, CorrelationId, EventId, Position, RecordedAt, RecordedEvent, Revision, StreamName,
};
use serde::{Deserialize, Serialize};

use crate::{
    CommandId, EventSet, PayloadDigest, UndecodableEvent,
    event_set::{decode_each, decode_recorded, is_of_a_category},
};

/// A recorded event of a set: what happened, where, when, and why.
///
/// ```
/// use gesta::{Recorded, prelude::*};
/// use gesta::store::{ContentType, RecordedAt, RecordedEvent};
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(EventSet, Clone, Debug, PartialEq)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// let stored = RecordedEvent {
///     stream: StreamName::new("door-1")?,
///     revision: Revision::FIRST,
///     position: Position::new(7),
///     recorded_at: RecordedAt::from_micros(0),
///     id: EventId::derived_from("request-42", 0),
///     event_type: EventType::new("door-opened")?,
///     schema_version: 1,
///     content_type: ContentType::JSON,
///     data: "null".into(),
///     metadata: r#"{"actor":"ann"}"#.into(),
///     tags: vec![],
///     correlation_id: None,
///     causation_id: None,
/// };
/// let opened = Recorded::<DoorEvent>::read(&stored)?;
/// assert_eq!(opened.event, DoorEvent::Opened(DoorOpened));
/// assert_eq!(opened.metadata.actor.as_deref(), Some("ann"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<E> {
    /// What happened.
    pub event: E,
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
    /// Which conversation it belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// What caused it.
    pub causation_id: Option<CausationId>,
    /// Who asked for it, by which command.
    pub metadata: EventMetadata,
}

impl<E: EventSet> Recorded<E> {
    /// Reads a recorded event of the set.
    ///
    /// # Errors
    /// [`UndecodableEvent`] with the place, when the event is not of the set or its bytes are not
    /// what they claim to be.
    pub fn read(stored: &RecordedEvent) -> Result<Self, UndecodableEvent> {
        let event = decode_recorded(stored).map_err(|error| error.of(stored))?;
        Ok(Self::at(stored, event))
    }

    /// Reads a recorded event as the events that it means today, all at its place: one, unless an
    /// upcaster drops or splits it, or the set ignores its type.
    ///
    /// # Errors
    /// [`UndecodableEvent`] with the place, when the event is not of the set or its bytes are not
    /// what they claim to be.
    pub fn read_each(
        stored: &RecordedEvent,
        each: &mut dyn FnMut(Self),
    ) -> Result<(), UndecodableEvent> {
        let read = decode_each(stored, &mut |event| each(Self::at(stored, event)));
        read.map_err(|error| error.of(stored))
    }

    /// Reads recorded events as the events that they mean today, in order. Those of categories
    /// that the set does not mean are left out.
    ///
    /// # Errors
    /// [`UndecodableEvent`] of the first that cannot be read.
    pub(crate) fn read_all<'e>(
        stored: impl IntoIterator<Item = &'e RecordedEvent>,
    ) -> Result<Vec<Self>, UndecodableEvent> {
        let mut events = Vec::new();
        for event in stored.into_iter().filter(|event| is_of_a_category::<E>(event)) {
            Self::read_each(event, &mut |event| events.push(event))?;
        }
        Ok(events)
    }

    fn at(stored: &RecordedEvent, event: E) -> Self {
        Self {
            event,
            stream: stored.stream.clone(),
            revision: stored.revision,
            position: stored.position,
            recorded_at: stored.recorded_at,
            id: stored.id,
            correlation_id: stored.correlation_id.clone(),
            causation_id: stored.causation_id.clone(),
            metadata: EventMetadata::from_json(&stored.metadata),
        }
    }
}

/// How an event came about: the command, and who gave it.
///
/// ```
/// use gesta::EventMetadata;
///
/// let metadata = EventMetadata { actor: Some("ann".to_owned()), ..EventMetadata::default() };
/// assert_eq!(metadata.to_json(), r#"{"actor":"ann"}"#);
/// assert_eq!(EventMetadata::from_json(&metadata.to_json()), metadata);
/// assert_eq!(EventMetadata::from_json(b"of another program"), EventMetadata::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventMetadata {
    /// The command that the event came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// The name of that command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The digest of that command's payload: what tells a repeat from another use of its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_digest: Option<PayloadDigest>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Whether all that was in the stream before was hidden, so that its state begins here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins_anew: bool,
}

impl EventMetadata {
    /// The JSON form, an object; what is not known is left out.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).expect("an object of texts has a JSON form").into()
    }

    /// Reads the JSON form; what another program wrote in its own way says nothing.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }
}
