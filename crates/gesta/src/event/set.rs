//! Sets of events: those that one aggregate, projection or process understands.
//!
//! Owns: [`EventSet`]; [`EventTypes`], its types and versions; [`Events`], a list of events from
//! one set. Not here: single events ([`Event`]).
//!
//! [`Event`]: super::Event

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use gesta_store::{EventType, InvalidName, RecordedEvent};
use serde::{Deserialize, Serialize};

use super::{DecodeError, EncodeError, EncodedEvent, Event, EventData, Registry};

/// The events that one aggregate, projection or process understands: an enum with one event in each
/// variant, or a single event. Usually derived.
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
/// assert_eq!(DoorEvent::decode("door-opened", 1, "null".into())?, DoorEvent::Opened(DoorOpened));
/// assert!(DoorEvent::decode("door-painted", 1, "null".into()).is_err());
/// # Ok::<(), gesta::DecodeError>(())
/// ```
///
/// An event that stands alone is its own set: derive both on its struct.
///
/// ```
/// use gesta::prelude::*;
///
/// #[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// assert_eq!(DoorOpened::decode("door-opened", 1, "null".into())?, DoorOpened);
/// # Ok::<(), gesta::DecodeError>(())
/// ```
///
/// A set declares how to read event types that it no longer has as variants: `ignore("…")` skips
/// them, and `replaced(Old)` converts each into any number of current events through `From<Old> for
/// Vec<Set>`. If another category has events of the same names, `categories("…")` restricts the set
/// to the categories named.
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
/// let data = "null".into();
/// DoorEvent::decode_each("door-opened-and-left", 1, data, &mut |event| read.push(event))?;
/// assert_eq!(read.len(), 2);
/// # Ok::<(), gesta::DecodeError>(())
/// ```
///
/// Two events of one name in a set do not compile:
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event set",
    note = "derive it on an enum with one event per variant: `#[derive(EventSet, Clone)]`",
    note = "a set of a single event is that event: add `EventSet` to the derives of its struct"
)]
pub trait EventSet: Clone + Send + Sync + 'static {
    /// The event types of the set in the order of its variants, followed by the replaced ones.
    const NAMES: &'static [&'static str];
    /// Event types that are skipped, since the set no longer understands them.
    const IGNORED: &'static [&'static str] = &[];
    /// Categories that the set is restricted to; empty for any. Needed if other categories have
    /// events of the same names.
    const CATEGORIES: &'static [&'static str] = &[];

    /// Decodes a stored event of the set.
    ///
    /// # Errors
    /// [`DecodeError`] if the type or the version is unknown, or the data does not decode.
    fn decode(event_type: &str, version: u16, data: EventData<'_>) -> Result<Self, DecodeError>;

    /// Decodes a stored event into its current events: one, unless an upcaster or a replacement
    /// drops or splits it.
    ///
    /// # Errors
    /// [`DecodeError`] if the type or the version is unknown, or the data does not decode.
    fn decode_each(
        event_type: &str,
        version: u16,
        data: EventData<'_>,
        each: &mut dyn FnMut(Self),
    ) -> Result<(), DecodeError> {
        each(Self::decode(event_type, version, data)?);
        Ok(())
    }

    /// Encodes the event.
    ///
    /// # Errors
    /// [`EncodeError`] if a tag is invalid, or the event has no form that can be decoded.
    fn encode(&self) -> Result<EncodedEvent, EncodeError>;

    /// Adds each event of the set to a registry.
    fn register(registry: &mut Registry);

    /// Returns the event types of the set, sorted, without duplicates.
    ///
    /// # Errors
    /// [`InvalidName`] if a hand-written event has an invalid name.
    fn event_types() -> Result<Vec<EventType>, InvalidName> {
        // A replaced type may share its name with a variant.
        let names: BTreeSet<&str> = Self::NAMES.iter().copied().collect();
        names.into_iter().map(EventType::new).collect()
    }
}

/// A set with an event among its variants, so that decisions return it. Derived with the set.
///
/// ```
/// use gesta::{HasEvent, prelude::*};
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
/// fn opened<S: HasEvent<DoorOpened>>() -> S {
///     DoorOpened.into()
/// }
///
/// assert_eq!(opened::<DoorEvent>(), DoorEvent::Opened(DoorOpened));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{E}` is not an event of the set `{Self}`",
    label = "not an event of the set",
    note = "add a variant that holds it to `{Self}`, as in `Opened(DoorOpened)`, or use an event \
            of the set"
)]
pub trait HasEvent<E: Event>: EventSet + From<E> {}

impl Registry {
    /// Creates a registry with the events of a set.
    #[must_use]
    pub fn of<S: EventSet>() -> Self {
        Self::new().and::<S>()
    }

    /// Adds the events of another set. An event may be in several.
    #[must_use]
    pub fn and<S: EventSet>(mut self) -> Self {
        S::register(&mut self);
        self
    }
}

/// The event types of a set with the schema versions that it decodes.
///
/// A read model stores these to detect that its set has grown since.
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
    /// Returns the event types of a set.
    #[must_use]
    pub fn of<E: EventSet>() -> Self {
        let registry = Registry::of::<E>();
        let versions = |name| registry.versions(name).iter().map(|shape| shape.version).collect();
        Self(registry.names().map(|name| (name.to_owned(), versions(name))).collect())
    }

    /// Returns the types that an older set lacks. Their events never reached a read model filled
    /// with the older set.
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

/// Returns whether an event is in one of the categories of a set.
pub(crate) fn is_of_a_category<E: EventSet>(event: &RecordedEvent) -> bool {
    let is_meant = || {
        let category = event.stream.category();
        category.is_some_and(|category| E::CATEGORIES.contains(&category.as_str()))
    };
    E::CATEGORIES.is_empty() || is_meant()
}

/// Decodes a recorded event of a set that stands for exactly one event.
pub(crate) fn decode_recorded<E: EventSet>(event: &RecordedEvent) -> Result<E, DecodeError> {
    E::decode(event.event_type.as_str(), event.schema_version, event.into())
}

/// Decodes a recorded event into the current events of a set; none if the set ignores its type.
pub(crate) fn decode_each<E: EventSet>(
    event: &RecordedEvent,
    each: &mut dyn FnMut(E),
) -> Result<(), DecodeError> {
    let event_type = event.event_type.as_str();
    if E::IGNORED.contains(&event_type) {
        return Ok(());
    }
    E::decode_each(event_type, event.schema_version, event.into(), each)
}

/// The events decided for one aggregate, in order, possibly none.
///
/// A single event converts with `.into()`.
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
    /// No events.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds an event at the end.
    pub fn and(mut self, event: impl Into<E>) -> Self {
        self.0.push(event.into());
        self
    }

    /// Returns the events in order.
    #[must_use]
    pub fn as_slice(&self) -> &[E] {
        &self.0
    }
}

impl<S: HasEvent<E>, E: Event> From<E> for Events<S> {
    fn from(event: E) -> Self {
        Self(vec![event.into()])
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
