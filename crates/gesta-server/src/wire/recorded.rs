//! Recorded events as clients read them.

use gesta_store::RecordedEvent;

use super::{IdForm, identifier};
use crate::proto::streams::read_resp::read_event::RecordedEvent as Record;

/// Translates an event. Commit and prepare position are both its position.
pub(crate) fn recorded_event(event: &RecordedEvent, form: IdForm) -> Record {
    let content_type = match event.content_type.is_json() {
        true => "application/json",
        false => "application/octet-stream",
    };
    // Ticks of 100 ns.
    let created = u128::from(event.recorded_at.micros()) * 10;
    let metadata = [
        ("type", event.event_type.as_str().to_owned()),
        ("created", created.to_string()),
        ("content-type", content_type.to_owned()),
    ];
    Record {
        id: Some(form.of(event.id.as_uuid())),
        stream_identifier: Some(identifier(&event.stream)),
        stream_revision: event.revision.number(),
        prepare_position: event.position.number(),
        commit_position: event.position.number(),
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        custom_metadata: event.metadata.clone(),
        data: event.data.clone(),
    }
}
