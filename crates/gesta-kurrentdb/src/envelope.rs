//! The parts of an event that the protocol has no field for, carried in its metadata.
//!
//! The protocol has an id, a type, data and metadata. [`Envelope`] puts the other parts into the
//! metadata as entries of a JSON object: schema version, content type, tags, and the ids of
//! conversation and cause under the names that users of the protocol give them. Metadata that are
//! an object themselves keep their entries, so that other clients read them.
//!
//! Invariants: every event comes back byte by byte; metadata of other clients come back as they
//! are, with the ids of conversation and cause that they name. An event without such parts is sent
//! as it is.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gesta_store::{CausationId, ContentType, CorrelationId, EventId, EventType, NewEvent, Tag};
use serde_json::value::{RawValue, to_raw_value};

/// The form that the event's own metadata have: one of the following.
const METADATA: &str = "gesta.metadata";
const NONE: &str = "none";
/// They are the entries of the object that are not listed here.
const ENTRIES: &str = "entries";
/// They are in [`CONTENT`].
const TEXT: &str = "text";
const BASE64: &str = "base64";
const CONTENT: &str = "gesta.metadata-content";

const SCHEMA_VERSION: &str = "gesta.schema-version";
const CONTENT_TYPE: &str = "gesta.content-type";
const TAGS: &str = "gesta.tags";
const CORRELATION: &str = "$correlationId";
const CAUSATION: &str = "$causationId";
/// Added by servers of the second version of the streams.
const FORMAT: &str = "$schema.format";

/// All entries that are none of the event's own metadata.
const OURS: [&str; 8] =
    [METADATA, CONTENT, SCHEMA_VERSION, CONTENT_TYPE, TAGS, CORRELATION, CAUSATION, FORMAT];

type Entries = BTreeMap<String, Box<RawValue>>;

/// The metadata of an event as they are sent.
#[derive(Debug)]
pub(crate) enum Envelope {
    /// The event's own metadata.
    Plain(Bytes),
    Entries(Entries),
}

impl Envelope {
    /// Packs an event for the first version of the streams.
    pub(crate) fn of(event: &NewEvent) -> Self {
        if is_plain(event) {
            return Self::Plain(event.metadata.clone());
        }
        Self::packed(event, |_| true)
    }

    /// Packs an event for the second version, whose properties are values and no text: an entry
    /// that might be written in another way is carried as text.
    pub(crate) fn of_properties(event: &NewEvent) -> Self {
        Self::packed(event, is_written_one_way)
    }

    fn packed(event: &NewEvent, keeps: impl Fn(&RawValue) -> bool) -> Self {
        let mut entries = Entries::new();
        let mut set = |name: &str, value: &str| drop(entries.insert(name.to_owned(), text(value)));
        if event.schema_version != 1 {
            set(SCHEMA_VERSION, &event.schema_version.to_string());
        }
        if event.content_type != carrier(&event.content_type) {
            set(CONTENT_TYPE, event.content_type.as_str());
        }
        if let Some(id) = &event.correlation_id {
            set(CORRELATION, id.as_str());
        }
        if let Some(id) = &event.causation_id {
            set(CAUSATION, id.as_str());
        }
        let tags: Vec<&str> = event.tags.iter().map(Tag::as_str).collect();
        if !tags.is_empty() {
            // As text: the values of a property may be put in another form.
            set(TAGS, &serde_json::to_string(&tags).expect("texts are JSON"));
        }
        let own = own_entries(&event.metadata).filter(|own| own.values().all(|value| keeps(value)));
        match (own, std::str::from_utf8(&event.metadata)) {
            _ if event.metadata.is_empty() => set(METADATA, NONE),
            (Some(own), _) => {
                set(METADATA, ENTRIES);
                entries.extend(own);
            }
            (None, Ok(own)) => {
                set(METADATA, TEXT);
                set(CONTENT, own);
            }
            (None, Err(_)) => {
                set(METADATA, BASE64);
                set(CONTENT, &STANDARD.encode(&event.metadata));
            }
        }
        Self::Entries(entries)
    }

    /// Returns the metadata as JSON, or as they are.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Plain(metadata) => metadata,
            Self::Entries(entries) => written(&entries).into(),
        }
    }
}

/// The content type of the protocol under which an event is sent.
pub(crate) fn carrier(content_type: &ContentType) -> ContentType {
    if content_type.is_json() { ContentType::JSON } else { ContentType::OCTET_STREAM }
}

/// Returns `true` if the protocol has a field for each part of an event, and its metadata say
/// nothing to the reader.
fn is_plain(event: &NewEvent) -> bool {
    event.schema_version == 1
        && event.content_type == carrier(&event.content_type)
        && event.tags.is_empty()
        && event.correlation_id.is_none()
        && event.causation_id.is_none()
        && !says_something(&event.metadata)
}

/// Returns `true` if metadata may have one of our entries.
fn says_something(metadata: &[u8]) -> bool {
    [METADATA, CORRELATION, CAUSATION]
        .iter()
        .any(|name| metadata.windows(name.len()).any(|part| part == name.as_bytes()))
}

/// Returns the entries of metadata that come back byte by byte from them.
fn own_entries(metadata: &[u8]) -> Option<Entries> {
    let entries: Entries = serde_json::from_slice(metadata).ok()?;
    let is_ours = |name: &String| OURS.contains(&name.as_str());
    (!entries.keys().any(is_ours) && written(&entries).as_bytes() == metadata).then_some(entries)
}

fn written(entries: &Entries) -> String {
    serde_json::to_string(entries).expect("entries are JSON")
}

fn text(value: &str) -> Box<RawValue> {
    to_raw_value(value).expect("a text is JSON")
}

/// Returns `true` for values that every server writes alike: short words and the three names.
fn is_written_one_way(value: &RawValue) -> bool {
    let json = value.get();
    let is_usual = |c: char| c.is_ascii_alphanumeric() || " _.:/-".contains(c);
    let word = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    matches!(json, "true" | "false" | "null") || word.is_some_and(|word| word.chars().all(is_usual))
}

/// The parts of an event that its metadata carry.
#[derive(Debug)]
pub(crate) struct Carried {
    schema_version: u16,
    content_type: ContentType,
    metadata: Bytes,
    tags: Vec<Tag>,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<CausationId>,
}

impl Carried {
    /// Reads metadata of an event that was sent under this content type.
    pub(crate) fn of(metadata: Bytes, content_type: ContentType) -> Self {
        let other = |metadata| Self {
            schema_version: 1,
            content_type: content_type.clone(),
            metadata,
            tags: Vec::new(),
            correlation_id: None,
            causation_id: None,
        };
        if !says_something(&metadata) {
            return other(metadata);
        }
        let Ok(entries) = serde_json::from_slice::<Entries>(&metadata) else {
            return other(metadata);
        };
        if let Some(unpacked) = unpacked(&entries, &content_type) {
            return unpacked;
        }
        // Another client's event: the metadata are its own.
        let correlation_id = word(&entries, CORRELATION).and_then(|id| CorrelationId::new(id).ok());
        let causation_id = word(&entries, CAUSATION).and_then(|id| CausationId::new(id).ok());
        Self { correlation_id, causation_id, ..other(metadata) }
    }

    pub(crate) fn into_event(self, id: EventId, event_type: EventType, data: Bytes) -> NewEvent {
        NewEvent::new(id, event_type, self.content_type, data)
            .schema_version(self.schema_version)
            .metadata(self.metadata)
            .tagged(self.tags)
            .correlation_id(self.correlation_id)
            .causation_id(self.causation_id)
    }
}

/// Unpacks an envelope. `None` if it is none, or not whole.
fn unpacked(entries: &Entries, sent_as: &ContentType) -> Option<Carried> {
    let metadata: Bytes = match word(entries, METADATA)?.as_str() {
        NONE => Bytes::new(),
        ENTRIES => {
            let is_own = |(name, _): &(&String, _)| !OURS.contains(&name.as_str());
            let own = entries.iter().filter(is_own);
            written(&own.map(|(name, value)| (name.clone(), value.clone())).collect()).into()
        }
        TEXT => word(entries, CONTENT)?.into(),
        BASE64 => STANDARD.decode(word(entries, CONTENT)?).ok()?.into(),
        _ => return None,
    };
    let schema_version = match entries.contains_key(SCHEMA_VERSION) {
        true => word(entries, SCHEMA_VERSION)?.parse().ok()?,
        false => 1,
    };
    let content_type = match entries.contains_key(CONTENT_TYPE) {
        true => ContentType::stored(word(entries, CONTENT_TYPE)?).ok()?,
        false => sent_as.clone(),
    };
    let tags = match entries.contains_key(TAGS) {
        true => serde_json::from_str::<Vec<String>>(&word(entries, TAGS)?).ok()?,
        false => Vec::new(),
    };
    let tags = tags.into_iter().map(Tag::stored).collect::<Result<_, _>>().ok()?;
    let correlation_id = match entries.contains_key(CORRELATION) {
        true => Some(CorrelationId::stored(word(entries, CORRELATION)?).ok()?),
        false => None,
    };
    let causation_id = match entries.contains_key(CAUSATION) {
        true => Some(CausationId::stored(word(entries, CAUSATION)?).ok()?),
        false => None,
    };
    Some(Carried { schema_version, content_type, metadata, tags, correlation_id, causation_id })
}

fn word(entries: &Entries, name: &str) -> Option<String> {
    serde_json::from_str(entries.get(name)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> NewEvent {
        NewEvent::json(EventId::random(), EventType::new("paid").unwrap(), "{}")
    }

    fn full(metadata: &[u8]) -> NewEvent {
        event()
            .schema_version(7)
            .metadata(metadata.to_vec())
            .tagged([Tag::new("customer:17850").unwrap(), Tag::new("quote:\"").unwrap()])
            .correlation_id(CorrelationId::new("request-42").unwrap())
            .causation_id(CausationId::new("command \"7\"").unwrap())
    }

    fn back(event: &NewEvent, envelope: Envelope) -> NewEvent {
        let carried = Carried::of(envelope.into_bytes(), carrier(&event.content_type));
        carried.into_event(event.id, event.event_type.clone(), event.data.clone())
    }

    const METADATA_OF_ALL_KINDS: [&[u8]; 9] = [
        b"",
        b"{}",
        br#"{"actor":"ann","n":[1,2.50]}"#,
        br#"{ "actor" : "ann" }"#,
        br#"{"b":1,"a":2}"#,
        br#"{"$correlationId":"of-the-user"}"#,
        br#"{"gesta.metadata":"none"}"#,
        b"plain text",
        b"\xff\x00",
    ];

    #[test]
    fn every_event_comes_back_byte_by_byte() {
        for metadata in METADATA_OF_ALL_KINDS {
            for event in [full(metadata), event().metadata(metadata.to_vec())] {
                assert_eq!(back(&event, Envelope::of(&event)), event);
                assert_eq!(back(&event, Envelope::of_properties(&event)), event);
            }
        }
        let content_type = ContentType::new("application/vnd.example+json").unwrap();
        let mut event = event();
        event.content_type = content_type;
        assert_eq!(back(&event, Envelope::of(&event)), event);
    }

    #[test]
    fn an_event_without_other_parts_is_sent_as_it_is() {
        let event = event().metadata(r#"{"actor":"ann"}"#);
        assert_eq!(Envelope::of(&event).into_bytes(), event.metadata);
    }

    #[test]
    fn other_clients_read_the_entries_and_find_the_conversation() {
        let sent = Envelope::of(&full(br#"{"actor":"ann"}"#)).into_bytes();
        let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(sent["actor"], "ann");
        assert_eq!(sent["$correlationId"], "request-42");
    }

    #[test]
    fn metadata_of_other_clients_stay_as_they_are() {
        let theirs = Bytes::from_static(br#"{"$correlationId": "c", "$causationId": 7}"#);
        let carried = Carried::of(theirs.clone(), ContentType::JSON);
        assert_eq!(carried.metadata, theirs);
        assert_eq!(carried.correlation_id.unwrap().as_str(), "c");
        assert!(carried.causation_id.is_none());
        // An envelope that is not whole is none.
        let broken = Bytes::from_static(br#"{"gesta.metadata":"base64"}"#);
        assert_eq!(Carried::of(broken.clone(), ContentType::JSON).metadata, broken);
    }
}
