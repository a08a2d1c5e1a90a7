//! Endpoints about the server: what it is, how it was started, how much is in its store, and the
//! scavenges of that.

use axum::response::Response;
use gesta_store::CountedNames;
use serde::Serialize;
use serde_json::json;

use super::{
    endpoint::OWN_PATHS,
    native_call::{NativeCall, json_answer},
    parameters::{COUNT_LIMIT, COUNTED_MAX, SCAVENGE_ID, THRESHOLD},
    problem::{Problem, ProblemCode},
    rights::check_names,
};
use crate::{
    access::{Decision, ROWS, Row},
    clock::time_text,
    scavenges::{NotStarted, ScavengeRequest},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerAnswer<'a> {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'a str>,
    secure: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a str>,
    started_at: String,
    uptime_seconds: f64,
    operations: Vec<String>,
}

/// Answers with what a user may know of the server that answers.
pub(super) async fn server(call: NativeCall) -> Result<Response, Problem> {
    let labels = call.node.labels();
    json_answer(&ServerAnswer {
        version: env!("CARGO_PKG_VERSION"),
        environment: labels.environment.as_deref(),
        store: labels.store.as_deref(),
        secure: call.node.access().guard().is_some(),
        login: call.caller.login(),
        started_at: time_text(call.node.started_at()),
        uptime_seconds: call.node.uptime_seconds(),
        operations: operations(&call),
    })
}

/// Returns methods and paths that the caller may use, as far as the user alone decides: most paths
/// about streams and events also need a right to the stream.
fn operations(call: &NativeCall) -> Vec<String> {
    let is_permitted = |row: &&Row| match call.node.access().guard() {
        Some(_) => row.decide(&call.caller) == Decision::Granted,
        // An insecure server has no users.
        None => !row.path.starts_with("/v1/users"),
    };
    let own = ROWS.iter().filter(|row| row.path.starts_with(OWN_PATHS)).filter(is_permitted);
    own.filter_map(|row| Some(format!("{} {}", row.method?, row.path))).collect()
}

/// Lists the settings by which the server was started, with the source of each.
pub(super) async fn config(call: NativeCall) -> Result<Response, Problem> {
    json_answer(&json!({ "settings": call.node.labels().settings }))
}

/// Answers with the last scavenge.
pub(super) async fn last_scavenge(call: NativeCall) -> Result<Response, Problem> {
    let scavenges = call.node.scavenges();
    let last = scavenges.last().map(|last| last.to_json());
    json_answer(&json!({ "supported": scavenges.are_supported(), "last": last }))
}

/// Starts a scavenge.
pub(super) async fn start_scavenge(call: NativeCall) -> Result<Response, Problem> {
    let threshold = call.arguments.number(&THRESHOLD)?;
    let threshold_percent = threshold.and_then(|percent| u8::try_from(percent).ok());
    call.subject()?;
    match call.node.start_scavenge(ScavengeRequest { threshold_percent }) {
        Ok(started) => json_answer(&started.to_json()),
        Err(NotStarted::UnderWay(running)) => {
            let detail = format!("the scavenge {} is running; stop it, or wait", running.id);
            Err(Problem::new(ProblemCode::NotNow, detail))
        }
        Err(NotStarted::Busy(what)) => {
            Err(Problem::new(ProblemCode::NotNow, format!("{what} is running; stop it, or wait")))
        }
        Err(NotStarted::Unsupported) => {
            let detail = "only a store in a directory is scavenged; others keep hidden events";
            Err(Problem::new(ProblemCode::NotSupported, detail))
        }
        Err(NotStarted::Ending) => {
            Err(Problem::new(ProblemCode::Closing, "the server is shutting down"))
        }
    }
}

/// Ends a scavenge, and answers when it has ended.
pub(super) async fn stop_scavenge(call: NativeCall) -> Result<Response, Problem> {
    let id = call.arguments.uuid(&SCAVENGE_ID)?.unwrap_or_default();
    call.subject()?.tell("scavenge", id.to_string());
    match call.node.scavenges().stop(id).await {
        Some(stopped) => json_answer(&stopped.to_json()),
        None => {
            let detail = format!("the last scavenge is not {id}");
            Err(Problem::new(ProblemCode::NotFound, detail))
        }
    }
}

/// Counts events, streams and categories, as far as names may be counted.
pub(super) async fn counts(call: NativeCall) -> Result<Response, Problem> {
    check_names(&call.node, &call.caller).await?;
    let store = call.node.store();
    let head = store.head().await.map_err(|error| Problem::of_read(&error))?;
    let limit = call.arguments.number(&COUNT_LIMIT)?.unwrap_or(COUNTED_MAX) as usize;
    let streams = CountedNames::of_streams(store, limit).await;
    let streams = streams.map_err(|error| Problem::of_read(&error))?;
    let categories = CountedNames::of_categories(store, limit).await;
    let categories = categories.map_err(|error| Problem::of_read(&error))?;
    json_answer(&json!({
        "events": head.position.number(),
        "streams": streams.number,
        "streamsAreAll": streams.is_all,
        "categories": categories.number,
        "categoriesAreAll": categories.is_all,
    }))
}
