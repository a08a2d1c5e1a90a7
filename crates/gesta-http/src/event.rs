//! Recorded events as JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gesta::{
    EventMetadata,
    store::{ContentType, RecordedAt, RecordedEvent},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

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
    pub data: Option<Value>,
    /// What exactly happened, where it is not.
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
        /// What exactly happened, where it is JSON.
        data: Option<Value>,
        /// What exactly happened, where it is not.
        data_base64: Option<String>,
    }
}

impl EventDetails {
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        let data = json_of(event);
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
            data_base64: data.is_none().then(|| STANDARD.encode(&event.data)),
            data,
        }
    }
}

fn json_of(event: &RecordedEvent) -> Option<Value> {
    if event.content_type != ContentType::JSON {
        return None;
    }
    serde_json::from_slice(&event.data).ok()
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
    fn a_time_is_written_as_rfc_3339_says() {
        assert_eq!(recorded_at(RecordedAt::from_micros(1_500_000)), "1970-01-01T00:00:01.5Z");
        assert_eq!(recorded_at(RecordedAt::from_micros(u64::MAX)), Timestamp::MAX.to_string());
    }
}
