//! Events that belong together: what one aggregate, projection or process understands.
//!
//! Owns: [`EventSet`], and [`Events`], several of one set. Not here: single events.

use gesta_store::{ContentType, EventType, InvalidName, RecordedEvent};

use crate::{DecodeError, EncodeError, EncodedEvent, Registry};

/// The events that one aggregate, projection or process understands: an enum with one event in
/// each variant. Derive it.
///
/// ```
/// use gesta::prelude::*;
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
/// assert_eq!(DoorEvent::decode("door-opened", 1, b"null")?, DoorEvent::Opened(DoorOpened));
/// assert!(DoorEvent::decode("door-painted", 1, b"null").is_err());
/// # Ok::<(), gesta::DecodeError>(())
/// ```
///
/// Two events of one name in a set are refused by the compiler:
///
/// ```compile_fail
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-opened")]
/// struct DoorOpenedWide;
///
/// #[derive(EventSet, Clone)]
/// enum DoorEvent {
///     Opened(DoorOpened),
///     OpenedWide(DoorOpenedWide),
/// }
/// ```
pub trait EventSet: Clone + Send + Sync + 'static {
    /// The event types of the set, in the order of its variants.
    const NAMES: &'static [&'static str];

    /// Reads the stored form of an event of the set.
    ///
    /// # Errors
    /// [`DecodeError`] when the type or the version is unknown, or the bytes are not of it.
    fn decode(event_type: &str, version: u16, data: &[u8]) -> Result<Self, DecodeError>;

    /// Writes the event.
    ///
    /// # Errors
    /// [`EncodeError`] when a tag is not one, or the type cannot be written as JSON.
    fn encode(&self) -> Result<EncodedEvent, EncodeError>;

    /// Adds each event of the set to a registry.
    fn register(registry: &mut Registry);

    /// The event types of the set, as a filter wants them.
    ///
    /// # Errors
    /// [`InvalidName`] when a hand-written event has a name that no store accepts.
    fn event_types() -> Result<Vec<EventType>, InvalidName> {
        Self::NAMES.iter().map(|name| EventType::new(*name)).collect()
    }
}

/// Reads a recorded event of a set, which is JSON.
pub(crate) fn decode_recorded<E: EventSet>(event: &RecordedEvent) -> Result<E, DecodeError> {
    let event_type = event.event_type.as_str();
    if E::NAMES.contains(&event_type) && event.content_type != ContentType::JSON {
        let content_type = event.content_type.as_str().to_owned();
        return Err(DecodeError::NotJson { event_type: event_type.to_owned(), content_type });
    }
    E::decode(event_type, event.schema_version, &event.data)
}

/// What was decided about one aggregate: events in order, possibly none.
///
/// One event becomes `Events` by `.into()`.
///
/// ```
/// use gesta::prelude::*;
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
/// let once: Events<DoorEvent> = DoorOpened.into();
/// assert_eq!(once, Events::none().and(DoorOpened));
/// assert_eq!(once.as_slice().len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "events that are not returned from `decide` never happen"]
pub struct Events<E>(Vec<E>);

impl<E> Events<E> {
    /// Nothing happens.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Then this happens, too.
    pub fn and(mut self, event: impl Into<E>) -> Self {
        self.0.push(event.into());
        self
    }

    /// The events, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        &self.0
    }
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self::none()
    }
}

impl<E> From<Vec<E>> for Events<E> {
    fn from(events: Vec<E>) -> Self {
        Self(events)
    }
}

impl<E, const COUNT: usize> From<[E; COUNT]> for Events<E> {
    fn from(events: [E; COUNT]) -> Self {
        Self(events.into())
    }
}

impl<E> FromIterator<E> for Events<E> {
    fn from_iter<I: IntoIterator<Item = E>>(events: I) -> Self {
        Self(events.into_iter().collect())
    }
}

impl<E> IntoIterator for Events<E> {
    type Item = E;
    type IntoIter = std::vec::IntoIter<E>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
