//! The files of the web console, for browsers.
//!
//! Owns: their routes and headers. Invariants: they are public and have no data; a browser that
//! has a file asks whether it has changed. Not here: the files
//! ([`gesta_console`]), and the data that they show ([`native`](crate::native)).

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use gesta_console::{Asset, CONTENT_SECURITY_POLICY, assets};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// Begin of the paths of files.
const PREFIX: &str = "/console/";

/// The paths, or patterns of paths, in the table of access.
#[cfg(test)]
pub(crate) const PATHS: [&str; 5] =
    ["/", "/console", "/console/", "/console/program", "/console/{*file}"];

/// The files, each with the tag of its content.
type Files = Arc<Vec<(Asset, HeaderValue)>>;

/// Returns the routes of the console.
pub(crate) fn routes() -> Router {
    let files: Files = Arc::new(assets().map(|asset| (asset, tag(&asset))).collect());
    let page = async |State(files): State<Files>, headers: HeaderMap| file(&files, "", &headers);
    let any = async |State(files): State<Files>, Path(path): Path<String>, headers: HeaderMap| {
        file(&files, &path, &headers)
    };
    Router::new()
        .route("/", get(root))
        // Addresses in the page are relative to the folder.
        .route("/console", get(async || Redirect::permanent(PREFIX)))
        .route(PREFIX, get(page))
        .route("/console/program", get(program))
        .route("/console/{*file}", get(any))
        .with_state(files)
}

/// Returns `true` for a path, or a pattern, of a file.
pub(crate) fn is_console(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Tells the console that this is a server. What the server is in particular, its users may ask.
async fn program() -> Json<Value> {
    Json(json!({ "kind": "server", "api": "v1" }))
}

/// Leads browsers to the console. Programs get the answer of a path without anything.
async fn root(headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return Redirect::temporary(PREFIX).into_response();
    }
    (StatusCode::NOT_FOUND, "there is nothing here; browsers find the console at /console/\n")
        .into_response()
}

fn file(files: &Files, path: &str, headers: &HeaderMap) -> Response {
    let Some((asset, tag)) = files.iter().find(|(asset, _)| asset.path == path) else {
        return (StatusCode::NOT_FOUND, "the console has no such file\n").into_response();
    };
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Another version of the server has other files under the same names.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag.clone()),
    ];
    match headers.get(header::IF_NONE_MATCH) == Some(tag) {
        true => (StatusCode::NOT_MODIFIED, fixed).into_response(),
        false => (fixed, asset.text).into_response(),
    }
}

fn tag(asset: &Asset) -> HeaderValue {
    let hash = digest(&SHA256, asset.text.as_bytes());
    let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{digits}\"")).expect("digits are a valid header")
}
