//! The form of an event as a record: CloudEvents in binary mode, with headers for the rest.
//!
//! Invariant: a recorded event comes back from its record as it was, with its stream, revision and
//! position. The record's key is the stream, its value is the data.
//!
//! Attributes of CloudEvents have the prefix `ce_`, as its Kafka binding says. What has no place
//! there has the prefix `gesta-`. Names of headers never change.

use bytes::Bytes;
use gesta_store::{
    CausationId, ContentType, CorrelationId, EventId, EventType, InvalidName, NewEvent, Position,
    RecordedAt, RecordedEvent, Revision, StreamName, Tag,
};
use rdkafka::{
    Message,
    message::{Header, Headers as _, OwnedHeaders},
};

/// Names of the headers of relayed events.
///
/// | header | value |
/// | --- | --- |
/// | `ce_specversion` | `1.0` |
/// | `ce_id` | id of the event, a UUID |
/// | `ce_source` | the relay, or the text that it was given |
/// | `ce_type` | event type |
/// | `ce_subject` | stream |
/// | `ce_time` | time at which the store recorded the event (RFC 3339, UTC) |
/// | `content-type` | media type of the value |
/// | `ce_schemaversion` | version of the type's schema |
/// | `ce_revision` | place of the event in its stream, from 0 |
/// | `ce_position` | place of the event in its store |
/// | `ce_correlationid`, `ce_causationid` | the related ids, if the event has them |
/// | `gesta-recorded-at` | the time in microseconds since 1970 |
/// | `gesta-metadata` | metadata of the event, if it has any, as bytes |
/// | `gesta-tags` | tags, if the event has any, as a JSON array of texts |
///
/// ```
/// assert_eq!(gesta_kafka::headers::POSITION, "ce_position");
/// ```
pub mod headers {
    /// Version of the CloudEvents specification.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// Id of the event.
    pub const ID: &str = "ce_id";
    /// Origin of the event.
    pub const SOURCE: &str = "ce_source";
    /// Event type.
    pub const TYPE: &str = "ce_type";
    /// Stream of the event.
    pub const SUBJECT: &str = "ce_subject";
    /// Time at which the store recorded the event.
    pub const TIME: &str = "ce_time";
    /// Media type of the value.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Version of the type's schema.
    pub const SCHEMA_VERSION: &str = "ce_schemaversion";
    /// Place of the event in its stream.
    pub const REVISION: &str = "ce_revision";
    /// Place of the event in its store.
    pub const POSITION: &str = "ce_position";
    /// The conversation that the event belongs to.
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// The command or event that caused the event.
    pub const CAUSATION_ID: &str = "ce_causationid";
    /// The time of recording, in microseconds since 1970.
    pub const RECORDED_AT: &str = "gesta-recorded-at";
    /// Metadata of the event.
    pub const METADATA: &str = "gesta-metadata";
    /// Tags of the event.
    pub const TAGS: &str = "gesta-tags";
}

/// The error for a record that is no relayed event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableRecord {
    /// A header or the key is missing. The record was not written by a relay.
    #[error("it has no {part}")]
    Missing {
        /// The header, or `key`.
        part: &'static str,
    },
    /// A header, or the key, has another form than a relay gives it.
    #[error("its {part} cannot be read: {reason}")]
    Malformed {
        /// The header, or `key`.
        part: &'static str,
        /// The reason.
        reason: String,
    },
}

/// Returns the headers of an event's record.
pub(crate) fn headers_of(event: &RecordedEvent, source: &str) -> OwnedHeaders {
    let mut all = OwnedHeaders::new_with_capacity(15);
    let mut put = |key: &str, value: &[u8]| {
        let filled = std::mem::replace(&mut all, OwnedHeaders::new_with_capacity(0));
        all = filled.insert(Header { key, value: Some(value) });
    };
    put(headers::SPEC_VERSION, b"1.0");
    put(headers::ID, event.id.to_string().as_bytes());
    put(headers::SOURCE, source.as_bytes());
    put(headers::TYPE, event.event_type.as_str().as_bytes());
    put(headers::SUBJECT, event.stream.as_str().as_bytes());
    put(headers::TIME, rfc3339(event.recorded_at).as_bytes());
    put(headers::CONTENT_TYPE, event.content_type.as_str().as_bytes());
    put(headers::SCHEMA_VERSION, event.schema_version.to_string().as_bytes());
    put(headers::REVISION, event.revision.to_string().as_bytes());
    put(headers::POSITION, event.position.to_string().as_bytes());
    if let Some(id) = &event.correlation_id {
        put(headers::CORRELATION_ID, id.as_str().as_bytes());
    }
    if let Some(id) = &event.causation_id {
        put(headers::CAUSATION_ID, id.as_str().as_bytes());
    }
    put(headers::RECORDED_AT, event.recorded_at.micros().to_string().as_bytes());
    if !event.metadata.is_empty() {
        put(headers::METADATA, &event.metadata);
    }
    if !event.tags.is_empty() {
        let tags: Vec<&str> = event.tags.iter().map(Tag::as_str).collect();
        put(headers::TAGS, serde_json::json!(tags).to_string().as_bytes());
    }
    all
}

/// Returns the event of a record that a relay has written.
///
/// # Errors
///
/// [`UnreadableRecord`] if a part is missing or malformed, as in records of other programs.
pub fn recorded_event(record: &impl Message) -> Result<RecordedEvent, UnreadableRecord> {
    let parts = Parts { record };
    let stream = record.key().ok_or(UnreadableRecord::Missing { part: "key" })?;
    let stream = text("key", stream)?;
    let stream = named("key", StreamName::stored(stream))?;
    let id = parts.parsed::<EventId>(headers::ID)?;
    let event_type = named(headers::TYPE, EventType::stored(parts.text(headers::TYPE)?))?;
    let content_type = parts.text(headers::CONTENT_TYPE)?;
    let content_type = named(headers::CONTENT_TYPE, ContentType::stored(content_type))?;
    let data = Bytes::copy_from_slice(record.payload().unwrap_or_default());
    let mut event = NewEvent::new(id, event_type, content_type, data)
        .schema_version(parts.parsed(headers::SCHEMA_VERSION)?)
        .tagged(parts.tags()?);
    if let Some(metadata) = parts.bytes(headers::METADATA) {
        event = event.metadata(Bytes::copy_from_slice(metadata));
    }
    if let Some(id) = parts.optional(headers::CORRELATION_ID)? {
        event = event.correlation_id(named(headers::CORRELATION_ID, CorrelationId::stored(id))?);
    }
    if let Some(id) = parts.optional(headers::CAUSATION_ID)? {
        event = event.causation_id(named(headers::CAUSATION_ID, CausationId::stored(id))?);
    }
    Ok(RecordedEvent::new(
        event,
        stream,
        Revision::new(parts.parsed(headers::REVISION)?),
        Position::new(parts.parsed(headers::POSITION)?),
        RecordedAt::from_micros(parts.parsed(headers::RECORDED_AT)?),
    ))
}

/// Returns the position of a relayed event without reading the rest of its record.
pub(crate) fn position_of(record: &impl Message) -> Result<Position, UnreadableRecord> {
    Parts { record }.parsed(headers::POSITION).map(Position::new)
}

/// The headers of a record, by their names.
struct Parts<'r, M> {
    record: &'r M,
}

impl<M: Message> Parts<'_, M> {
    fn bytes(&self, part: &str) -> Option<&[u8]> {
        // The last one counts if a proxy has added another, as in HTTP.
        let all = self.record.headers()?;
        (0..all.count()).rev().filter_map(|nth| all.try_get(nth)).find(|one| one.key == part)?.value
    }

    fn optional(&self, part: &'static str) -> Result<Option<&str>, UnreadableRecord> {
        self.bytes(part).map(|bytes| text(part, bytes)).transpose()
    }

    fn text(&self, part: &'static str) -> Result<&str, UnreadableRecord> {
        self.optional(part)?.ok_or(UnreadableRecord::Missing { part })
    }

    fn parsed<T>(&self, part: &'static str) -> Result<T, UnreadableRecord>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let malformed =
            |error: T::Err| UnreadableRecord::Malformed { part, reason: error.to_string() };
        self.text(part)?.parse().map_err(malformed)
    }

    fn tags(&self) -> Result<Vec<Tag>, UnreadableRecord> {
        let Some(json) = self.bytes(headers::TAGS) else { return Ok(Vec::new()) };
        let tags: Vec<String> = serde_json::from_slice(json).map_err(|error| {
            UnreadableRecord::Malformed { part: headers::TAGS, reason: error.to_string() }
        })?;
        tags.into_iter().map(|tag| named(headers::TAGS, Tag::stored(tag))).collect()
    }
}

fn text<'b>(part: &'static str, bytes: &'b [u8]) -> Result<&'b str, UnreadableRecord> {
    std::str::from_utf8(bytes)
        .map_err(|error| UnreadableRecord::Malformed { part, reason: error.to_string() })
}

fn named<T>(part: &'static str, name: Result<T, InvalidName>) -> Result<T, UnreadableRecord> {
    name.map_err(|error| UnreadableRecord::Malformed { part, reason: error.to_string() })
}

/// Formats a time by RFC 3339, in UTC, with microseconds.
fn rfc3339(time: RecordedAt) -> String {
    const DAY_SECONDS: u64 = 86_400;
    let (seconds, micros) = (time.micros() / 1_000_000, time.micros() % 1_000_000);
    let (year, month, day) = civil_date(seconds / DAY_SECONDS);
    let second_of_day = seconds % DAY_SECONDS;
    let (hour, minute) = (second_of_day / 3_600, second_of_day / 60 % 60);
    let second = second_of_day % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Returns year, month and day of a number of days after 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is the last day of a year, and in eras of 400
    // years, which all have the same number of days. 1970-01-01 is day 719,468 of that calendar.
    const ERA_DAYS: u64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / (ERA_DAYS - 1);
    let year_of_era = (day_of_era - leap_days.min(day_of_era)) / 365;
    let first_day = 365 * year_of_era + year_of_era / 4 - year_of_era / 100;
    let day_of_year = day_of_era - first_day;
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use rdkafka::{Timestamp, message::OwnedMessage};

    use super::*;

    fn event() -> RecordedEvent {
        let event = NewEvent::json(
            EventId::derived_from("request", 1),
            EventType::new("money-deposited").unwrap(),
            r#"{"amount":"7.50"}"#,
        )
        .schema_version(3)
        .metadata(&b"\xff\x00 any bytes"[..])
        .tagged([Tag::of("account", "7").unwrap(), Tag::of("owner", "Zoë").unwrap()])
        .correlation_id(CorrelationId::new("request").unwrap())
        .causation_id(CausationId::new("command").unwrap());
        RecordedEvent::new(
            event,
            StreamName::new("account-7").unwrap(),
            Revision::new(4),
            Position::new(1_234),
            RecordedAt::from_micros(1_796_110_679_123_456),
        )
    }

    fn record(event: &RecordedEvent) -> OwnedMessage {
        OwnedMessage::new(
            Some(event.data.to_vec()),
            Some(event.stream.as_str().as_bytes().to_vec()),
            "shop.events".to_owned(),
            Timestamp::NotAvailable,
            0,
            0,
            Some(headers_of(event, "/shop")),
        )
    }

    #[test]
    fn an_event_comes_back_from_its_record() {
        let full = event();
        assert_eq!(recorded_event(&record(&full)).unwrap(), full);
        let mut bare = event();
        bare.metadata = Bytes::new();
        bare.tags = Vec::new();
        bare.correlation_id = None;
        bare.causation_id = None;
        bare.data = Bytes::new();
        assert_eq!(recorded_event(&record(&bare)).unwrap(), bare);
    }

    #[test]
    fn a_record_has_the_attributes_of_cloud_events() {
        let record = record(&event());
        let parts = Parts { record: &record };
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_source", "/shop"),
            ("ce_type", "money-deposited"),
            ("ce_subject", "account-7"),
            ("ce_time", "2026-12-01T07:37:59.123456Z"),
            ("content-type", "application/json"),
            ("ce_position", "1234"),
        ] {
            assert_eq!(parts.text(name_of(name)).unwrap(), value, "{name}");
        }
    }

    fn name_of(name: &'static str) -> &'static str {
        name
    }

    #[test]
    fn a_record_of_another_program_is_refused_with_the_part_that_is_missing() {
        let message = |key: Option<&[u8]>, headers| {
            let key = key.map(<[u8]>::to_vec);
            let topic = "shop.events".to_owned();
            OwnedMessage::new(None, key, topic, Timestamp::NotAvailable, 0, 0, headers)
        };
        let error = recorded_event(&message(None, None)).unwrap_err();
        assert_eq!(error.to_string(), "it has no key");
        let error = recorded_event(&message(Some(b"account-7"), None)).unwrap_err();
        assert_eq!(error.to_string(), "it has no ce_id");
        let wrong = headers_of(&event(), "/shop").insert(Header { key: "ce_id", value: Some("7") });
        let error = recorded_event(&message(Some(b"account-7"), Some(wrong))).unwrap_err();
        assert!(error.to_string().starts_with("its ce_id cannot be read: "), "{error}");
    }

    #[test]
    fn times_are_formatted_over_leap_days_and_centuries() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_000_001, "2000-02-28T23:59:59.000001Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(rfc3339(RecordedAt::from_micros(micros)), text);
        }
    }
}
