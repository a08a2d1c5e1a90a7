//! Recorded events as clients read them.

use bytes::Bytes;
use gesta_store::RecordedEvent;

use super::{IdForm, envelope::sent_metadata, identifier};
use crate::proto::{Property, Record};

/// Translates an event. Commit and prepare position are both its position.
pub(crate) fn recorded_event(event: &RecordedEvent, form: IdForm) -> Record {
    let content_type: &[u8] = match event.content_type.is_json() {
        true => b"application/json",
        false => b"application/octet-stream",
    };
    // Ticks of 100 ns.
    let created = event.recorded_at.micros().saturating_mul(10);
    let property = |key: &'static [u8], value| Property { key: Bytes::from_static(key), value };
    Record {
        id: Some(form.of(event.id.as_uuid())),
        stream_identifier: Some(identifier(&event.stream)),
        stream_revision: event.revision.number(),
        prepare_position: event.position.number(),
        commit_position: event.position.number(),
        metadata: vec![
            property(b"type", Bytes::copy_from_slice(event.event_type.as_str().as_bytes())),
            property(b"created", created.to_string().into()),
            property(b"content-type", Bytes::from_static(content_type)),
        ],
        custom_metadata: sent_metadata(event),
        data: event.data.clone(),
    }
}
