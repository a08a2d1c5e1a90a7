//! Events as JSON objects.
//!
//! Invariants: JSON payloads keep their digits and key order and lose only white space between
//! tokens. Payloads that are not JSON appear in base64 under another key. The exact form also uses
//! base64 for JSON whose white space would change.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gesta_store::{ContentType, RecordedEvent, Tag};
use serde::Serialize;
use serde_json::value::RawValue;

use super::time::moment;

/// A recorded event with all its fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventObject<'a> {
    position: u64,
    stream: &'a str,
    revision: u64,
    recorded_at: String,
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    schema_version: u16,
    tags: Vec<&'a str>,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    content_type: &'a str,
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
}

/// Formats a payload as one line of JSON, or returns `None` to have it shown in base64.
type AsJson = fn(&[u8]) -> Option<Box<RawValue>>;

impl<'a> EventObject<'a> {
    /// The form for display: compacts JSON payloads.
    pub(super) fn readable(event: &'a RecordedEvent) -> Self {
        Self::of(event, one_line)
    }

    /// The lossless form: payload bytes survive a round trip.
    pub(super) fn exact(event: &'a RecordedEvent) -> Self {
        Self::of(event, exact)
    }

    fn of(event: &'a RecordedEvent, as_json: AsJson) -> Self {
        // Bytes labelled as JSON may not be JSON, and metadata has no content type at all. Both
        // then fall back to base64 instead of failing the whole listing.
        let data = if is_json(&event.content_type) { as_json(&event.data) } else { None };
        let metadata = as_json(&event.metadata);
        let data_base64 = data.is_none().then(|| BASE64_STANDARD.encode(&event.data));
        let metadata_base64 = (metadata.is_none() && !event.metadata.is_empty())
            .then(|| BASE64_STANDARD.encode(&event.metadata));
        // The order of fields is the order in the output: place and identity first, payload last.
        Self {
            position: event.position.number(),
            stream: event.stream.as_str(),
            revision: event.revision.number(),
            recorded_at: moment(event.recorded_at),
            id: event.id.to_string(),
            event_type: event.event_type.as_str(),
            schema_version: event.schema_version,
            tags: event.tags.iter().map(Tag::as_str).collect(),
            correlation_id: event.correlation_id.as_ref().map(AsRef::as_ref),
            causation_id: event.causation_id.as_ref().map(AsRef::as_ref),
            content_type: event.content_type.as_str(),
            data,
            data_base64,
            metadata,
            metadata_base64,
        }
    }
}

/// Returns whether a content type denotes JSON, including parameters (`; charset=utf-8`) and the
/// `+json` suffix of RFC 6839.
pub(crate) fn is_json(content_type: &ContentType) -> bool {
    let text = content_type.as_str();
    let essence = text.split_once(';').map_or(text, |(essence, _)| essence).trim();
    // Media types are case-insensitive (RFC 9110, section 8.3.1).
    let essence = essence.to_ascii_lowercase();
    essence == ContentType::JSON.as_str() || essence.ends_with("+json")
}

/// Compacts JSON to one line, or returns `None` if the bytes are not JSON.
pub(super) fn one_line(bytes: &[u8]) -> Option<Box<RawValue>> {
    // Validated and cut as text. A parse into values would round large numbers and reorder keys.
    let json: &RawValue = serde_json::from_slice(bytes).ok()?;
    RawValue::from_string(compact(json.get())).ok()
}

/// Returns JSON that is already compact, byte for byte. Excludes `null`, which would be
/// indistinguishable from an absent field.
fn exact(bytes: &[u8]) -> Option<Box<RawValue>> {
    one_line(bytes).filter(|json| json.get().as_bytes() == bytes && json.get() != "null")
}

/// Removes white space between the tokens of valid JSON.
fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let keep = |letter: &char| {
        if !in_text {
            in_text = *letter == '"';
            return !letter.is_ascii_whitespace();
        }
        // A quote ends the string unless a backslash precedes it. Of two backslashes, the second
        // is itself escaped and escapes nothing.
        in_text = escaped || *letter != '"';
        escaped = !escaped && *letter == '\\';
        true
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_loses_nothing_but_white_space_between_tokens() {
        for (stored, shown) in [
            ("{ \"b\" : 1.10,\n\t\"a\" : [ 1, 2 ] }", r#"{"b":1.10,"a":[1,2]}"#),
            (r#" "two  spaces, a \" and a \\" "#, r#""two  spaces, a \" and a \\""#),
            ("12345678901234567890123", "12345678901234567890123"),
        ] {
            assert_eq!(one_line(stored.as_bytes()).expect("it is JSON").get(), shown);
        }
    }

    #[test]
    fn what_is_no_json_does_not_become_it() {
        for stored in ["1 2", "", "{", "\u{feff}{}"] {
            assert!(one_line(stored.as_bytes()).is_none(), "{stored}");
        }
    }

    #[test]
    fn relatives_of_json_are_json() {
        for (content_type, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.shop+json", true),
            ("application/json5", false),
            ("text/plain", false),
        ] {
            let content_type = ContentType::new(content_type).expect("not empty, not long");
            assert_eq!(is_json(&content_type), json, "{content_type}");
        }
    }
}
