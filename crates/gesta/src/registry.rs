//! The registry: every event that a program knows, by name and version.
//!
//! Owns: which names and versions there are, and that no two types share a name. Not here: reading
//! events of one set (the set itself does), the lock file (the test kit).

use std::{any::TypeId, collections::BTreeMap};

use serde_json::Value;

use crate::{
    DecodeError, EncodeError, Event, EventSet, EventShape, EventVersion, ProcessManager, json,
    process::ProcessShapes,
};

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
    processes: BTreeMap<&'static str, fn() -> ProcessShapes>,
    twice: Option<NameTwice>,
}

/// What is known of one event type.
#[derive(Debug)]
struct RegisteredEvent {
    type_id: TypeId,
    type_name: &'static str,
    shapes: Vec<EventShape>,
    /// Made when they are asked for, since each type is looked at as a whole.
    versions: Vec<fn() -> Vec<EventVersion>>,
    examples: Vec<Value>,
    read: Read,
    /// Whether sets only read it, as events of their own.
    is_replaced: bool,
    /// An older type of the name, which sets read as events of their own, and its version.
    replaced: Option<(u16, Read)>,
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

/// Two types claim one name, so it depends on the reader what the stored bytes mean. Use one type,
/// rename one while nothing is stored, or let the sets that read them say which categories they
/// mean: `#[events(categories("order"))]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event type {name} is both {first} and {second}; rename one, or declare which categories the \
     sets that read it mean, as in #[events(categories(\"order\"))]"
)]
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

    /// Also what the instances of a process manager store: the events that they take, their timers
    /// and their commands.
    #[must_use]
    pub fn process<P: ProcessManager>(mut self) -> Self {
        self.processes.insert(P::NAME, ProcessShapes::of::<P>);
        self
    }

    /// The process managers, by name, with what their instances store.
    pub(crate) fn processes(&self) -> BTreeMap<&'static str, ProcessShapes> {
        self.processes.iter().map(|(name, shapes)| (*name, shapes())).collect()
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

    /// Adds an event that a set reads as others: it is stored, and not written any more.
    pub fn add_replaced<E: Event>(&mut self) {
        let known = self
            .events
            .entry(E::NAME)
            .or_insert_with(|| RegisteredEvent { is_replaced: true, ..RegisteredEvent::of::<E>() });
        let first = known.shapes.first().map_or(0, |shape| shape.version);
        if known.type_id == TypeId::of::<E>() || E::VERSION >= first {
            return;
        }
        // A member of the set has the name now: the old versions come before its own.
        known.shapes.splice(0..0, E::shapes());
        known.versions.insert(0, E::versions);
        known.replaced = Some((E::VERSION, read::<E>));
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

    /// The versions of an event with the whole shapes of their types, oldest first.
    #[must_use]
    pub fn type_shapes(&self, name: &str) -> Vec<EventVersion> {
        let known = self.events.get(name);
        known.map_or_else(Vec::new, |known| {
            known.versions.iter().flat_map(|versions| versions()).collect()
        })
    }

    /// The names with the types that are written under them.
    pub(crate) fn meanings(&self) -> impl Iterator<Item = (&'static str, TypeId, &'static str)> {
        let written = self.events.iter().filter(|(_, known)| !known.is_replaced);
        written.map(|(name, known)| (*name, known.type_id, known.type_name))
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
            Some(known) => match known.replaced {
                Some((newest, read)) if version <= newest => read(version, data),
                Some(_) | None => (known.read)(version, data),
            },
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
            versions: vec![E::versions],
            examples: Vec::new(),
            read: read::<E>,
            is_replaced: false,
            replaced: None,
        }
    }
}

/// What an event would be written as today; a list where it is not one event.
fn read<E: Event>(version: u16, data: &[u8]) -> Result<Value, ReadError> {
    let mut written = Vec::new();
    E::upcast_each(version, data, &mut |event| written.push(to_value(&event)))?;
    let mut written = written.into_iter().collect::<Result<Vec<Value>, EncodeError>>()?;
    Ok(if written.len() == 1 { written.remove(0) } else { Value::Array(written) })
}

fn to_value<E: Event>(event: &E) -> Result<Value, EncodeError> {
    let json = json::to_json(E::NAME, event)?;
    serde_json::from_slice(&json).map_err(|error| json::not_readable::<E>(E::NAME, &json, error))
}
