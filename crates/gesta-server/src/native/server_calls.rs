//! Endpoints about the server: what it is, and how much is in its store.

use axum::response::Response;
use gesta_store::{EventStore, ListCategories, ListStreams, StoreError};
use serde::Serialize;
use serde_json::json;

use super::{
    native_call::{NativeCall, json_answer},
    problem::Problem,
    rights::check_names,
};
use crate::clock::time_text;

/// Maximum number of names that are counted. Counting them reads them.
pub(super) const COUNTED_MAX: usize = 100_000;
/// Names that are read together.
const NAMES_PER_READ: usize = 1_000;

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
    })
}

/// Counts events, streams and categories, as far as names may be counted.
pub(super) async fn counts(call: NativeCall) -> Result<Response, Problem> {
    check_names(&call.node, &call.caller).await?;
    let store = call.node.store();
    let head = store.head().await.map_err(|error| Problem::of_read(&error))?;
    let streams = count_streams(store).await;
    let (streams, are_all) = streams.map_err(|error| Problem::of_read(&error))?;
    let list = ListCategories::all().limit(COUNTED_MAX);
    let categories = store.list_categories(list).await;
    let categories = categories.map_err(|error| Problem::of_read(&error))?.len();
    json_answer(&json!({
        "events": head.position.number(),
        "streams": streams,
        "streamsAreAll": are_all,
        "categories": categories,
    }))
}

/// Returns the number of streams, and whether it is that of all.
async fn count_streams(store: &dyn EventStore) -> Result<(usize, bool), StoreError> {
    let mut counted = 0;
    let mut after = None;
    loop {
        let list = ListStreams::all().after(after).limit(NAMES_PER_READ);
        let names = store.list_streams(list).await?;
        let is_last = names.len() < NAMES_PER_READ;
        counted += names.len();
        if is_last || counted >= COUNTED_MAX {
            return Ok((counted, is_last));
        }
        after = names.last().cloned();
    }
}
