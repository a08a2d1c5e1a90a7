//! All routes of a server: gRPC services and HTTP endpoints, on one port.
//!
//! Invariants:
//! - gRPC is served over HTTP/2 only. A browser cannot speak it without TLS, so no web page reaches
//!   the services of an insecure server, not even by a name that resolves to loopback.
//! - An insecure server serves HTTP/1.1 to loopback names only, for the same reason.
//! - Pages of other sites send nothing over HTTP, whether the server is insecure or the browser has
//!   credentials for it.
//! - The access check is a layer over all routes, with those that are added later.

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, Version, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use tonic::service::Routes;

use super::{
    access_check::check_access,
    calls::observe,
    cross_site::is_foreign,
    refusals::{Refusal, full, is_grpc, refuse, unknown},
};
use crate::{
    appends, console, discovery,
    groups::{self, Groups},
    http,
    members::Members,
    monitoring, native,
    node::Node,
    operations,
    projections::{self, Projections},
    streams, users,
};

pub(super) fn router(
    node: &Node,
    groups: &Groups,
    projections: Projections,
    members: Members,
) -> Router {
    let native_state = (node.clone(), groups.clone(), projections.clone());
    let services = Routes::new(streams::service(node.clone()))
        .add_service(groups::service(groups.clone()))
        .add_service(streams::service_v2(node.clone()))
        .add_service(projections::service(projections))
        .add_service(discovery::features(node.clone()))
        .add_service(discovery::gossip(members.clone()))
        .add_service(users::service(node.clone()))
        .add_service(operations::service(node.clone(), groups.clone()))
        .add_service(monitoring::service(node.clone()))
        .add_service(appends::service(node.clone()))
        .into_axum_router()
        .reset_fallback();
    services
        .merge(http::routes(node.clone(), members))
        .merge(native::routes(native_state))
        .merge(console::routes())
        .fallback(unknown)
        .layer(from_fn_with_state(node.clone(), check_access))
        .layer(from_fn_with_state(node.clone(), check_protocol))
}

/// Returns what connections beyond the maximum reach: the endpoints of operators, and a refusal.
pub(super) fn router_of_full_server(
    node: &Node,
    members: Members,
    connections_max: usize,
) -> Router {
    http::routes(node.clone(), members)
        .layer(from_fn_with_state(node.clone(), check_access))
        // After the check: a refusal needs no password, whose check is expensive.
        .fallback(move |request: Request| async move { full(&request, connections_max) })
        .layer(from_fn_with_state(node.clone(), check_protocol))
}

/// Refuses gRPC over HTTP/1.1, and what an unprotected server on loopback must not answer; keeps
/// the name by which the client reached it.
async fn check_protocol(State(node): State<Node>, mut request: Request, next: Next) -> Response {
    let is_call = is_grpc(request.headers());
    if !is_call && is_foreign(&request) {
        return refuse(&request, Refusal::CrossSite);
    }
    if request.version() == Version::HTTP_2 {
        if let Some(authority) = request.uri().authority().cloned() {
            request.extensions_mut().insert(authority);
        }
        return observe(&node, request, next).await;
    }
    if is_call {
        return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2\n").into_response();
    }
    if node.access().guard().is_none() && !names_loopback(&request) {
        return refuse(&request, Refusal::ForeignHost);
    }
    observe(&node, request, next).await
}

/// Returns `true` if the one `Host` of a request names loopback, and its target no other host.
fn names_loopback(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = Authority::try_from(host.as_bytes()) else { return false };
    is_loopback(&host) && request.uri().authority().is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
