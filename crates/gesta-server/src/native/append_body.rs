//! The body of an append, and its translation.
//!
//! Owns: the names of its fields. Invariants: JSON is stored byte by byte as it came; a refusal
//! names the field by its path; every name, id and number is checked before the store sees it. Not
//! here: rights, and the append itself ([`append`](super::append)).

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use gesta_store::{
    Append, AppendCondition, CausationId, ContentType, CorrelationId, EventId, EventType,
    ExpectedRevision, NewEvent, Position, Revision, StreamAppend, StreamName, Tag,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    object::Object,
    parameters::NUMBER_MAX,
    problem::Problem,
    selection::{QueryItemBody, plain, query_of},
};
use crate::wire::related;

/// Maximum number of streams of an append, with those that are only checked.
pub(super) const STREAMS_MAX: usize = 1_000;

/// The body of `POST /v1/append`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct AppendBody<'b> {
    #[serde(borrow)]
    streams: Vec<Object<StreamBody<'b>>>,
    condition: Option<Object<ConditionBody>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StreamBody<'b> {
    stream: String,
    #[serde(default)]
    expected: ExpectedBody,
    #[serde(borrow, default)]
    events: Vec<Object<EventBody<'b>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EventBody<'b> {
    id: Option<Uuid>,
    r#type: String,
    schema_version: Option<u16>,
    content_type: Option<String>,
    // `null` is JSON, too, and not the same as no data.
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'b RawValue>,
    data_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    metadata: Option<&'b RawValue>,
    metadata_base64: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConditionBody {
    none_matching: Vec<Object<QueryItemBody>>,
    after: u64,
}

fn present<'b, D: Deserializer<'b>>(deserializer: D) -> Result<Option<&'b RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// An expected revision: a number, or one of three words.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpectedBody(pub(super) ExpectedRevision);

impl Default for ExpectedBody {
    fn default() -> Self {
        Self(ExpectedRevision::Any)
    }
}

impl ExpectedBody {
    const FORM: &str = "must be a revision, `any`, `no-stream` or `stream-exists`";

    fn of_text(text: &str) -> Option<Self> {
        Some(Self(match text {
            "any" => ExpectedRevision::Any,
            "no-stream" => ExpectedRevision::NoStream,
            "stream-exists" => ExpectedRevision::StreamExists,
            _ => return None,
        }))
    }

    const fn of_number(number: u64) -> Option<Self> {
        if number > NUMBER_MAX {
            return None;
        }
        Some(Self(ExpectedRevision::Exact(Revision::new(number))))
    }

    /// Reads a parameter of a query.
    pub(super) fn of_parameter(field: &str, text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text else { return Ok(Self::default()) };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number).and_then(Self::of_number);
        let refused = || Problem::invalid(field, format!("{}; got `{text}`", Self::FORM));
        number.or_else(|| Self::of_text(text)).ok_or_else(refused)
    }
}

impl<'de> Deserialize<'de> for ExpectedBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl Visitor<'_> for Expected {
            type Value = ExpectedBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a revision, `any`, `no-stream` or `stream-exists`")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<ExpectedBody, E> {
                ExpectedBody::of_number(number).ok_or_else(|| E::custom(ExpectedBody::FORM))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ExpectedBody, E> {
                ExpectedBody::of_text(text)
                    .ok_or_else(|| E::custom(format!("{}; got `{text}`", ExpectedBody::FORM)))
            }
        }

        deserializer.deserialize_any(Expected).map_err(D::Error::custom)
    }
}

impl AppendBody<'_> {
    /// Translates the append.
    pub(super) fn into_append(self) -> Result<Append, Problem> {
        let count = self.streams.len();
        if count == 0 || count > STREAMS_MAX {
            let reason = format!("must have 1 to {STREAMS_MAX} streams; it has {count}");
            return Err(Problem::invalid("streams", reason));
        }
        let mut ids = Ids::default();
        let streams = self.streams.into_iter().enumerate();
        let streams =
            streams.map(|(at, Object(body))| body.into_part(&format!("streams[{at}]"), &mut ids));
        let append = Append::of(streams.collect::<Result<_, _>>()?);
        Ok(match self.condition {
            Some(Object(condition)) => append.with_condition(condition.into_condition()?),
            None => append,
        })
    }
}

impl StreamBody<'_> {
    fn into_part(self, place: &str, ids: &mut Ids) -> Result<StreamAppend, Problem> {
        let Self { stream, expected, events } = self;
        // A check may name a stream that an earlier rule of names allowed.
        let name = match events.is_empty() {
            true => StreamName::stored(stream),
            false => StreamName::new(stream),
        };
        let name =
            name.map_err(|invalid| Problem::invalid_name(&format!("{place}.stream"), &invalid))?;
        let events = events.into_iter().enumerate();
        let events = events
            .map(|(at, Object(event))| event.into_event(&format!("{place}.events[{at}]"), ids));
        Ok(StreamAppend::new(name, expected.0, events.collect::<Result<Vec<_>, _>>()?))
    }
}

impl EventBody<'_> {
    fn into_event(self, place: &str, ids: &mut Ids) -> Result<NewEvent, Problem> {
        let field = |name: &str| format!("{place}.{name}");
        let (data, is_json) =
            payload(&field("data"), self.data, &field("dataBase64"), self.data_base64)?;
        let (metadata, _) = payload(
            &field("metadata"),
            self.metadata,
            &field("metadataBase64"),
            self.metadata_base64,
        )?;
        let event_type = EventType::new(self.r#type)
            .map_err(|invalid| Problem::invalid_name(&field("type"), &invalid))?;
        let content_type = content_type(&field("contentType"), self.content_type, is_json)?;
        let version = self.schema_version.unwrap_or(1);
        if version == 0 {
            return Err(Problem::invalid(&field("schemaVersion"), "must be at least 1; got 0"));
        }
        let tags = self.tags.into_iter().enumerate().map(|(at, tag)| {
            let refused = |invalid| Problem::invalid_name(&field(&format!("tags[{at}]")), &invalid);
            Tag::new(tag).map_err(refused)
        });
        let tags: Vec<_> = tags.collect::<Result<_, _>>()?;
        let id = ids.next(self.id);
        let event = related(NewEvent::new(id, event_type, content_type, data), metadata);
        let mut event = event.schema_version(version).tagged(tags);
        if let Some(text) = self.correlation_id {
            let id = CorrelationId::new(text);
            let id = id.map_err(|odd| Problem::invalid_name(&field("correlationId"), &odd))?;
            event = event.correlation_id(id);
        }
        if let Some(text) = self.causation_id {
            let id = CausationId::new(text);
            let id = id.map_err(|odd| Problem::invalid_name(&field("causationId"), &odd))?;
            event = event.causation_id(id);
        }
        Ok(event)
    }
}

/// The ids of the events of an append, in their order.
#[derive(Debug, Default)]
struct Ids {
    /// The id of the first event, if the request has it.
    first: Option<EventId>,
    count: u64,
}

impl Ids {
    /// Returns the id of the next event. One that the request lacks follows from that of the first
    /// event, so that a retry has the same ids.
    fn next(&mut self, given: Option<Uuid>) -> EventId {
        let (ordinal, given) = (self.count, given.map(EventId::from));
        self.count += 1;
        if ordinal == 0 {
            self.first = given;
        }
        given.unwrap_or_else(|| match self.first {
            Some(first) => EventId::derived_from(&first.to_string(), ordinal),
            None => EventId::random(),
        })
    }
}

/// Returns the bytes of a payload that is given as JSON, in base64, or not at all. Also returns
/// `true` if it was given as JSON.
fn payload(
    json_field: &str,
    json: Option<&RawValue>,
    base64_field: &str,
    base64: Option<String>,
) -> Result<(Bytes, bool), Problem> {
    match (json, base64) {
        (Some(_), Some(_)) => {
            Err(Problem::invalid(json_field, "and its form in base64 exclude each other"))
        }
        (Some(json), None) => Ok((Bytes::copy_from_slice(json.get().as_bytes()), true)),
        (None, Some(text)) => {
            let bytes = BASE64_STANDARD.decode(text);
            let bytes = bytes.map_err(|error| {
                Problem::invalid(base64_field, format!("must be base64: {error}"))
            })?;
            Ok((bytes.into(), false))
        }
        (None, None) => Ok((Bytes::new(), false)),
    }
}

fn content_type(field: &str, given: Option<String>, is_json: bool) -> Result<ContentType, Problem> {
    let Some(text) = given else {
        return Ok(if is_json { ContentType::JSON } else { ContentType::OCTET_STREAM });
    };
    let content_type =
        ContentType::new(text).map_err(|invalid| Problem::invalid_name(field, &invalid))?;
    if is_json && !content_type.is_json() {
        let reason = "must be one of JSON, because `data` is given; use `dataBase64` for others";
        return Err(Problem::invalid(field, reason));
    }
    Ok(content_type)
}

impl ConditionBody {
    fn into_condition(self) -> Result<AppendCondition, Problem> {
        if self.after > NUMBER_MAX {
            let reason = format!("must be at most {NUMBER_MAX}; got {}", self.after);
            return Err(Problem::invalid("condition.after", reason));
        }
        Ok(AppendCondition {
            none_matching: query_of("condition.noneMatching", plain(self.none_matching))?,
            after: Position::new(self.after),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::native_call::parse;

    fn append(json: &str) -> Result<Append, Problem> {
        parse::<AppendBody<'_>>(json.as_bytes()).and_then(AppendBody::into_append)
    }

    fn of_event(event: &str) -> Result<NewEvent, Problem> {
        let append = append(&format!(r#"{{"streams":[{{"stream":"s-1","events":[{event}]}}]}}"#))?;
        Ok(append.events().next().unwrap().clone())
    }

    #[test]
    fn ids_that_are_left_out_follow_from_the_first_one() {
        let ids = |first: &str| {
            let json = format!(
                r#"{{"streams":[{{"stream":"s-1","events":[{{"type":"a"{first}}},{{"type":"b"}}]}},
                    {{"stream":"s-2","events":[{{"type":"c"}}]}}]}}"#
            );
            append(&json).unwrap().events().map(|event| event.id).collect::<Vec<_>>()
        };
        let first = r#","id":"7b0a1f0e-51cb-4c1c-9d0c-0f6a3c1e2d4b""#;
        assert_eq!(ids(first), ids(first));
        assert_ne!(ids(first)[1], ids(first)[2]);
        let (once, again) = (ids(""), ids(""));
        assert!(once.iter().all(|id| !again.contains(id)));
    }

    #[test]
    fn json_is_kept_byte_by_byte_and_null_is_json() {
        let event =
            of_event(r#"{"type":"t","data":{ "b":1.10,"a":[ ] },"metadata":null}"#).unwrap();
        assert_eq!(event.data, r#"{ "b":1.10,"a":[ ] }"#);
        assert_eq!(
            (event.metadata.as_ref(), &event.content_type),
            (&b"null"[..], &ContentType::JSON)
        );
        let event = of_event(r#"{"type":"t","data":null}"#).unwrap();
        assert_eq!(event.data, "null");
        let event = of_event(r#"{"type":"t","dataBase64":"AAE="}"#).unwrap();
        assert_eq!(
            (event.data.as_ref(), &event.content_type),
            (&[0, 1][..], &ContentType::OCTET_STREAM)
        );
    }

    #[test]
    fn everything_that_an_event_has_is_taken() {
        let id = "6f0e2a8e-65a9-4a3a-8f0c-6f3e2d9d1a10";
        let json = format!(
            r#"{{"id":"{id}","type":"t","schemaVersion":3,"contentType":"application/a+json",
            "data":1,"metadata":{{"$correlationId":"c-1","$causationId":"x"}},"tags":["a:1"],
            "causationId":"c-2"}}"#
        );
        let event = of_event(&json).unwrap();
        assert_eq!(event.id.to_string(), id);
        assert_eq!((event.schema_version, event.tags.len()), (3, 1));
        assert_eq!(event.content_type.as_str(), "application/a+json");
        assert_eq!(event.correlation_id.unwrap().as_str(), "c-1");
        assert_eq!(event.causation_id.unwrap().as_str(), "c-2");
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (event, field) in [
            (r#"{"data":1}"#, "type"),
            (r#"{"type":""}"#, "type"),
            (r#"{"type":"t","data":1,"dataBase64":""}"#, "data"),
            (r#"{"type":"t","dataBase64":"?"}"#, "dataBase64"),
            (r#"{"type":"t","data":1,"contentType":"text/plain"}"#, "contentType"),
            (r#"{"type":"t","schemaVersion":0}"#, "schemaVersion"),
            (r#"{"type":"t","tags":["a",""]}"#, "tags[1]"),
            (r#"{"type":"t","correlationId":""}"#, "correlationId"),
            (r#"{"type":"t","id":"7"}"#, "id"),
            (r#"{"type":"t","typ":"x"}"#, "typ"),
        ] {
            let problem = of_event(event).unwrap_err().to_json();
            let text = problem.to_string();
            assert!(
                problem["field"].as_str().unwrap().starts_with("streams[0].events[0]"),
                "{text}"
            );
            assert!(text.contains(field), "{text}");
        }
    }

    #[test]
    fn an_expectation_is_a_revision_or_a_word() {
        for (expected, read) in [
            ("3", Some(ExpectedRevision::Exact(Revision::new(3)))),
            (r#""any""#, Some(ExpectedRevision::Any)),
            (r#""no-stream""#, Some(ExpectedRevision::NoStream)),
            (r#""stream-exists""#, Some(ExpectedRevision::StreamExists)),
            (r#""3""#, None),
            ("-1", None),
            ("9007199254740992", None),
            ("null", None),
        ] {
            let json = format!(r#"{{"streams":[{{"stream":"s-1","expected":{expected}}}]}}"#);
            let found = append(&json).ok().map(|append| append.streams[0].expected);
            assert_eq!(found, read, "{expected}");
        }
        for (text, is_read) in [("7", true), ("any", true), ("+7", false), ("", false)] {
            assert_eq!(
                ExpectedBody::of_parameter("expected", Some(text)).is_ok(),
                is_read,
                "{text}"
            );
        }
    }

    #[test]
    fn an_append_names_streams_and_a_condition_a_query() {
        assert!(append(r#"{"streams":[]}"#).is_err());
        // A list is no object, whatever its entries.
        assert!(append(r#"[[{"stream":"s-1"}],null]"#).is_err());
        assert!(append(r#"{"streams":[["s-1","any",[]]]}"#).is_err());
        assert!(append(r#"{"streams":[{"stream":"s-1","events":[[null,"t"]]}]}"#).is_err());
        assert!(
            append(r#"{"streams":[{"stream":"s-1"}],"condition":[[{"tags":["b:2"]}],0]}"#).is_err()
        );
        let condition = |none: &str| {
            append(&format!(
                r#"{{"streams":[{{"stream":"s-1"}}],
                "condition":{{"noneMatching":{none},"after":0}}}}"#
            ))
        };
        let append = condition(r#"[{"types":["t"],"tags":["a:1"]},{"tags":["b:2"]}]"#).unwrap();
        assert_eq!(append.condition.unwrap().none_matching.items().len(), 2);
        for none in ["[]", "[{}]"] {
            let problem = condition(none).unwrap_err().to_json();
            let field = problem["field"].as_str().unwrap();
            assert!(field.starts_with("condition.noneMatching"), "{field}");
        }
    }
}
