//! Metadata of events: the entries of the framework, and those of the application.
//!
//! Owns: [`EventMetadata`] and [`CustomMetadata`], and their JSON form; [`RecordedMetadata`], which
//! is decoded at its first use. Invariants: metadata
//! written by another program never prevents reading the event, and its entries are kept; an
//! application cannot write the entries of the framework. Not here: ids of the correlation and the
//! cause, which are fields of a stored event.

use std::{collections::BTreeMap, fmt, ops::Deref, sync::OnceLock};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::Value;

use crate::{CommandId, PayloadDigest, TenantId, command_id};

const COMMAND_ID: &str = "commandId";
const COMMAND: &str = "command";
const PAYLOAD_DIGEST: &str = "payloadDigest";
const ACTOR: &str = "actor";
const BEGINS_ANEW: &str = "beginsAnew";
/// The key of the tenant's id.
pub(crate) const TENANT: &str = "tenantId";

/// The metadata of an event: the command and the actor behind it, and entries of the application.
///
/// ```
/// use gesta::EventMetadata;
///
/// let metadata = EventMetadata::from_json(br#"{"actor":"ann","till":7}"#);
/// assert_eq!(metadata.actor.as_deref(), Some("ann"));
/// assert_eq!(metadata.custom.get::<u32>("till"), Some(7));
/// assert_eq!(metadata.to_json(), r#"{"actor":"ann","till":7}"#);
/// assert_eq!(EventMetadata::from_json(b"of another program"), EventMetadata::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventMetadata {
    /// Id of the command that led to the event.
    pub command_id: Option<CommandId>,
    /// Name of that command.
    pub command: Option<String>,
    /// Digest of that command's payload, which distinguishes a repeat from another use of its id.
    pub payload_digest: Option<PayloadDigest>,
    /// The actor on whose behalf the command was executed.
    pub actor: Option<String>,
    /// True if every earlier event of the stream was hidden, so that the state restarts at this
    /// one.
    pub begins_anew: bool,
    /// The tenant whose application appended the event
    /// ([`Builder::tenant`](crate::Builder::tenant)).
    pub tenant: Option<TenantId>,
    /// Entries of the application, or of another program that wrote the event.
    pub custom: CustomMetadata,
}

impl EventMetadata {
    /// Creates the metadata of an event that an actor caused without a command.
    #[must_use]
    pub fn by(actor: impl Into<String>) -> Self {
        Self { actor: Some(actor.into()), ..Self::default() }
    }

    /// Encodes as a JSON object without absent members.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).expect("an object of JSON values has a JSON form").into()
    }

    /// Decodes the JSON form. Entries of another form than the framework's are custom ones; data
    /// that is not a JSON object yields the default.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Self {
        // Events of other programs often have none.
        if json.is_empty() {
            return Self::default();
        }
        // The usual case, without copies of the framework's keys.
        if let Ok(metadata) = serde_json::from_slice(json) {
            return metadata;
        }
        // Events of other programs have metadata of their own, which is not an error.
        let entries: BTreeMap<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        let mut metadata = Self::default();
        for (key, value) in entries {
            if metadata.take(&key, &value).is_none() {
                metadata.custom.0.insert(key, value);
            }
        }
        metadata
    }

    /// Takes an entry of the framework; `None` if it is none.
    fn take(&mut self, key: &str, value: &Value) -> Option<()> {
        fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
            T::deserialize(value).ok()
        }
        match key {
            COMMAND_ID => self.command_id = read(value)?,
            COMMAND => self.command = read(value)?,
            PAYLOAD_DIGEST => self.payload_digest = read(value)?,
            ACTOR => self.actor = read(value)?,
            BEGINS_ANEW => self.begins_anew = read(value)?,
            TENANT => self.tenant = read(value)?,
            _ => return None,
        }
        Some(())
    }
}

/// The metadata of a recorded event. It is an [`EventMetadata`], decoded at its first use: most
/// projections use none.
///
/// ```
/// # use gesta::{Recorded, prelude::*};
/// # use gesta::store::{NewEvent, RecordedEvent};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent { Opened(DoorOpened) }
/// # let id = EventId::derived_from("request-42", 0);
/// # let new = NewEvent::json(id, EventType::new("door-opened")?, "null");
/// # let new = new.metadata(r#"{"actor":"ann"}"#);
/// # let (door, time) = (StreamName::new("door-1")?, RecordedAt::from_micros(0));
/// # let stored = RecordedEvent::new(new, door, Revision::FIRST, Position::new(7), time);
/// let opened = Recorded::<DoorEvent>::read(&stored)?;
/// assert_eq!(opened.metadata.actor.as_deref(), Some("ann"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RecordedMetadata {
    json: Bytes,
    decoded: OnceLock<Box<EventMetadata>>,
}

impl RecordedMetadata {
    pub(crate) const fn stored(json: Bytes) -> Self {
        Self { json, decoded: OnceLock::new() }
    }
}

impl Deref for RecordedMetadata {
    type Target = EventMetadata;

    fn deref(&self) -> &EventMetadata {
        self.decoded.get_or_init(|| Box::new(EventMetadata::from_json(&self.json)))
    }
}

impl PartialEq for RecordedMetadata {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for RecordedMetadata {}

impl fmt::Debug for RecordedMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for EventMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { command_id, command, payload_digest, actor, begins_anew, tenant, custom } = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(command_id) = command_id {
            map.serialize_entry(COMMAND_ID, command_id)?;
        }
        if let Some(command) = command {
            map.serialize_entry(COMMAND, command)?;
        }
        if let Some(payload_digest) = payload_digest {
            map.serialize_entry(PAYLOAD_DIGEST, payload_digest)?;
        }
        if let Some(actor) = actor {
            map.serialize_entry(ACTOR, actor)?;
        }
        if *begins_anew {
            map.serialize_entry(BEGINS_ANEW, begins_anew)?;
        }
        if let Some(tenant) = tenant {
            map.serialize_entry(TENANT, tenant)?;
        }
        for (key, value) in &custom.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A key of the JSON form.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum MetadataKey {
    CommandId,
    Command,
    PayloadDigest,
    Actor,
    BeginsAnew,
    TenantId,
    Custom(String),
}

impl<'de> Deserialize<'de> for EventMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = EventMetadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventMetadata, A::Error> {
        let mut metadata = EventMetadata::default();
        while let Some(key) = map.next_key()? {
            match key {
                MetadataKey::CommandId => metadata.command_id = map.next_value()?,
                MetadataKey::Command => metadata.command = map.next_value()?,
                MetadataKey::PayloadDigest => metadata.payload_digest = map.next_value()?,
                MetadataKey::Actor => metadata.actor = map.next_value()?,
                MetadataKey::BeginsAnew => metadata.begins_anew = map.next_value()?,
                MetadataKey::TenantId => metadata.tenant = map.next_value()?,
                MetadataKey::Custom(key) => {
                    metadata.custom.0.insert(key, map.next_value()?);
                }
            }
        }
        Ok(metadata)
    }
}

/// Entries of an event's metadata that the application adds: a trace context, the number of a till,
/// anything.
///
/// They do not distinguish commands: a retry with other entries is still a repeat.
///
/// ```
/// use gesta::CustomMetadata;
///
/// let mut metadata = CustomMetadata::new();
/// metadata.insert("till", 7)?;
/// assert_eq!(metadata.get::<u32>("till"), Some(7));
/// assert_eq!(metadata.get::<String>("till"), None);
/// assert!(metadata.insert("actor", "ann").is_err(), "the framework has this key");
/// # Ok::<(), gesta::InvalidMetadata>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomMetadata(BTreeMap<String, Value>);

impl CustomMetadata {
    /// Maximum length of a key, in bytes of UTF-8.
    pub const KEY_BYTES_MAX: usize = CommandId::BYTES_MAX;

    /// Creates metadata without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets an entry.
    ///
    /// # Errors
    /// [`InvalidMetadata`] if the key is the framework's, empty, too long or contains a control
    /// character: choose another; or if the value has no JSON form: correct its type. Keys that
    /// begin with `$` or `gesta.` are reserved.
    pub fn insert(
        &mut self,
        key: impl Into<String>,
        value: impl Serialize,
    ) -> Result<(), InvalidMetadata> {
        let key = key.into();
        if let Err(error) = command_id::check("metadata key", &key) {
            return Err(InvalidMetadata { key, reason: error.to_string() });
        }
        let own = [COMMAND_ID, COMMAND, PAYLOAD_DIGEST, ACTOR, BEGINS_ANEW, TENANT];
        if own.contains(&key.as_str()) || key.starts_with('$') || key.starts_with("gesta.") {
            let reason = "is a key of the framework; choose another".to_owned();
            return Err(InvalidMetadata { key, reason });
        }
        match serde_json::to_value(value) {
            Ok(value) => drop(self.0.insert(key, value)),
            Err(error) => {
                return Err(InvalidMetadata { key, reason: format!("has no JSON form: {error}") });
            }
        }
        Ok(())
    }

    /// Returns the value of an entry; `None` if it is absent or of another type.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        T::deserialize(self.0.get(key)?).ok()
    }

    /// Returns the JSON value of an entry.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Returns the entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Returns whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets an entry whose key is not the framework's.
    pub(crate) fn set_text(&mut self, key: &str, text: String) {
        self.0.insert(key.to_owned(), Value::String(text));
    }

    /// Returns the entries with these keys.
    pub(crate) fn only(mut self, keys: &[&str]) -> Self {
        self.0.retain(|key, _| keys.contains(&key.as_str()));
        self
    }
}

/// An entry that cannot be added to an event's metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata entry {key:?} {reason}")]
#[non_exhaustive]
pub struct InvalidMetadata {
    /// Key of the entry.
    pub key: String,
    /// The problem with it, as a predicate.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_another_form_is_kept() {
        let json = br#"{"actor":5,"beginsAnew":"yes","command":"pay","$trace":[1,{"a":null}],"tenantId":"A B"}"#;
        let metadata = EventMetadata::from_json(json);
        assert_eq!(metadata.command.as_deref(), Some("pay"));
        assert_eq!((metadata.actor.as_ref(), metadata.begins_anew), (None, false));
        assert_eq!(metadata.custom.get::<u8>("actor"), Some(5));
        assert_eq!(
            (&metadata.tenant, metadata.custom.value("tenantId")),
            (&None, Some(&"A B".into()))
        );
        let again: Value = serde_json::from_slice(&metadata.to_json()).unwrap();
        assert_eq!(again, serde_json::from_slice::<Value>(json).unwrap());
        assert_eq!(EventMetadata::from_json(&metadata.to_json()), metadata);
    }

    #[test]
    fn metadata_is_what_it_was_written_as() {
        let mut metadata = EventMetadata {
            command_id: Some(CommandId::new("1").unwrap()),
            command: Some("pay".to_owned()),
            payload_digest: Some(PayloadDigest::stored("2:ab")),
            begins_anew: true,
            tenant: Some("acme".parse().unwrap()),
            ..EventMetadata::by("ann")
        };
        metadata.custom.insert("till", "a").unwrap();
        let json = metadata.to_json();
        assert_eq!(
            json,
            concat!(
                r#"{"commandId":"1","command":"pay","payloadDigest":"2:ab","actor":"ann","#,
                r#""beginsAnew":true,"tenantId":"acme","till":"a"}"#,
            ),
        );
        assert_eq!(EventMetadata::from_json(&json), metadata);
    }

    #[test]
    fn keys_of_the_framework_are_refused() {
        let mut metadata = CustomMetadata::new();
        for key in ["actor", "commandId", "tenantId", "$correlationId", "gesta.next", "", "a\nb"] {
            assert!(metadata.insert(key, 1).is_err(), "{key:?}");
        }
        assert!(metadata.insert("map", BTreeMap::from([((1, 2), 3)])).is_err());
        assert!(metadata.is_empty());
    }
}
