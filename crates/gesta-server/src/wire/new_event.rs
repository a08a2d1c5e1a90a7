//! Events that a client appends.
//!
//! Invariants: data and metadata are stored byte by byte as they came. The ids of conversation and
//! cause are taken from JSON metadata in addition, so that the store's index finds events by them.

use std::collections::BTreeMap;

use bytes::Bytes;
use gesta_store::{
    CausationId, ContentType, CorrelationId, EventId, EventType, Invalid, Limits, NewEvent,
    StoreError,
};
use serde::Deserialize;
use tonic::Status;

use super::{errors::status, missing, uuid_of};
use crate::proto::{
    shared,
    streams::{append_req, batch_append_req},
};

/// The content type that JSON has in the protocol; everything else is bytes.
const JSON: &str = "application/json";

/// An event of either kind of append.
#[derive(Debug)]
pub(crate) struct Proposal {
    id: Option<shared::Uuid>,
    metadata: BTreeMap<String, String>,
    custom_metadata: Bytes,
    data: Bytes,
}

impl From<append_req::ProposedMessage> for Proposal {
    fn from(message: append_req::ProposedMessage) -> Self {
        let append_req::ProposedMessage { id, metadata, custom_metadata, data } = message;
        Self { id, metadata, custom_metadata, data }
    }
}

impl From<batch_append_req::ProposedMessage> for Proposal {
    fn from(message: batch_append_req::ProposedMessage) -> Self {
        let batch_append_req::ProposedMessage { id, metadata, custom_metadata, data } = message;
        Self { id, metadata, custom_metadata, data }
    }
}

/// Translates an event, and refuses one that exceeds the store's limit.
pub(crate) fn new_event(proposal: Proposal, limits: &Limits) -> Result<NewEvent, Status> {
    let Proposal { id, metadata, custom_metadata, data } = proposal;
    let id = EventId::from(uuid_of(id.as_ref(), "event id")?);
    let event_type = metadata.get("type").ok_or_else(|| missing("type"))?;
    let event_type = EventType::new(event_type.as_str()).map_err(|error| status(&error.into()))?;
    let content_type = match metadata.get("content-type").map(String::as_str) {
        Some(JSON) => ContentType::JSON,
        Some(_) => ContentType::OCTET_STREAM,
        None => return Err(missing("content-type")),
    };
    let event = related(NewEvent::new(id, event_type, content_type, data), custom_metadata);
    let (actual, max) = (event.content_bytes(), limits.event_bytes_max);
    if actual > max {
        let mut refused =
            status(&StoreError::from(Invalid::Limit { limit: "event bytes", actual, max }));
        let id = id.to_string().parse().expect("a UUID is a valid header");
        refused.metadata_mut().insert("event-id", id);
        return Err(refused);
    }
    Ok(event)
}

/// Adds metadata to an event, and the ids of conversation and cause that they carry.
pub(crate) fn related(event: NewEvent, metadata: Bytes) -> NewEvent {
    let related = Related::of(&metadata);
    event
        .metadata(metadata)
        .correlation_id(related.correlation_id.and_then(|id| CorrelationId::new(id).ok()))
        .causation_id(related.causation_id.and_then(|id| CausationId::new(id).ok()))
}

/// Returns the id of the conversation that metadata carry, whatever their other entries are.
pub(crate) fn correlation_in(metadata: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Conversation {
        #[serde(rename = "$correlationId")]
        id: Option<String>,
    }
    // Entries that are left out are not parsed by recursion, as values would be.
    serde_json::from_slice::<Conversation>(metadata).ok()?.id
}

/// The ids that metadata carry by the convention of the protocol's users.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Related {
    #[serde(rename = "$correlationId")]
    pub(super) correlation_id: Option<String>,
    #[serde(rename = "$causationId")]
    pub(super) causation_id: Option<String>,
    /// The cause of an event that a projection emitted, by the convention of projections.
    #[serde(rename = "$causedBy")]
    pub(super) caused_by: Option<String>,
}

impl Related {
    pub(super) fn of(metadata: &[u8]) -> Self {
        // Most metadata have none, and need not be parsed.
        let has = |key: &[u8]| metadata.windows(key.len()).any(|part| part == key);
        if !has(b"$correlationId") && !has(b"$causationId") && !has(b"$causedBy") {
            return Self::default();
        }
        // Metadata of another form are the client's own business.
        serde_json::from_slice(metadata).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::IdForm;

    fn proposal(metadata: &[(&str, &str)], custom_metadata: &str) -> Proposal {
        let metadata =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Proposal {
            id: Some(IdForm::Text.of(uuid::Uuid::from_u128(7))),
            metadata,
            custom_metadata: custom_metadata.to_owned().into(),
            data: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn a_missing_property_is_refused_by_name() {
        for (metadata, property) in
            [(&[("content-type", JSON)][..], "type"), (&[("type", "paid")][..], "content-type")]
        {
            let refused = new_event(proposal(metadata, ""), &Limits::DEFAULT).unwrap_err();
            let named = refused.metadata().get("required-metadata-properties").unwrap();
            assert_eq!(named.to_str().unwrap(), property);
        }
    }

    #[test]
    fn the_conversation_is_found_by_and_the_metadata_stay_as_they_are() {
        let custom = r#"{"$correlationId": "request-42", "$causationId": "7", "team": "sales"}"#;
        let proposal = proposal(&[("type", "paid"), ("content-type", JSON)], custom);
        let event = new_event(proposal, &Limits::DEFAULT).unwrap();
        assert_eq!(event.correlation_id.unwrap().as_str(), "request-42");
        assert_eq!(event.causation_id.unwrap().as_str(), "7");
        assert_eq!(event.metadata, custom.as_bytes());
    }
}
