//! Endpoints about what the server does by itself: consumer groups and projections.
//!
//! Invariant: they read. Not here: changes ([`work_acts`](super::work_acts)).

use axum::response::Response;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{
    group_bodies::settings_json,
    native_call::{NativeCall, json_answer},
    problem::{Problem, ProblemCode},
};
use crate::{
    groups::{self, GroupStatus, GroupSummary},
    projections::{self, ProjectionSummary},
};

/// Lists all consumer groups.
pub(super) async fn list_groups(call: NativeCall) -> Result<Response, Problem> {
    let groups = groups::summaries(&call.work.groups).await.map_err(|refused| problem(&refused))?;
    json_answer(&json!({ "groups": groups.iter().map(group_json).collect::<Vec<_>>() }))
}

/// Lists all projections, with those of the system.
pub(super) async fn list_projections(call: NativeCall) -> Result<Response, Problem> {
    let projections = projections::summaries(&call.work.projections).await;
    let projections = projections.map_err(|refused| problem(&refused))?;
    let projections = projections.into_iter().map(projection_json);
    json_answer(&json!({ "projections": projections.collect::<Vec<_>>() }))
}

fn problem(refused: &Status) -> Problem {
    let code = match refused.code() {
        // Only the server that runs the groups knows of them.
        Code::NotFound => ProblemCode::RunsElsewhere,
        Code::Unimplemented => ProblemCode::NotSupported,
        _ => return Problem::of_status(refused),
    };
    Problem::new(code, refused.message())
}

fn group_json(group: &GroupSummary) -> Value {
    let (status, failure) = match &group.status {
        GroupStatus::Behind => ("behind", None),
        GroupStatus::Live => ("live", None),
        GroupStatus::Replaying => ("replaying", None),
        GroupStatus::Failed(failure) => ("failed", Some(failure)),
    };
    let consumers = group.consumers.iter().map(|consumer| {
        json!({
            "name": consumer.name,
            "address": consumer.address,
            "login": consumer.login,
            "inFlight": consumer.in_flight,
            "freeSlots": consumer.free_slots,
            "delivered": consumer.delivered,
        })
    });
    json!({
        "source": group.source,
        "name": group.name,
        "status": status,
        "failure": failure,
        "checkpoint": group.checkpoint,
        "lastKnown": group.last_known,
        "parked": group.parked,
        "parkedStream": group.parked_stream,
        "waiting": group.waiting,
        "retried": group.retried,
        "inFlight": group.in_flight,
        "delivered": group.delivered,
        "deliveredPerSecond": group.delivered_per_second,
        "settings": settings_json(&group.settings),
        "filter": group.filter,
        "consumers": consumers.collect::<Vec<_>>(),
    })
}

fn projection_json(projection: ProjectionSummary) -> Value {
    json!({
        "name": projection.name,
        "mode": projection.mode,
        "status": projection.status,
        "reason": projection.reason,
        "position": projection.position,
        "checkpoint": projection.checkpoint,
        "progressPercent": projection.progress_percent,
        "handled": projection.handled,
        "partitions": projection.partitions,
        "ofSystem": projection.query.is_none(),
        "query": projection.query,
    })
}
