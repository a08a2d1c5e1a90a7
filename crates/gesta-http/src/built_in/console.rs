//! The web console: its files, and the description of the program that it asks for first.
//!
//! Owns: the routes of both. Invariants: the files are public and have no data; a
//! browser that has a file asks whether it has changed. The description names only operations that
//! its caller may use. Not here: the files ([`gesta_console`]), and the operations.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{FromRef, FromRequestParts, Path},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use gesta_console::{Asset, CONTENT_SECURITY_POLICY, assets};
use serde::Serialize;

use super::{
    aggregates, due_timers, event_types, outstanding_commands,
    program::{Program, ProgramParts},
    responses::Shown,
    stored,
};
use crate::{
    ApiRoute, Describe, GestaState, Operation, Principal, Problem, Right, Schema, wire::headers,
};

/// Returns the route of the description.
pub(crate) fn route() -> ApiRoute {
    ApiRoute::get("/console/program", "Describes this program, and what its caller may use")
        .handle(show_program)
        .right(Right::Open)
}

/// Returns the routes under a path prefix that only an application with a console has.
pub(crate) fn operator_routes(prefix: &str) -> impl Iterator<Item = ApiRoute> {
    let further = [
        event_types::route(prefix),
        due_timers::route(prefix),
        outstanding_commands::route(prefix),
    ];
    stored::routes(prefix).into_iter().chain(aggregates::routes(prefix)).chain(further)
}

/// Adds the files to a router. They are no operations, so the document does not list them.
pub(crate) fn with_files(router: Router<GestaState>) -> Router<GestaState> {
    let files: Files = assets().map(|asset| (asset, tag(&asset))).collect();
    let page = Arc::clone(&files);
    router
        // Relative to the address of the request, wherever the routes are nested.
        .route("/console", get(async || moved("console/")))
        .route("/console/", get(async move |head: HeaderMap| file(&page, "", &head)))
        .route(
            "/console/{*file}",
            get(async move |Path(path): Path<String>, head: HeaderMap| file(&files, &path, &head)),
        )
}

/// Returns whether a request reads what has no data of an application: a file, the way to the
/// console, and the description, from which the page learns how to ask for credentials.
pub(crate) fn is_public(uri: &Uri, head: &HeaderMap) -> bool {
    let Some(rest) = uri.path().strip_prefix("/console") else { return is_way(uri, head) };
    let is_known =
        |file: &str| matches!(file, "" | "program") || assets().any(|asset| asset.path == file);
    rest.is_empty() || rest.strip_prefix('/').is_some_and(is_known)
}

/// Leads a browser from the root of the program to the console. Others get `None`.
pub(crate) fn root(uri: &Uri, head: &HeaderMap) -> Option<Response> {
    is_way(uri, head).then(|| moved("console/"))
}

/// Returns whether a browser asks for the root of the program.
fn is_way(uri: &Uri, head: &HeaderMap) -> bool {
    let accepted = head.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    uri.path() == "/" && accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

fn moved(to: &'static str) -> Response {
    Redirect::temporary(to).into_response()
}

/// The files, each with the tag of its content.
type Files = Arc<[(Asset, HeaderValue)]>;

fn file(files: &Files, path: &str, head: &HeaderMap) -> Response {
    let Some((asset, tag)) = files.iter().find(|(asset, _)| asset.path == path) else {
        return Problem::not_found("file of the console").into_response();
    };
    let fixed = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // Another version of the program has other files under the same names.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag.clone()),
    ];
    match head.get(header::IF_NONE_MATCH) == Some(tag) {
        true => (StatusCode::NOT_MODIFIED, fixed).into_response(),
        false => (fixed, asset.text).into_response(),
    }
}

fn tag(asset: &Asset) -> HeaderValue {
    headers::value(&format!("\"{}\"", blake3::hash(asset.text.as_bytes()).to_hex()))
}

/// The caller of a request.
#[derive(Debug)]
struct Caller {
    /// Name under which changes are recorded, unless the request has none.
    actor: Option<String>,
    principal: Option<Principal>,
}

impl<S> FromRequestParts<S> for Caller
where
    GestaState: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let principal = parts.extensions.get::<Principal>().cloned();
        let actor = GestaState::from_ref(state).request_actor(parts).ok();
        Ok(Self { actor, principal })
    }
}

impl Describe for Caller {
    fn describe(_: &mut Operation<'_>) {}
}

/// A program, as its caller may know it.
#[derive(Debug, Serialize, Schema)]
#[serde(rename_all = "camelCase")]
struct ProgramDescription {
    /// Kind: `application`.
    kind: &'static str,
    /// Name.
    name: &'static str,
    /// Version.
    version: &'static str,
    /// Name of the environment, such as `production`.
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// Path of the operator's routes, relative to the root of the program.
    api: String,
    /// Requests need credentials.
    secure: bool,
    /// Actor of the credentials, if the request has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    /// Actor under which changes by this caller are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// Ids of the operator's operations that this caller may use.
    operations: Vec<String>,
}

async fn show_program(
    state: GestaState,
    program: Program,
    caller: Caller,
) -> Shown<ProgramDescription> {
    let ProgramParts { name, version, environment, prefix, operations, .. } = &*program.0;
    let principal = caller.principal.as_ref();
    let may = |(id, right): &&(String, Right)| {
        let access = state.access_in_force();
        access.is_none_or(|it| it.rules().extent(id, *right, principal).is_some())
    };
    Shown(ProgramDescription {
        kind: "application",
        name,
        version,
        environment: environment.clone(),
        api: prefix.trim_start_matches('/').to_owned(),
        secure: state.access_in_force().is_some(),
        login: principal.map(|principal| principal.actor().to_owned()),
        actor: caller.actor,
        operations: operations.iter().filter(may).map(|(id, _)| id.clone()).collect(),
    })
}
