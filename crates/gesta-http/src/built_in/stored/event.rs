//! A stored event as JSON: as it is stored, and as the program reads it.
//!
//! Invariants: JSON is passed through as it was stored; bytes that are not JSON are in base64. The
//! upcast form is there only where it was asked for and the stored version is an older one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gesta::{Registry, store::RecordedEvent};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Schema, StoredJson,
    requests::personal::PersonalView,
    wire::event::{Payload, recorded_at},
};

/// A stored event.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredEvent {
    /// Position in the store.
    position: u64,
    /// Name of its stream.
    stream: String,
    /// Revision in its stream.
    revision: u64,
    /// Event id.
    id: String,
    /// Event type.
    #[serde(rename = "type")]
    event_type: String,
    /// Schema version of the payload.
    schema_version: u16,
    /// Time of the append, by the store's clock (RFC 3339).
    recorded_at: String,
    /// Content type of the payload.
    content_type: String,
    /// Payload, if it is JSON: exactly as stored, with all digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<StoredJson>,
    /// Payload in base64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    /// Payload in the current version of its type, as JSON: only with `upcast=true`, for an older
    /// version. A list if it is none or several events now.
    #[serde(skip_serializing_if = "Option::is_none")]
    upcast: Option<Value>,
    /// Reason why this program cannot read the payload: only with `upcast=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    /// Metadata, if they are JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<StoredJson>,
    /// Metadata in base64, if they are not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
    /// Tags.
    tags: Vec<String>,
    /// Correlation id: the conversation that the event belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    /// Causation id: the event or request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<String>,
}

impl StoredEvent {
    pub(super) fn of(event: &RecordedEvent) -> Self {
        let Payload { data, data_base64, .. } = Payload::of(event);
        let metadata = StoredJson::of(&event.metadata);
        let is_plain = metadata.is_some() || event.metadata.is_empty();
        Self {
            position: event.position.number(),
            stream: event.stream.to_string(),
            revision: event.revision.number(),
            id: event.id.to_string(),
            event_type: event.event_type.to_string(),
            schema_version: event.schema_version,
            recorded_at: recorded_at(event.recorded_at),
            content_type: event.content_type.to_string(),
            data,
            data_base64,
            upcast: None,
            unreadable: None,
            metadata,
            metadata_base64: (!is_plain).then(|| STANDARD.encode(&event.metadata)),
            tags: event.tags.iter().map(ToString::to_string).collect(),
            correlation_id: event.correlation_id.as_ref().map(ToString::to_string),
            causation_id: event.causation_id.as_ref().map(ToString::to_string),
        }
    }

    /// Adds the payload in the current version of its type.
    pub(super) fn upcast_by(
        self,
        events: &Registry,
        event: &RecordedEvent,
        view: &PersonalView,
    ) -> Self {
        let (name, version) = (event.event_type.as_str(), event.schema_version);
        let Some(current) = events.versions(name).last() else { return self };
        match events.read(name, version, event.into()) {
            Ok(value) if version != current.version => {
                Self { upcast: Some(view.decoded(name, value)), ..self }
            }
            Ok(_) => self,
            Err(error) => {
                let words = view.error_of(&event.event_type, in_words(&error));
                Self { unreadable: Some(words), ..self }
            }
        }
    }
}

/// Returns an error with its causes on one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<_> = causes.map(ToString::to_string).collect();
    words.join(": ").replace('\n', " ")
}
