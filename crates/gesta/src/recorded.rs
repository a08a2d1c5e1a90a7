//! Recorded events with their types, as projections, processes and histories see them.
//!
//! Owns: [`Recorded`]. Not here: the stored bytes, and the form of the metadata.

use gesta_store::{
    CausationId, CorrelationId, EventId, Position, RecordedAt, RecordedEvent, Revision, StreamName,
};

use crate::{
    EventSet, RecordedMetadata, UndecodableEvent,
    event::{decode_each, decode_recorded, is_of_a_category},
};

/// A recorded event of a set, with its place, time, causes and metadata.
///
/// ```
/// use gesta::{Recorded, prelude::*};
/// use gesta::store::{NewEvent, RecordedEvent};
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
/// let id = EventId::derived_from("request-42", 0);
/// let new = NewEvent::json(id, EventType::new("door-opened")?, "null")
///     .metadata(r#"{"actor":"ann"}"#);
/// let (door, time) = (StreamName::new("door-1")?, RecordedAt::from_micros(0));
/// let stored = RecordedEvent::new(new, door, Revision::FIRST, Position::new(7), time);
/// let opened = Recorded::<DoorEvent>::read(&stored)?;
/// assert_eq!(opened.event, DoorEvent::Opened(DoorOpened));
/// assert_eq!(opened.metadata.actor.as_deref(), Some("ann"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded<E> {
    /// The event.
    pub event: E,
    /// Stream of the event.
    pub stream: StreamName,
    /// Revision within the stream.
    pub revision: Revision,
    /// Position within the store.
    pub position: Position,
    /// Time at which the store recorded it.
    pub recorded_at: RecordedAt,
    /// Id of the event.
    pub id: EventId,
    /// Id of the conversation that it belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// Id of the event or command that caused it.
    pub causation_id: Option<CausationId>,
    /// The command and the actor behind it, and entries of the application.
    pub metadata: RecordedMetadata,
}

impl<E: EventSet> Recorded<E> {
    /// Decodes a recorded event of the set.
    ///
    /// # Errors
    /// [`UndecodableEvent`] with its place, if the event is not of the set or its data does not
    /// decode.
    pub fn read(stored: &RecordedEvent) -> Result<Self, UndecodableEvent> {
        let event = decode_recorded(stored).map_err(|error| error.of(stored))?;
        Ok(Self::at(stored, event))
    }

    /// Decodes a recorded event into its current events, all at its place: one, unless an upcaster
    /// drops or splits it, or the set ignores its type.
    ///
    /// # Errors
    /// [`UndecodableEvent`] with its place, if the event is not of the set or its data does not
    /// decode.
    pub fn read_each(
        stored: &RecordedEvent,
        each: &mut dyn FnMut(Self),
    ) -> Result<(), UndecodableEvent> {
        let read = decode_each(stored, &mut |event| each(Self::at(stored, event)));
        read.map_err(|error| error.of(stored))
    }

    /// Decodes recorded events into their current events, in order. Leaves out events of categories
    /// outside the set.
    ///
    /// # Errors
    /// [`UndecodableEvent`] for the first that does not decode.
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
            metadata: RecordedMetadata::stored(stored.metadata.clone()),
        }
    }
}
