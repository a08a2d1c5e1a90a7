//! Parsing of exported events.
//!
//! Invariant: data and metadata are restored byte for byte.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gesta_store::{
    CausationId, ContentType, CorrelationId, EventType, InvalidName, NewEvent, Position,
    RecordedAt, RecordedEvent, Revision, StreamName, Tag,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// An event parsed from an export, with its stream and original place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportedEvent {
    pub(crate) stream: StreamName,
    pub(crate) revision: Revision,
    /// Position and recorded time in the exported store.
    pub(crate) position: Option<Position>,
    pub(crate) recorded_at: Option<String>,
    pub(crate) event: NewEvent,
}

impl ExportedEvent {
    /// Returns the event as it was recorded in the exported store.
    pub(crate) fn as_recorded(&self, position: Position, recorded_at: RecordedAt) -> RecordedEvent {
        let (stream, event) = (self.stream.clone(), self.event.clone());
        RecordedEvent::new(event, stream, self.revision, position, recorded_at)
    }
}

/// Fields of an exported event. Unknown fields are rejected, since importing would drop them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventFields {
    position: Option<u64>,
    recorded_at: Option<String>,
    stream: String,
    revision: u64,
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default = "first")]
    schema_version: u16,
    #[serde(default)]
    tags: Vec<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    content_type: Option<String>,
    data: Option<Box<RawValue>>,
    data_base64: Option<String>,
    metadata: Option<Box<RawValue>>,
    metadata_base64: Option<String>,
}

const fn first() -> u16 {
    1
}

impl ExportedEvent {
    /// Parses a line of an export.
    ///
    /// # Errors
    ///
    /// A description of the syntax error or invalid field.
    pub(crate) fn from_line(line: &[u8]) -> Result<Self, String> {
        let line: EventFields = serde_json::from_slice(line).map_err(|error| json_error(&error))?;
        let data = payload("data", line.data, line.data_base64)?;
        let data = data
            .ok_or("the event has neither `data` nor `dataBase64`; expected exactly one of them")?;
        let metadata =
            payload("metadata", line.metadata, line.metadata_base64)?.unwrap_or_default();
        // Names are parsed as stored ones: an older version may have accepted names that a new
        // event could not have, and an import must not lose their events.
        let id = line.id.parse().map_err(|_| format!("`id` must be a UUID; got {}", line.id))?;
        let content_type = optional("contentType", line.content_type, ContentType::stored)?;
        let content_type = content_type.unwrap_or(ContentType::JSON);
        let event_type = checked("type", EventType::stored(line.event_type))?;
        let tags: Vec<Tag> = checked("tags", line.tags.into_iter().map(Tag::stored).collect())?;
        let (correlation_id, causation_id) = (line.correlation_id, line.causation_id);
        let event = NewEvent::new(id, event_type, content_type, data)
            .schema_version(line.schema_version)
            .metadata(metadata)
            .tagged(tags)
            .correlation_id(optional("correlationId", correlation_id, CorrelationId::stored)?)
            .causation_id(optional("causationId", causation_id, CausationId::stored)?);
        Ok(Self {
            stream: checked("stream", StreamName::stored(line.stream))?,
            revision: Revision::new(line.revision),
            position: line.position.map(Position::new),
            recorded_at: line.recorded_at,
            event,
        })
    }
}

/// Formats an error of the JSON parser for a message that names the line already: with the column
/// of a syntax error, and without the parser's own line number.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let place = format!(" at line {} column {column}", error.line());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    // The column of a wrong field would be relative to an event within its append, and the end of
    // the input needs none.
    if error.is_syntax() { format!("{text} in column {column}") } else { text.to_owned() }
}

fn checked<T>(field: &str, parsed: Result<T, InvalidName>) -> Result<T, String> {
    parsed.map_err(|invalid| format!("`{field}`: {invalid}"))
}

fn optional<T>(
    field: &str,
    text: Option<String>,
    parse: fn(String) -> Result<T, InvalidName>,
) -> Result<Option<T>, String> {
    checked(field, text.map(parse).transpose())
}

/// Returns a payload stored as JSON under one name or as base64 under another.
fn payload(
    name: &str,
    json: Option<Box<RawValue>>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, String> {
    match (json, base64) {
        (Some(_), Some(_)) => Err(format!(
            "the event has both `{name}` and `{name}Base64`; expected only one of them"
        )),
        (Some(json), None) => Ok(Some(json.get().into())),
        (None, Some(text)) => {
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map(Some).map_err(|error| format!("`{name}Base64` is not base64: {error}"))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use gesta_store::EventId;

    use super::*;

    fn recorded(content_type: ContentType, data: &[u8], metadata: &[u8]) -> RecordedEvent {
        let tags = [Tag::new("no-colon").unwrap(), Tag::of("a", "b:c").unwrap()];
        let event_type = EventType::new("order placed").unwrap();
        let event = NewEvent::new(EventId::random(), event_type, content_type, data.to_vec())
            .schema_version(2)
            .metadata(metadata.to_vec())
            .tagged(tags)
            .correlation_id(CorrelationId::new("call").unwrap());
        let stream = StreamName::stored("order-\u{1}\"é").unwrap();
        let (revision, position) = (Revision::new(3), Position::new(7));
        RecordedEvent::new(event, stream, revision, position, RecordedAt::from_micros(1))
    }

    #[test]
    fn every_byte_comes_back() {
        let data: [&[u8]; 9] = [
            b"{\"a\":1.10}",
            b"{ \"a\":\n1 }",
            b"null",
            b"",
            b"\xff\0",
            b"1 2",
            b" 1",
            b"[]\n",
            b"\"\"",
        ];
        let text = ContentType::new("text/plain").unwrap();
        for content_type in [ContentType::JSON, ContentType::OCTET_STREAM, text] {
            for (data, metadata) in data.iter().flat_map(|one| data.map(|other| (one, other))) {
                let event = recorded(content_type.clone(), data, metadata);
                let line = serde_json::to_vec(&crate::events::exact(&event)).unwrap();
                assert!(!line.contains(&b'\n'));
                let parsed = ExportedEvent::from_line(&line).unwrap();
                assert_eq!((&parsed.stream, parsed.revision), (&event.stream, event.revision));
                let back = parsed.event;
                assert_eq!((back.id, &back.event_type), (event.id, &event.event_type));
                assert_eq!((&back.data, &back.metadata), (&event.data, &event.metadata));
                assert_eq!((&back.tags, back.schema_version), (&event.tags, event.schema_version));
                assert_eq!(back.content_type, event.content_type);
                assert_eq!(back.correlation_id, event.correlation_id);
                assert_eq!(back.causation_id, event.causation_id);
            }
        }
    }

    #[test]
    fn a_line_that_is_not_an_event_is_rejected_with_a_reason() {
        let id = "0190a6b4-7c00-7000-8000-000000000001";
        let line = |rest: &str| {
            let line = format!(r#"{{"stream":"a-1","revision":0,"id":"{id}","type":"t"{rest}}}"#);
            ExportedEvent::from_line(line.as_bytes())
        };
        assert_eq!(line(r#","data":{}"#).unwrap().event.schema_version, 1);
        for (rest, reason) in [
            ("", "neither `data` nor `dataBase64`"),
            (r#","data":1,"dataBase64":"""#, "both `data` and `dataBase64`"),
            (r#","dataBase64":"?""#, "`dataBase64` is not base64"),
            (r#","data":1,"datum":2"#, "unknown field `datum`"),
            (r#","data":1,"tags":[""]"#, "`tags`: "),
            (r#","data":1"#, ""),
        ] {
            match line(rest) {
                Ok(_) => assert_eq!(reason, "", "{rest}"),
                Err(error) => assert!(error.contains(reason) && !reason.is_empty(), "{error}"),
            }
        }
        let syntax = ExportedEvent::from_line(b"{\"stream\":\"a\"]").unwrap_err();
        assert!(syntax.ends_with(" in column 14"), "{syntax}");
        let end = ExportedEvent::from_line(b"{\"stream\":\"a\"\n").unwrap_err();
        assert_eq!(end, "EOF while parsing an object");
        assert!(ExportedEvent::from_line(b"{\"stream\":\"a\"}").unwrap_err().contains("revision"));
    }
}
