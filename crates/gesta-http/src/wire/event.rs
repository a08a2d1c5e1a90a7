//! Recorded events as JSON.
//!
//! Owns: [`EventDetails`] and [`StoredJson`].
//!
//! Invariants:
//! - A JSON payload is passed through unchanged: digits, order of keys and duplicate keys are kept.
//!   Only line breaks between its tokens become spaces.
//! - Any other payload (another content type, empty, with a byte order mark, or invalid JSON) is
//!   base64 with its content type. No payload becomes `null`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gesta::{
    EventMetadata,
    store::{RecordedAt, RecordedEvent},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{Schema, Schemas};

/// A stored JSON text that is passed through without parsing its values.
///
/// ```
/// use gesta_http::StoredJson;
///
/// let stored = StoredJson::of(br#"{"price":1.10,"id":12345678901234567890123}"#).expect("JSON");
/// assert_eq!(serde_json::to_string(&stored)?, r#"{"price":1.10,"id":12345678901234567890123}"#);
/// assert!(StoredJson::of(b"soap").is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct StoredJson(Box<RawValue>);

impl StoredJson {
    /// Returns the bytes as JSON, or `None` if they are not.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let json: &RawValue = serde_json::from_slice(bytes).ok()?;
        // Server-sent events are split at line breaks. JSON strings escape theirs, so replacing the
        // others changes only white space between tokens.
        let one_line = json.get().replace(['\n', '\r'], " ");
        RawValue::from_string(one_line).ok().map(Self)
    }
}

impl Schema for StoredJson {
    fn schema(schemas: &mut Schemas) -> Value {
        Value::schema(schemas)
    }
}

/// The payload of an event: `data` if it is JSON, else the other two fields.
pub(crate) struct Payload {
    pub(crate) data: Option<StoredJson>,
    pub(crate) content_type: Option<String>,
    pub(crate) data_base64: Option<String>,
}

impl Payload {
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        let is_json = event.content_type.is_json();
        let data = is_json.then(|| StoredJson::of(&event.data)).flatten();
        // Also JSON by its content type that does not parse: nothing stored may be lost.
        let in_base64 = data.is_none();
        Self {
            data,
            content_type: in_base64.then(|| event.content_type.to_string()),
            data_base64: in_base64.then(|| STANDARD.encode(&event.data)),
        }
    }
}

/// A recorded event.
#[derive(Clone, Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventDetails {
    /// Position in the store.
    pub position: u64,
    /// Name of its stream.
    pub stream: String,
    /// Revision in its stream.
    pub revision: u64,
    /// Event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Schema version of the payload.
    pub schema_version: u16,
    /// Event id.
    pub id: String,
    /// Time of the append, by the store's clock (RFC 3339).
    pub recorded_at: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Correlation id: the conversation that the event belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Causation id: the event or request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Actor of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Payload, if it is JSON: exactly as stored, with all digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<StoredJson>,
    /// Content type of `dataBase64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Payload in base64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

impl EventDetails {
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        let Payload { data, content_type, data_base64 } = Payload::of(event);
        Self {
            position: event.position.number(),
            stream: event.stream.to_string(),
            revision: event.revision.number(),
            event_type: event.event_type.to_string(),
            schema_version: event.schema_version,
            id: event.id.to_string(),
            recorded_at: recorded_at(event.recorded_at),
            tags: event.tags.iter().map(ToString::to_string).collect(),
            correlation_id: event.correlation_id.as_ref().map(ToString::to_string),
            causation_id: event.causation_id.as_ref().map(ToString::to_string),
            // Events of other writers may have metadata of another form; they then have no actor.
            actor: EventMetadata::from_json(&event.metadata).actor,
            data,
            content_type,
            data_base64,
        }
    }
}

/// Formats a time of the store as in RFC 3339. Times beyond its range become the largest one.
pub(crate) fn recorded_at(time: RecordedAt) -> String {
    // Any 64-bit number may be stored, so formatting must not fail.
    let micros = i64::try_from(time.micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_passed_through_as_it_was_stored() {
        for (stored, sent) in [
            (r#"{"b":0.1234567890123456789,"a":123456789012345678901,"c":1.10}"#, None),
            (r#"{"a":1,"a":2}"#, None),
            ("[1e2, -0, 1.0E+5]", None),
            ("null", None),
            ("{\r\n \"a\" : \"x\\ny\" }\n", Some("{   \"a\" : \"x\\ny\" }")),
        ] {
            let json = StoredJson::of(stored.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&json).unwrap(), sent.unwrap_or(stored));
        }
    }

    #[test]
    fn invalid_json_is_not_stored_json() {
        for odd in ["", "\u{feff}{}", "{} {}", "NaN", "{\"a\":\"\n\"}"] {
            assert!(StoredJson::of(odd.as_bytes()).is_none(), "{odd:?}");
        }
        assert!(StoredJson::of(b"\"\xff\"").is_none());
    }

    #[test]
    fn a_time_is_written_as_rfc_3339_says() {
        assert_eq!(recorded_at(RecordedAt::from_micros(1_500_000)), "1970-01-01T00:00:01.5Z");
        assert_eq!(recorded_at(RecordedAt::from_micros(u64::MAX)), Timestamp::MAX.to_string());
    }
}
