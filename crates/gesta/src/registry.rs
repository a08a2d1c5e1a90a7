//! The registry: every event that a program knows, by name and version.
//!
//! Owns: which names and versions there are, and that no two types share a name. Not here: reading
//! events of one set (the set itself does), the lock file (the test kit).

use std::{any::TypeId, collections::BTreeMap};

use serde_json::Value;

use crate::{DecodeError, EncodeError, Event, EventSet, EventShape};

/// Every event that a program knows.
///
/// ```
/// use gesta::{Registry, prelude::*};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "door-opened")]
/// struct DoorOpened {
///     key: String,
/// }
///
/// #[derive(EventSet, Clone)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// let registry = Registry::of::<DoorEvent>();
/// registry.check()?;
/// assert_eq!(registry.names().collect::<Vec<_>>(), ["door-opened"]);
/// assert!(registry.read("door-opened", 1, br#"{"key":"gold"}"#).is_ok());
/// assert!(registry.read("door-opened", 2, br#"{"key":"gold"}"#).is_err());
/// # Ok::<(), gesta::NameTwice>(())
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    events: BTreeMap<&'static str, RegisteredEvent>,
    twice: Option<NameTwice>,
}

/// What is known of one event type.
#[derive(Debug)]
struct RegisteredEvent {
    type_id: TypeId,
    type_name: &'static str,
    shapes: Vec<EventShape>,
    examples: Vec<Value>,
    read: Read,
}

/// Reads stored bytes of a version and gives what would be written today.
type Read = fn(u16, &[u8]) -> Result<Value, ReadError>;

/// Why stored bytes of an event type cannot be read, or not be written again.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They cannot be read.
    #[error("cannot be read")]
    Decode(#[from] DecodeError),
    /// They can, but not be written again.
    #[error("cannot be written again")]
    Encode(#[from] EncodeError),
}

/// Two types claim one name, so it depends on the reader what the stored bytes mean.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event type {name} is both {first} and {second}")]
pub struct NameTwice {
    /// The name.
    pub name: &'static str,
    /// The type that had it first.
    pub first: &'static str,
    /// The other type.
    pub second: &'static str,
}

impl Registry {
    /// A registry that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The events of a set.
    #[must_use]
    pub fn of<S: EventSet>() -> Self {
        Self::new().and::<S>()
    }

    /// Also the events of another set. An event may be in several.
    #[must_use]
    pub fn and<S: EventSet>(mut self) -> Self {
        S::register(&mut self);
        self
    }

    /// With an example of an event: the lock file keeps its stored form, so that a change anywhere
    /// in the type, however deep, is found.
    ///
    /// # Errors
    /// [`EncodeError`] when the event has no JSON form.
    pub fn example<E: Event>(mut self, event: &E) -> Result<Self, EncodeError> {
        let value = to_value(event)?;
        self.add::<E>();
        if let Some(known) = self.events.get_mut(E::NAME) {
            known.examples.push(value);
        }
        Ok(self)
    }

    /// Adds one event; the first type of a name stays, and [`check`](Self::check) tells.
    pub fn add<E: Event>(&mut self) {
        let known = self.events.entry(E::NAME).or_insert_with(RegisteredEvent::of::<E>);
        if known.type_id == TypeId::of::<E>() || self.twice.is_some() {
            return;
        }
        let second = std::any::type_name::<E>();
        self.twice = Some(NameTwice { name: E::NAME, first: known.type_name, second });
    }

    /// Whether each name has one meaning.
    ///
    /// # Errors
    /// [`NameTwice`] with the first name that has two.
    pub fn check(&self) -> Result<(), NameTwice> {
        self.twice.clone().map_or(Ok(()), Err)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.events.keys().copied()
    }

    /// Every version of an event that can be read, oldest first; none of an unknown event.
    #[must_use]
    pub fn versions(&self, name: &str) -> &[EventShape] {
        self.events.get(name).map_or(&[], |known| &known.shapes)
    }

    /// The stored form of the examples of an event, in the version that is written today.
    #[must_use]
    pub fn examples(&self, name: &str) -> &[Value] {
        self.events.get(name).map_or(&[], |known| &known.examples)
    }

    /// Reads stored bytes and gives what the event would be written as today.
    ///
    /// # Errors
    /// [`ReadError`] when the name or version is unknown, or the bytes are not of it.
    pub fn read(&self, name: &str, version: u16, data: &[u8]) -> Result<Value, ReadError> {
        match self.events.get(name) {
            Some(known) => (known.read)(version, data),
            None => Err(DecodeError::unknown_event(name).into()),
        }
    }
}

impl RegisteredEvent {
    fn of<E: Event>() -> Self {
        Self {
            type_id: TypeId::of::<E>(),
            type_name: std::any::type_name::<E>(),
            shapes: E::shapes(),
            examples: Vec::new(),
            read: |version, data| Ok(to_value(&E::upcast(version, data)?)?),
        }
    }
}

fn to_value<E: Event>(event: &E) -> Result<Value, EncodeError> {
    serde_json::to_value(event).map_err(|source| EncodeError::Json { what: E::NAME, source })
}
