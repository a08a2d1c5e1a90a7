//! Endpoints about the store: its head, its features, and events by their ids.

use axum::response::Response;
use gesta_store::{Durability, EventId, Filter, Limits, ReadAll, RecordedEvent, Visibility};
use serde::Serialize;
use serde_json::json;

use super::{
    append::appended_answer,
    event_json::EventJson,
    native_call::{NativeCall, json_answer},
    page::{Cut, collect, event_bytes, payload_bytes},
    parameters::{EVENT_ID, LIMIT_MAX, NUMBER_MAX},
    problem::{Problem, ProblemCode},
};
use crate::access::Right;

pub(super) async fn head(call: NativeCall) -> Result<Response, Problem> {
    let head = call.node.store().head().await.map_err(|error| Problem::of_read(&error))?;
    json_answer(&json!({
        "position": head.position.number(),
        "incarnation": head.incarnation.to_string(),
    }))
}

pub(super) async fn features(call: NativeCall) -> Result<Response, Problem> {
    let can = call.node.store().capabilities();
    let durability = match can.durability {
        Durability::Volatile => "volatile",
        Durability::Buffered => "buffered",
        Durability::Synced => "synced",
        // The contract may grow.
        _ => "unknown",
    };
    let Limits { event_bytes_max, append_bytes_max, tags_max, .. } = can.limits;
    json_answer(&json!({
        "features": can.supported.iter().map(|one| one.words()).collect::<Vec<_>>(),
        "durability": durability,
        "repeatWindowAppends": can.repeat_window_appends.min(NUMBER_MAX),
        "limits": {
            "eventBytesMax": event_bytes_max,
            "appendBytesMax": append_bytes_max,
            "tagsMax": tags_max,
        },
    }))
}

#[derive(Debug, Serialize)]
struct EventList<'a> {
    events: Vec<EventJson<'a>>,
}

/// Finds the append whose first event has an id, unless it has a stream that the caller may not
/// read.
pub(super) async fn append_by_id(call: NativeCall) -> Result<Response, Problem> {
    let id = call.arguments.uuid(&EVENT_ID)?.unwrap_or_default();
    let found = call.node.store().find_append(EventId::from(id)).await;
    let found = found.map_err(|error| Problem::of_read(&error))?;
    let missing = || {
        let detail = format!("no append that you may read begins with the id {id}");
        Problem::new(ProblemCode::EventNotFound, detail)
    };
    let found = found.ok_or_else(missing)?;
    for (stream, _) in &found.revisions {
        let may = call.node.access().may(&call.caller, stream, Right::Read).await;
        if !may.map_err(|error| Problem::of_read(&error))? {
            return Err(missing());
        }
    }
    appended_answer(&found)
}

/// Finds the events with an id: one in each stream that has it and that the caller may read.
pub(super) async fn events_by_id(call: NativeCall) -> Result<Response, Problem> {
    let id = call.arguments.uuid(&EVENT_ID)?.unwrap_or_default();
    call.node.counters().reads.add(1);
    let read = ReadAll::forwards()
        .filter(Filter::EventId(EventId::from(id)))
        .visibility(Visibility::Visible);
    let turn = call.turn().await?;
    let pages = call.node.store().read_all(read);
    let Cut { events, .. } = collect(pages, LIMIT_MAX, event_bytes).await?;
    let mut shown: Vec<RecordedEvent> = Vec::new();
    for event in events {
        let may = call.node.access().may(&call.caller, &event.stream, Right::Read).await;
        if may.map_err(|error| Problem::of_read(&error))? {
            shown.push(event);
        }
    }
    if shown.is_empty() {
        let detail = format!("no event that you may read has the id {id}");
        return Err(Problem::new(ProblemCode::EventNotFound, detail));
    }
    call.node.counters().events_read.add(shown.len() as u64);
    call.payload_answer(turn, payload_bytes(&shown), move || {
        serde_json::to_vec(&EventList { events: shown.iter().map(EventJson::of).collect() })
    })
    .await
}
