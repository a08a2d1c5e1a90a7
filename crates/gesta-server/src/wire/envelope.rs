//! The parts of a recorded event that the protocol has no field for, carried in its metadata.
//!
//! Owns: the packing. Invariants: an event that came through the protocol is sent with the metadata
//! that it came with, and so is one without such parts; the packing is that of `gesta-kurrentdb`,
//! whose tests read events of this server back. Not here: the reading of a packing. A store behind
//! the protocol reads it, and this server keeps it as it came.
//!
//! Schema version, content type, tags, and the ids of conversation and cause become entries of a
//! JSON object. Other clients find the entries of metadata that are an object next to them.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gesta_store::{ContentType, RecordedEvent, Tag};
use serde_json::value::{RawValue, to_raw_value};

use super::new_event::Related;

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

/// Returns the metadata with which an event is sent.
pub(super) fn sent_metadata(event: &RecordedEvent) -> Bytes {
    if is_plain(event) { event.metadata.clone() } else { packed(event) }
}

/// Returns `true` if the protocol has a field for each part of an event.
fn is_plain(event: &RecordedEvent) -> bool {
    event.schema_version == 1
        && event.tags.is_empty()
        && event.content_type == carrier(&event.content_type)
        && has_ids_in_metadata(event)
}

/// The content type of the protocol under which an event is sent.
fn carrier(content_type: &ContentType) -> ContentType {
    if content_type.is_json() { ContentType::JSON } else { ContentType::OCTET_STREAM }
}

/// Returns `true` if a reader finds the ids of conversation and cause in the metadata, or there are
/// none.
fn has_ids_in_metadata(event: &RecordedEvent) -> bool {
    let (correlation, causation) = (&event.correlation_id, &event.causation_id);
    if correlation.is_none() && causation.is_none() {
        return true;
    }
    let Related { correlation_id, causation_id, caused_by } = Related::of(&event.metadata);
    // Clients expect the metadata of emitted events in their usual form.
    let cause = causation_id.or(caused_by);
    correlation_id.as_deref() == correlation.as_ref().map(|id| id.as_str())
        && cause.as_deref() == causation.as_ref().map(|id| id.as_str())
}

fn packed(event: &RecordedEvent) -> Bytes {
    let object: Option<Entries> = serde_json::from_slice(&event.metadata).ok();
    let is_written_the_same = object.as_ref().is_some_and(|entries| {
        !entries.keys().any(|name| is_ours(name)) && written(entries).as_bytes() == event.metadata
    });
    // Entries that are not read back are for other clients.
    let mut entries = object.unwrap_or_default();
    entries.retain(|name, _| !is_ours(name));
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
        // As text, like the values of properties in the second version of the streams.
        set(TAGS, &serde_json::to_string(&tags).expect("texts are JSON"));
    }
    match std::str::from_utf8(&event.metadata) {
        _ if event.metadata.is_empty() => set(METADATA, NONE),
        _ if is_written_the_same => set(METADATA, ENTRIES),
        Ok(own) => {
            set(METADATA, TEXT);
            set(CONTENT, own);
        }
        Err(_) => {
            set(METADATA, BASE64);
            set(CONTENT, &STANDARD.encode(&event.metadata));
        }
    }
    written(&entries).into()
}

fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

fn written(entries: &Entries) -> String {
    serde_json::to_string(entries).expect("entries are JSON")
}

fn text(value: &str) -> Box<RawValue> {
    to_raw_value(value).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use gesta_store::{
        CorrelationId, EventId, EventType, NewEvent, Position, RecordedAt, Revision, StreamName,
    };
    use serde_json::{Value, json};

    use super::*;

    fn sent(event: NewEvent) -> Bytes {
        let stream = StreamName::new("order-1").unwrap();
        let (revision, position) = (Revision::FIRST, Position::new(1));
        let at = RecordedAt::from_micros(0);
        sent_metadata(&RecordedEvent::new(event, stream, revision, position, at))
    }

    fn event(metadata: &str) -> NewEvent {
        let event_type = EventType::new("paid").unwrap();
        NewEvent::json(EventId::random(), event_type, "{}").metadata(metadata.to_owned())
    }

    #[test]
    fn what_came_through_the_protocol_is_sent_as_it_came() {
        let conversation = Some(CorrelationId::new("c-1").unwrap());
        for metadata in [
            "",
            "{ }",
            "no JSON",
            r#"{"$correlationId": "c-1", "team": "sales"}"#,
            r#"{"$correlationId":"c-1","gesta.metadata":"none","gesta.tags":"[\"a:1\"]"}"#,
        ] {
            let came = event(metadata);
            let came = match metadata.contains("c-1") {
                true => came.correlation_id(conversation.clone()),
                false => came,
            };
            assert_eq!(sent(came), metadata);
        }
    }

    #[test]
    fn other_parts_are_entries_next_to_those_of_the_metadata() {
        let tags = [Tag::new("customer:1").unwrap()];
        let json = |event: NewEvent| serde_json::from_slice::<Value>(&sent(event)).unwrap();
        let packed = json(event(r#"{"team":"sales"}"#).tagged(tags.clone()).schema_version(2));
        let expected = json!({
            "gesta.metadata": "entries",
            "gesta.schema-version": "2",
            "gesta.tags": r#"["customer:1"]"#,
            "team": "sales",
        });
        assert_eq!(packed, expected);
        // Spaces are kept in the text, and other clients find the entry all the same.
        let packed = json(event(r#"{ "team": "sales" }"#).tagged(tags));
        assert_eq!(packed["gesta.metadata-content"], r#"{ "team": "sales" }"#);
        assert_eq!(packed["team"], "sales");
        let conversation = CorrelationId::new("c-1").unwrap();
        let packed = json(event("").correlation_id(conversation));
        assert_eq!(packed, json!({ "gesta.metadata": "none", "$correlationId": "c-1" }));
    }
}
