//! Events as JSON.
//!
//! Invariants: JSON is passed through as it was stored: digits, order of keys and duplicate keys
//! are kept, and only line breaks between its tokens become spaces. Bytes that are not JSON are in
//! base64. Nothing stored becomes `null`. The work grows with the size of an event:
//! [`LargeWork`](crate::large_work::LargeWork) does it for large ones.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gesta_store::RecordedEvent;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::time_text;

/// A recorded event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventJson<'e> {
    position: u64,
    stream: &'e str,
    revision: u64,
    /// Place in a stream that the index answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    ordinal: Option<u64>,
    id: String,
    r#type: &'e str,
    schema_version: u16,
    recorded_at: String,
    content_type: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Cow<'e, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'e, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
    tags: Vec<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'e str>,
}

impl<'e> EventJson<'e> {
    pub(super) fn of(event: &'e RecordedEvent) -> Self {
        let data = event.content_type.is_json().then(|| stored_json(&event.data)).flatten();
        let metadata = stored_json(&event.metadata);
        let is_plain = metadata.is_some() || event.metadata.is_empty();
        Self {
            position: event.position.number(),
            stream: event.stream.as_str(),
            revision: event.revision.number(),
            ordinal: None,
            id: event.id.to_string(),
            r#type: event.event_type.as_str(),
            schema_version: event.schema_version,
            recorded_at: time_text(event.recorded_at),
            content_type: event.content_type.as_str(),
            data_base64: data.is_none().then(|| BASE64_STANDARD.encode(&event.data)),
            data,
            metadata,
            metadata_base64: (!is_plain).then(|| BASE64_STANDARD.encode(&event.metadata)),
            tags: event.tags.iter().map(|tag| tag.as_str()).collect(),
            correlation_id: event.correlation_id.as_ref().map(|id| id.as_str()),
            causation_id: event.causation_id.as_ref().map(|id| id.as_str()),
        }
    }

    pub(super) fn at_ordinal(self, ordinal: u64) -> Self {
        Self { ordinal: Some(ordinal), ..self }
    }
}

/// Returns the bytes as JSON on one line, or `None` if they are not JSON.
fn stored_json(bytes: &[u8]) -> Option<Cow<'_, RawValue>> {
    let json: &RawValue = serde_json::from_slice(bytes).ok()?;
    if !json.get().contains(['\n', '\r']) {
        return Some(Cow::Borrowed(json));
    }
    // Server-sent events end at line breaks. Texts in JSON escape theirs, so the others are white
    // space between tokens.
    let line = RawValue::from_string(json.get().replace(['\n', '\r'], " "));
    line.ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gesta_store::{
        ContentType, EventId, EventType, NewEvent, Position, RecordedAt, Revision, StreamName,
    };
    use serde_json::Value;

    use super::*;

    fn text_of(content_type: &str, data: &'static [u8], metadata: &'static [u8]) -> String {
        let content_type = ContentType::new(content_type).unwrap();
        let event_type = EventType::new("paid").unwrap();
        let id = EventId::derived_from("test", 0);
        let event = NewEvent::new(id, event_type, content_type, Bytes::from_static(data));
        let event = RecordedEvent::new(
            event.metadata(Bytes::from_static(metadata)),
            StreamName::new("order-1").unwrap(),
            Revision::FIRST,
            Position::new(1),
            RecordedAt::from_micros(1_500_000),
        );
        serde_json::to_string(&EventJson::of(&event)).unwrap()
    }

    #[test]
    fn json_comes_back_as_it_was_stored_on_one_line() {
        let text =
            text_of("application/json", b"{\r\n\"a\" : 1.10, \"a\":12345678901234567890}", b"");
        assert!(text.contains(r#""data":{  "a" : 1.10, "a":12345678901234567890}"#), "{text}");
        assert!(text.contains(r#""recordedAt":"1970-01-01T00:00:01.500Z""#), "{text}");
        assert!(!text.contains("metadata") && !text.contains('\n'), "{text}");
        assert!(text_of("application/json", b"null", b"").contains(r#""data":null"#));
    }

    #[test]
    fn other_bytes_are_in_base64_also_under_the_name_of_json() {
        for (content_type, data) in
            [("application/json", &b"{"[..]), ("text/plain", b"{}"), ("application/json", b"")]
        {
            let text = text_of(content_type, data, b"\xFF");
            let json: Value = serde_json::from_str(&text).unwrap();
            let bytes = BASE64_STANDARD.decode(json["dataBase64"].as_str().unwrap()).unwrap();
            assert_eq!(bytes, data);
            assert_eq!((json.get("data"), &json["metadataBase64"]), (None, &"/w==".into()));
        }
    }
}
