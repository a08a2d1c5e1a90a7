//! The native HTTP interface, next to the protocol of KurrentDB clients: the contract's full power
//! for any program that speaks HTTP.
//!
//! Owns: the paths under `/v1/`. Appends to several streams with checks and a condition over tags
//! and types, reads, queries, names, metadata, deletions, events by id, subscriptions as
//! server-sent events and over WebSockets; what the server is and does: figures, settings,
//! scavenges, verifications, backups, consumer groups, projections, users;
//! their description as OpenAPI.
//!
//! Invariants:
//! - Routes, parameters, the OpenAPI document and the page come from one table. An endpoint without
//!   a row in the table of access fails a test, and its path does not reach its handler.
//! - Input is checked before the store sees it. An unknown field or parameter is refused.
//! - An error is a problem document with a stable code. An unknown outcome is a code of its own.
//! - Answers are bounded: pages by number and bytes, subscriptions by what their reader takes.
//! - Rights are those of the gRPC services. The whole store needs the right to `$all`, and the
//!   streams of users and the audit stream are shown to members of `$admins` only.
//! - Positions and revisions are numbers below 2^53, which every JSON reader keeps.
//!
//! Not here: decisions on expectations, conditions and repeats (the store), TLS and the check of
//! callers ([`serve`](crate::serve)), endpoints for operators ([`http`](crate::http)).
//!
//! The modules, lowest first: `problem`, `object`, `parameters`, `native_call` (one request),
//! `rights`, `event_json`, `page`, `selection`, the handlers (`append_body`, `append`,
//! `read_stream`, `read_all`, `streams_calls`, `store_calls`, `server_calls`, `group_bodies`,
//! `work_calls`, `work_acts`, `user_calls`), subscriptions (`feed`, `sse`, `frames`, `session`,
//! `socket`), `docs`, `endpoint`, `table`, `schemas`, `openapi`, `docs_page`.

mod append;
mod append_body;
mod docs;
mod docs_page;
mod endpoint;
mod event_json;
mod feed;
mod frames;
mod group_bodies;
mod native_call;
mod object;
mod openapi;
mod page;
mod parameters;
mod problem;
mod read_all;
mod read_stream;
mod rights;
mod schemas;
mod selection;
mod server_calls;
mod session;
mod socket;
mod sse;
mod store_calls;
mod streams_calls;
mod table;
mod upkeep_calls;
mod user_calls;
mod work_acts;
mod work_calls;

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, Uri},
    response::{IntoResponse as _, Response},
};
use tonic::Status;

use self::{
    endpoint::OWN_PATHS,
    native_call::{Documents, NativeState, Work},
    problem::{Problem, ProblemCode},
    table::ENDPOINTS,
};
use crate::{groups::Groups, node::Node, projections::Projections};

/// Returns the routes of this node.
pub(crate) fn routes((node, groups, projections): (Node, Groups, Projections)) -> Router {
    let openapi = openapi::document(ENDPOINTS);
    let page = docs_page::page(ENDPOINTS, &openapi);
    let documents = Arc::new(Documents { openapi: openapi.to_string(), page });
    let routes = ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, endpoint.route()));
    routes.method_not_allowed_fallback(method_not_allowed).with_state(NativeState {
        node,
        work: Work { groups, projections },
        documents,
    })
}

/// Returns `true` for a path, or a pattern, of this interface.
pub(crate) fn is_native(path: &str) -> bool {
    path.starts_with(OWN_PATHS)
}

/// Refuses a caller, for the reason that the access check gives.
pub(crate) fn refusal(status: &Status) -> Response {
    Problem::of_status(status).into_response()
}

/// Answers a path that no endpoint has.
pub(crate) fn no_such_route(path: &str) -> Response {
    Problem::new(ProblemCode::NoSuchRoute, format!("there is nothing at {path}")).into_response()
}

/// Answers on a connection beyond the maximum.
pub(crate) fn full(detail: &str) -> Response {
    Problem::new(ProblemCode::Overloaded, detail).into_response()
}

/// Refuses a page of another site.
pub(crate) fn cross_site() -> Response {
    let detail = "a page of another site may not use this server";
    Problem::new(ProblemCode::CrossSite, detail).into_response()
}

/// Refuses a request to an insecure server by a name that is not of loopback.
pub(crate) fn foreign_host() -> Response {
    let detail = "`Host` must be localhost or a loopback address, because the server is insecure";
    Problem::new(ProblemCode::ForeignHost, detail).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{} has no method {method}", uri.path());
    Problem::new(ProblemCode::MethodNotAllowed, detail).into_response()
}

/// Returns method and pattern of each endpoint, which a test compares with the table of access.
#[cfg(test)]
pub(crate) fn methods() -> Vec<(&'static str, &'static str)> {
    let name = |verb: endpoint::Verb| match verb {
        endpoint::Verb::Get => "GET",
        endpoint::Verb::Put => "PUT",
        endpoint::Verb::Post => "POST",
        endpoint::Verb::Delete => "DELETE",
    };
    ENDPOINTS.iter().map(|endpoint| (name(endpoint.verb), endpoint.path)).collect()
}
