//! Endpoints for operators and health checks, next to the gRPC services.
//!
//! Owns: their routes and bodies. Invariant: only those below [`ADMINISTRATION`] change anything.
//! Not here: connections ([`serve`](crate::serve)).

mod figures;
mod process;
mod scavenging;

use axum::{
    Json, Router,
    extract::{FromRef, Request, State},
    http::{StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post},
};
use serde_json::{Value, json};

pub(crate) use self::figures::Figures;
use crate::{
    address::ServerAddress,
    clock::{time_text, wall_now},
    members::Members,
    node::{Node, PROTOCOL_VERSION},
};

/// First part of the paths that change something.
const ADMINISTRATION: &str = "/admin/";

/// The state from which endpoints answer.
#[derive(Clone)]
struct Operated {
    node: Node,
    members: Members,
}

impl FromRef<Operated> for Node {
    fn from_ref(operated: &Operated) -> Self {
        operated.node.clone()
    }
}

impl FromRef<Operated> for Members {
    fn from_ref(operated: &Operated) -> Self {
        operated.members.clone()
    }
}

/// Returns the routes of this node.
pub(crate) fn routes(node: Node, members: Members) -> Router {
    let routes = table().into_iter();
    let administration = administration().into_iter().map(|(_, path, route)| (path, route));
    routes
        .chain(administration)
        .fold(Router::new(), |router, (path, route)| router.route(path, route))
        .with_state(Operated { node, members })
}

/// Each path with its answer.
fn table() -> [(&'static str, MethodRouter<Operated>); 7] {
    [
        ("/health/live", get(live)),
        ("/health/ready", get(ready)),
        ("/ping", get(ping)),
        ("/info", get(info)),
        ("/gossip", get(gossip)),
        ("/stats", get(stats)),
        ("/metrics", get(metrics)),
    ]
}

/// Each method of a path below [`ADMINISTRATION`], with its answer.
fn administration() -> [(&'static str, &'static str, MethodRouter<Operated>); 5] {
    [
        ("GET", "/admin/scavenge", get(scavenging::last)),
        ("POST", "/admin/scavenge", post(scavenging::start)),
        ("GET", "/admin/scavenge/{id}", get(scavenging::show)),
        ("DELETE", "/admin/scavenge/{id}", delete(scavenging::stop)),
        ("POST", "/admin/shutdown", post(scavenging::shut_down)),
    ]
}

/// Returns `true` for a path, or a pattern, whose methods have rows of their own.
pub(crate) fn is_administration(path: &str) -> bool {
    path.starts_with(ADMINISTRATION)
}

/// Returns the methods of paths, which a test compares with the table of access.
#[cfg(test)]
pub(crate) fn methods() -> Vec<(&'static str, &'static str)> {
    administration().into_iter().map(|(method, path, _)| (method, path)).collect()
}

/// Returns the paths, which a test compares with the table of access.
#[cfg(test)]
pub(crate) fn paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Answers 204 if the store answers, else 503 with the reason.
async fn ready(State(node): State<Node>) -> Response {
    if node.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down\n").into_response();
    }
    match node.store().head().await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn ping() -> Json<Value> {
    Json(json!({ "text": "pong" }))
}

async fn info(State(node): State<Node>) -> Json<Value> {
    let is_secured = node.access().guard().is_some();
    Json(json!({
        "server": "gesta",
        "serverVersion": env!("CARGO_PKG_VERSION"),
        "dbVersion": PROTOCOL_VERSION,
        "esVersion": PROTOCOL_VERSION,
        "state": "leader",
        "features": { "projections": true, "userManagement": is_secured, "atomPub": false },
        "authentication": {
            "type": if is_secured { "basic" } else { "insecure" },
            "properties": {},
        },
    }))
}

/// Answers with the servers of the store. Clients want all of these entries: those of TCP have no
/// meaning here, and every position is that of the last event.
async fn gossip(
    State(node): State<Node>,
    State(members): State<Members>,
    request: Request,
) -> Json<Value> {
    // HTTP/2 has the authority in the address, HTTP/1.1 in a header.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named: Option<Authority> =
        request.uri().authority().cloned().or_else(|| host?.parse().ok());
    let used = ServerAddress::used_by(named.as_ref());
    let own = node.address().unwrap_or(&used).clone();
    // A store that does not answer is reported by its readiness.
    let head = node.store().head().await.map_or(0, |head| head.position.number());
    let members = members.list(used).await.into_iter().map(|member| {
        let (host, id) = (member.address.host(), member.id.to_string());
        json!({
            "instanceId": id,
            "timeStamp": time_text(wall_now()),
            "state": if member.is_leader { "Leader" } else { "Follower" },
            "isAlive": true,
            "internalTcpIp": host,
            "internalTcpPort": 0,
            "internalSecureTcpPort": 0,
            "externalTcpIp": host,
            "externalTcpPort": 0,
            "externalSecureTcpPort": 0,
            "httpEndPointIp": host,
            "httpEndPointPort": member.address.port(),
            "lastCommitPosition": head,
            "writerCheckpoint": head,
            "chaserCheckpoint": head,
            "epochPosition": 0,
            "epochNumber": 0,
            "epochId": id,
            // That of others is known to them only.
            "nodePriority": if member.id == node.id() { node.priority() } else { 0 },
        })
    });
    Json(json!({
        "members": members.collect::<Vec<_>>(),
        "serverIp": own.host(),
        "serverPort": own.port(),
    }))
}

async fn stats(State(node): State<Node>) -> Json<Value> {
    Json(Figures::of(&node).await.to_json())
}

/// Answers in the text format of Prometheus.
async fn metrics(State(node): State<Node>) -> impl IntoResponse {
    let text = Figures::of(&node).await.to_prometheus();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
