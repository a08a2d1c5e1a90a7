//! Events that belong together: what one aggregate, projection or process understands.
//!
//! Owns: [`EventSet`], [`EventTypes`], and [`Events`], several of one set. Not here: single events.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use gesta_store::{EventType, InvalidName, RecordedEvent};
use serde::{Deserialize, Serialize};

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
/// A set that no longer understands a type of old declares what becomes of it, by type:
/// `ignore("…")` goes past it, `replaced(Old)` reads it as any number of events of the set, through
/// `From<Old> for Vec<Set>`. And where another category has events of the same names,
/// `categories("…")` says which are meant.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-opened-and-left")]
/// struct DoorOpenedAndLeft;
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(EventSet, Clone, Debug, PartialEq)]
/// #[events(ignore("door-painted"), replaced(DoorOpenedAndLeft), categories("door"))]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// impl From<DoorOpenedAndLeft> for Vec<DoorEvent> {
///     fn from(_: DoorOpenedAndLeft) -> Self {
///         vec![DoorOpened.into(), DoorOpened.into()]
///     }
/// }
///
/// let mut read = Vec::new();
/// DoorEvent::decode_each("door-opened-and-left", 1, b"null", &mut |event| read.push(event))?;
/// assert_eq!(read.len(), 2);
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
    /// The event types of the set, in the order of its variants, then those that it has replaced.
    const NAMES: &'static [&'static str];
    /// Event types that a fold goes past, since the set no longer understands them.
    const IGNORED: &'static [&'static str] = &[];
    /// The categories whose events are meant, where other categories have events of the same
    /// names; empty means any.
    const CATEGORIES: &'static [&'static str] = &[];

    /// Reads the stored form of an event of the set.
    ///
    /// # Errors
    /// [`DecodeError`] when the type or the version is unknown, or the bytes are not of it.
    fn decode(event_type: &str, version: u16, data: &[u8]) -> Result<Self, DecodeError>;

    /// Reads the stored form as the events that it means today: one, unless an upcaster or a
    /// replacement drops or splits it.
    ///
    /// # Errors
    /// [`DecodeError`] when the type or the version is unknown, or the bytes are not of it.
    fn decode_each(
        event_type: &str,
        version: u16,
        data: &[u8],
        each: &mut dyn FnMut(Self),
    ) -> Result<(), DecodeError> {
        each(Self::decode(event_type, version, data)?);
        Ok(())
    }

    /// Writes the event.
    ///
    /// # Errors
    /// [`EncodeError`] when a tag is not one, or the event has no form that can be read back.
    fn encode(&self) -> Result<EncodedEvent, EncodeError>;

    /// Adds each event of the set to a registry.
    fn register(registry: &mut Registry);

    /// The event types of the set, as a filter wants them.
    ///
    /// # Errors
    /// [`InvalidName`] when a hand-written event has a name that no store accepts.
    fn event_types() -> Result<Vec<EventType>, InvalidName> {
        let names: BTreeSet<&str> = Self::NAMES.iter().copied().collect();
        names.into_iter().map(EventType::new).collect()
    }
}

/// The event types of a set with the versions that can be read: what a read model stores of the
/// set that fills it, so that a set which has grown since is noticed.
///
/// The JSON form is stable: an object of lists, sorted by name.
///
/// ```
/// use gesta::{EventTypes, prelude::*};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-closed")]
/// struct DoorClosed;
///
/// #[derive(EventSet, Clone)]
/// enum Before {
///     Opened(DoorOpened),
/// }
///
/// #[derive(EventSet, Clone)]
/// enum Now {
///     Opened(DoorOpened),
///     Closed(DoorClosed),
/// }
///
/// let (before, now) = (EventTypes::of::<Before>(), EventTypes::of::<Now>());
/// assert_eq!(now.added_since(&before).collect::<Vec<_>>(), ["door-closed"]);
/// assert_eq!(now.to_string(), "door-closed (1), door-opened (1)");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTypes(BTreeMap<String, Vec<u16>>);

impl EventTypes {
    /// The event types of a set.
    #[must_use]
    pub fn of<E: EventSet>() -> Self {
        let registry = Registry::of::<E>();
        let versions = |name| registry.versions(name).iter().map(|shape| shape.version).collect();
        Self(registry.names().map(|name| (name.to_owned(), versions(name))).collect())
    }

    /// The types that an older set does not have: their events never reached whatever that set
    /// has filled.
    pub fn added_since<'a>(&'a self, older: &'a Self) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter(|name| !older.0.contains_key(*name)).map(String::as_str)
    }
}

impl fmt::Display for EventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, versions)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ", " };
            let versions: Vec<String> = versions.iter().map(u16::to_string).collect();
            write!(f, "{separator}{name} ({})", versions.join(", "))?;
        }
        Ok(())
    }
}

/// Whether a recorded event is of a category that a set means.
pub(crate) fn is_of_a_category<E: EventSet>(event: &RecordedEvent) -> bool {
    let is_meant = || {
        let category = event.stream.category();
        category.is_some_and(|category| E::CATEGORIES.contains(&category.as_str()))
    };
    E::CATEGORIES.is_empty() || is_meant()
}

/// Reads a recorded event of a set, which is JSON, as the one event that it is.
pub(crate) fn decode_recorded<E: EventSet>(event: &RecordedEvent) -> Result<E, DecodeError> {
    check_json::<E>(event)?;
    E::decode(event.event_type.as_str(), event.schema_version, &event.data)
}

/// Reads a recorded event of a set as the events that it means today; none where it is of a type
/// that the set ignores.
pub(crate) fn decode_each<E: EventSet>(
    event: &RecordedEvent,
    each: &mut dyn FnMut(E),
) -> Result<(), DecodeError> {
    let event_type = event.event_type.as_str();
    if E::IGNORED.contains(&event_type) {
        return Ok(());
    }
    check_json::<E>(event)?;
    E::decode_each(event_type, event.schema_version, &event.data, each)
}

fn check_json<E: EventSet>(event: &RecordedEvent) -> Result<(), DecodeError> {
    let event_type = event.event_type.as_str();
    if event.content_type.is_json() || !E::NAMES.contains(&event_type) {
        return Ok(());
    }
    let content_type = event.content_type.as_str().to_owned();
    Err(DecodeError::NotJson { event_type: event_type.to_owned(), content_type })
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
