//! Scavenges and the end of the server, for operators without a gRPC client.
//!
//! Invariant: no request waits for a scavenge that it starts. Not here: the scavenge
//! ([`scavenges`](crate::scavenges)), and who may ask ([`access`](crate::access)).

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    node::Node,
    scavenges::{NotStarted, ScavengeRequest, ScavengeStatus},
};

/// The parameters of a scavenge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartParameters {
    /// Minimum share of a part of the store that must be reclaimable, in percent.
    threshold: Option<u8>,
}

/// Starts a scavenge: 202 with its place, 409 with the one that runs, or 501.
pub(super) async fn start(
    State(node): State<Node>,
    Query(StartParameters { threshold }): Query<StartParameters>,
) -> Response {
    if let Some(percent) = threshold.filter(|percent| *percent > 100) {
        let text = format!("`threshold` must be between 0 and 100; got {percent}\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    match node.start_scavenge(ScavengeRequest { threshold_percent: threshold }) {
        Ok(started) => {
            let place = [(header::LOCATION, format!("/admin/scavenge/{}", started.id))];
            (StatusCode::ACCEPTED, place, Json(started.to_json())).into_response()
        }
        Err(NotStarted::UnderWay(running)) => {
            (StatusCode::CONFLICT, Json(running.to_json())).into_response()
        }
        Err(NotStarted::Busy(what)) => {
            (StatusCode::CONFLICT, format!("{what} is running; stop it, or wait\n")).into_response()
        }
        Err(NotStarted::Unsupported) => {
            let text = "only a store in a directory is scavenged; others keep hidden events\n";
            (StatusCode::NOT_IMPLEMENTED, text).into_response()
        }
        Err(NotStarted::Ending) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n").into_response()
        }
    }
}

/// Answers with the last scavenge.
pub(super) async fn last(State(node): State<Node>) -> Response {
    match node.scavenges().last() {
        Some(scavenge) => Json(scavenge.to_json()).into_response(),
        None => {
            let text = "no scavenge was started since the start of the server\n";
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

/// Answers with a scavenge, if it is the last one.
pub(super) async fn show(State(node): State<Node>, Path(id): Path<String>) -> Response {
    found(node.scavenges().last().filter(|last| last.id.to_string() == id))
}

/// Ends a scavenge, and answers when it has ended.
pub(super) async fn stop(State(node): State<Node>, Path(id): Path<String>) -> Response {
    found(match id.parse::<Uuid>() {
        Ok(id) => node.scavenges().stop(id).await,
        Err(_) => None,
    })
}

/// Begins the graceful end of the server.
pub(super) async fn shut_down(State(node): State<Node>) -> StatusCode {
    tracing::info!("an operator has asked for the end of the server");
    node.ask_for_end();
    StatusCode::ACCEPTED
}

fn found(scavenge: Option<ScavengeStatus>) -> Response {
    match scavenge {
        Some(scavenge) => Json(scavenge.to_json()).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such scavenge\n").into_response(),
    }
}
