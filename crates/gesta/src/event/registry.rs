//! The registry: every event that a program knows, by name and version.
//!
//! Owns: the names and versions, and the check that no two types share a name. Not here: decoding
//! events of one set (the set itself, which also adds its events), the lock file (the test kit).

use std::{any::TypeId, collections::BTreeMap};

use serde_json::Value;

use super::{
    DecodeError, DuplicateEventName, EncodeError, Event, EventData, EventShape, EventVersion,
    PersonalField,
};
use crate::{TypeShape, json};

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
/// assert!(registry.read("door-opened", 1, r#"{"key":"gold"}"#.into()).is_ok());
/// assert!(registry.read("door-opened", 2, r#"{"key":"gold"}"#.into()).is_err());
/// # Ok::<(), gesta::DuplicateEventName>(())
/// ```
#[derive(Debug, Default)]
pub struct Registry {
    events: BTreeMap<&'static str, RegisteredEvent>,
    processes: BTreeMap<&'static str, fn() -> ProcessShapes>,
    twice: Option<DuplicateEventName>,
}

/// One event type.
#[derive(Debug)]
struct RegisteredEvent {
    type_id: TypeId,
    type_name: &'static str,
    shapes: Vec<EventShape>,
    /// Functions, since tracing a whole type takes time.
    versions: Vec<fn() -> Vec<EventVersion>>,
    examples: Vec<Value>,
    /// Those of all versions.
    personal: Vec<PersonalField>,
    read: Read,
    /// True if sets only read it, through a replacement.
    is_replaced: bool,
    /// An older type of the same name that sets read through a replacement, with its version.
    replaced: Option<(u16, Read)>,
}

/// The types that a manager's definition writes and reads.
#[derive(Clone, Debug)]
pub(crate) struct ProcessShapes {
    /// Event types that it handles or declares to ignore.
    pub(crate) takes: Vec<&'static str>,
    /// The definition ignores stored data that it does not understand.
    pub(crate) ignores: bool,
    pub(crate) timer: &'static str,
    /// Versions of its timers.
    pub(crate) timers: Vec<(u16, TypeShape)>,
    pub(crate) commands: Vec<(&'static str, TypeShape)>,
}

/// Decodes stored data of a version and encodes the result in the current version.
type Read = fn(u16, EventData<'_>) -> Result<Value, ReadError>;

/// An error of decoding stored data, or of encoding the result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The data does not decode.
    #[error("does not decode")]
    Decode(#[from] DecodeError),
    /// The data decodes, but the result does not encode.
    #[error("decodes, but does not encode")]
    Encode(#[from] EncodeError),
}

impl Registry {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the stored types of a process manager, computed when they are asked for.
    pub(crate) fn add_process(&mut self, name: &'static str, shapes: fn() -> ProcessShapes) {
        self.processes.insert(name, shapes);
    }

    /// Returns the process managers by name, with their stored types.
    pub(crate) fn processes(&self) -> BTreeMap<&'static str, ProcessShapes> {
        self.processes.iter().map(|(name, shapes)| (*name, shapes())).collect()
    }

    /// Adds an example of an event. The lock file keeps its stored form, so that a change at any
    /// depth of the type is detected.
    ///
    /// # Errors
    /// [`EncodeError`] if the event has no JSON form.
    pub fn example<E: Event>(mut self, event: &E) -> Result<Self, EncodeError> {
        let value = to_value(event)?;
        self.add::<E>();
        if let Some(known) = self.events.get_mut(E::NAME) {
            known.examples.push(value);
        }
        Ok(self)
    }

    /// Adds one event. If the name is taken, the first type stays and [`check`](Self::check) fails.
    pub fn add<E: Event>(&mut self) {
        let known = self.events.entry(E::NAME).or_insert_with(RegisteredEvent::of::<E>);
        if known.type_id == TypeId::of::<E>() || self.twice.is_some() {
            return;
        }
        let second = std::any::type_name::<E>();
        self.twice = Some(DuplicateEventName { name: E::NAME, first: known.type_name, second });
    }

    /// Adds an event that a set reads through a replacement: stored, but no longer written.
    pub fn add_replaced<E: Event>(&mut self) {
        let known = self
            .events
            .entry(E::NAME)
            .or_insert_with(|| RegisteredEvent { is_replaced: true, ..RegisteredEvent::of::<E>() });
        // Versions of the replaced type must precede those of the set's member.
        let first = known.shapes.first().map_or(0, |shape| shape.version);
        if known.type_id != TypeId::of::<E>() {
            known.personal.extend(E::personal_fields());
        }
        if known.type_id == TypeId::of::<E>() || E::VERSION >= first {
            return;
        }
        // A member of the set has the same name: the older versions precede its own.
        known.shapes.splice(0..0, E::shapes());
        known.versions.insert(0, E::versions);
        known.replaced = Some((E::VERSION, read::<E>));
    }

    /// Checks that each name has one type.
    ///
    /// # Errors
    /// [`DuplicateEventName`] for the first name with two types.
    pub fn check(&self) -> Result<(), DuplicateEventName> {
        self.twice.clone().map_or(Ok(()), Err)
    }

    /// Returns the names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.events.keys().copied()
    }

    /// Returns every version of an event that decodes, oldest first; empty for an unknown event.
    #[must_use]
    pub fn versions(&self, name: &str) -> &[EventShape] {
        self.events.get(name).map_or(&[], |known| &known.shapes)
    }

    /// Returns the fields with personal data of all versions of an event; empty for an unknown
    /// event, whose [`versions`](Self::versions) are empty, too.
    #[must_use]
    pub fn personal_fields(&self, name: &str) -> &[PersonalField] {
        self.events.get(name).map_or(&[], |known| &known.personal)
    }

    /// Returns the versions of an event with the full shapes of their types, oldest first.
    #[must_use]
    pub fn type_shapes(&self, name: &str) -> Vec<EventVersion> {
        let known = self.events.get(name);
        known.map_or_else(Vec::new, |known| {
            known.versions.iter().flat_map(|versions| versions()).collect()
        })
    }

    /// Returns the names with the types written under them.
    pub(crate) fn written_types(
        &self,
    ) -> impl Iterator<Item = (&'static str, TypeId, &'static str)> {
        let written = self.events.iter().filter(|(_, known)| !known.is_replaced);
        written.map(|(name, known)| (*name, known.type_id, known.type_name))
    }

    /// Returns the stored form of an event's examples, in the current version.
    #[must_use]
    pub fn examples(&self, name: &str) -> &[Value] {
        self.events.get(name).map_or(&[], |known| &known.examples)
    }

    /// Decodes stored data and encodes the result in the current version.
    ///
    /// # Errors
    /// [`ReadError`] if the name or version is unknown, or the data does not decode.
    pub fn read(&self, name: &str, version: u16, data: EventData<'_>) -> Result<Value, ReadError> {
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
            personal: E::personal_fields(),
            read: read::<E>,
            is_replaced: false,
            replaced: None,
        }
    }
}

/// Decodes stored data and encodes the result in the current version; a list unless exactly one
/// event results.
fn read<E: Event>(version: u16, data: EventData<'_>) -> Result<Value, ReadError> {
    let mut written = Vec::new();
    E::upcast_each(version, data, &mut |event| written.push(to_value(&event)))?;
    let mut written = written.into_iter().collect::<Result<Vec<Value>, EncodeError>>()?;
    Ok(if written.len() == 1 { written.remove(0) } else { Value::Array(written) })
}

fn to_value<E: Event>(event: &E) -> Result<Value, EncodeError> {
    let json = json::to_json(E::NAME, event)?;
    serde_json::from_slice(&json)
        .map_err(|error| json::not_readable::<E>(E::NAME, &json, error).into())
}
