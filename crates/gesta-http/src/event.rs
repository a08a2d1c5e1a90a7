//! Recorded events as JSON.
//!
//! Owns: [`EventDetails`], and [`StoredJson`], payloads as they are stored. Always holds: a payload
//! that is JSON is passed on as it was written, with every digit, in the order of its keys, keys
//! that are doubled included; only line breaks between its tokens become blanks. Everything else
//! (another content type, nothing at all, a byte order mark, text that is not JSON in spite of its
//! content type) is there in base64, with the content type beside it; nothing becomes `null`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gesta::{
    EventMetadata,
    store::{RecordedAt, RecordedEvent},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{Schema, Schemas};

/// JSON as it was stored, which is not parsed on its way out.
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
    /// These bytes, if they are JSON.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let json: &RawValue = serde_json::from_slice(bytes).ok()?;
        // Inside of a text a line break is escaped, so each of these stands between tokens.
        let one_line = json.get().replace(['\n', '\r'], " ");
        RawValue::from_string(one_line).ok().map(Self)
    }
}

impl Schema for StoredJson {
    fn schema(schemas: &mut Schemas) -> Value {
        Value::schema(schemas)
    }
}

/// The payload of an event, in whichever form tells all of it.
pub(crate) struct Payload {
    pub(crate) data: Option<StoredJson>,
    pub(crate) content_type: Option<String>,
    pub(crate) data_base64: Option<String>,
}

impl Payload {
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        let is_json = event.content_type.is_json();
        let data = is_json.then(|| StoredJson::of(&event.data)).flatten();
        let in_base64 = data.is_none();
        Self {
            data,
            content_type: in_base64.then(|| event.content_type.to_string()),
            data_base64: in_base64.then(|| STANDARD.encode(&event.data)),
        }
    }
}

/// A recorded event, as feeds carry it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDetails {
    /// Its place in the store.
    pub position: u64,
    /// Its stream.
    pub stream: String,
    /// Its place in the stream.
    pub revision: u64,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The version of its type.
    pub schema_version: u16,
    /// Its id.
    pub id: String,
    /// When the store took it.
    pub recorded_at: String,
    /// What it is tagged with.
    pub tags: Vec<String>,
    /// The conversation that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// What caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What exactly happened, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<StoredJson>,
    /// Of which media type `data_base64` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What exactly happened, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

crate::response! {
    /// A recorded event.
    EventDetails {
        /// Its place in the store.
        position: u64,
        /// Its stream.
        stream: String,
        /// Its place in the stream.
        revision: u64,
        /// Its type.
        event_type as "type": String,
        /// The version of its type.
        schema_version: u16,
        /// Its id.
        id: String,
        /// When the store took it (RFC 3339).
        recorded_at: String,
        /// What it is tagged with.
        tags: Vec<String>,
        /// The conversation that it belongs to.
        correlation_id: Option<String>,
        /// What caused it.
        causation_id: Option<String>,
        /// Who asked for it.
        actor: Option<String>,
        /// What exactly happened, where it is JSON: as it was stored, with every digit.
        data: Option<StoredJson>,
        /// Of which media type `dataBase64` is.
        content_type: Option<String>,
        /// What exactly happened, where it is not JSON.
        data_base64: Option<String>,
    }
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
            actor: EventMetadata::from_json(&event.metadata).actor,
            data,
            content_type,
            data_base64,
        }
    }
}

/// The store's time as RFC 3339 says it.
pub(crate) fn recorded_at(time: RecordedAt) -> String {
    let micros = i64::try_from(time.micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_passed_on_as_it_was_stored() {
        for (stored, told) in [
            (r#"{"b":0.1234567890123456789,"a":123456789012345678901,"c":1.10}"#, None),
            (r#"{"a":1,"a":2}"#, None),
            ("[1e2, -0, 1.0E+5]", None),
            ("null", None),
            ("{\r\n \"a\" : \"x\\ny\" }\n", Some("{   \"a\" : \"x\\ny\" }")),
        ] {
            let json = StoredJson::of(stored.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&json).unwrap(), told.unwrap_or(stored));
        }
    }

    #[test]
    fn what_is_not_json_is_no_json() {
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
