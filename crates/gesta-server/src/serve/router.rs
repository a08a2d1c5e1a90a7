//! All routes of a server: gRPC services and HTTP endpoints, on one port.
//!
//! Invariants:
//! - gRPC is served over HTTP/2 only. A browser cannot speak it without TLS, so no web page reaches
//!   the services, not even by a name that resolves to loopback.
//! - HTTP/1.1 is served to loopback names only, for the same reason.

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
};
use tonic::{Status, service::Routes};

use crate::{
    discovery,
    groups::{self, Groups},
    http,
    node::Node,
    projections::{self, Projections},
    streams,
};

/// Text for a path of the old HTTP interface.
const NO_ATOM: &str = "this server has no AtomPub interface; use a gRPC client\n";

pub(super) fn router(node: &Node, groups: &Groups, projections: Projections) -> Router {
    let services = Routes::new(streams::service(node.clone()))
        .add_service(groups::service(groups.clone()))
        .add_service(streams::service_v2(node.clone()))
        .add_service(projections::service(projections))
        .add_service(discovery::features())
        .add_service(discovery::members(node.clone()))
        .into_axum_router()
        .reset_fallback();
    services.merge(http::routes(node.clone())).fallback(unknown).layer(from_fn(check))
}

/// Refuses what an unprotected server on loopback must not answer, and keeps the name by which the
/// client reached it.
async fn check(mut request: Request, next: Next) -> Response {
    let is_http_2 = request.version() == Version::HTTP_2;
    if is_http_2 {
        if let Some(authority) = request.uri().authority().cloned() {
            request.extensions_mut().insert(authority);
        }
        return next.run(request).await;
    }
    if is_grpc(&request) {
        return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2\n").into_response();
    }
    if !names_loopback(request.headers().get(header::HOST)) {
        let text = "`Host` must be localhost or a loopback address\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Answers a call or a path that the server does not have.
async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    if is_grpc(&request) {
        return Status::unimplemented(format!("this server has no call {path}")).into_http();
    }
    let text = if path.starts_with("/streams") { NO_ATOM } else { "there is nothing here\n" };
    (StatusCode::NOT_FOUND, text).into_response()
}

fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn names_loopback(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
