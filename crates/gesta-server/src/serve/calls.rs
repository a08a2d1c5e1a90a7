//! Each call, as logs and traces see it.
//!
//! Invariant: a call has one span, which its task and its appends are in, and at most one log line
//! here. Not here: failures after a response has begun, which the services log.

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use super::{access_check::table_path, refusals::is_grpc};
use crate::{
    access::{Peer, row_of},
    call_log::{FailureReason, LoggedCall},
    node::Node,
    spans::{TracedCall, call_span, record_failure},
};

/// Path in logs and spans for paths that the server does not have.
const UNKNOWN_PATH: &str = "/unknown";
/// Path that balancers ask again and again while a server drains.
const READINESS: &str = "/health/ready";
/// Words of the codec about a message beyond the limit.
const TOO_LARGE: &str = "message length too large";

/// Runs a request in its span, and logs it if it fails.
pub(super) async fn observe(node: &Node, request: Request, next: Next) -> Response {
    let row = row_of(request.method().as_str(), &table_path(&request));
    let path = row.map_or(UNKNOWN_PATH, |row| row.path);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
    let is_grpc = is_grpc(request.headers());
    let (headers, method) = (request.headers(), request.method());
    let span = call_span(TracedCall { headers, method, path, is_grpc, peer });
    let call = LoggedCall { path, peer };
    let response = with_limits(next.run(request).instrument(span.clone()).await);
    if let Some(status) = is_grpc.then(|| failure(response.headers())).flatten() {
        span.record("rpc.grpc.status_code", i32::from(status.code()));
        record_failure(&span, status.message());
        node.log_failure(call, &status);
    } else if !is_grpc {
        observe_http(node, call, &response, &span);
    }
    response
}

fn observe_http(node: &Node, call: LoggedCall, response: &Response, span: &Span) {
    let status = response.status();
    let told =
        response.extensions().get::<FailureReason>().map(|FailureReason(text)| text.as_str());
    let reason = told.or(status.canonical_reason()).unwrap_or_default();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        record_failure(span, reason);
    }
    // A server that ends says so to each check of its health.
    let is_ending = node.is_stopped() || (node.is_draining() && call.path == READINESS);
    if (status.is_client_error() || status.is_server_error()) && !is_ending {
        node.call_log().request_failed(call, status, reason);
    }
}

/// Names the limits in the refusal of a message that is too large, which the codec has made.
fn with_limits(response: Response) -> Response {
    let status = failure(response.headers()).filter(|status| status.code() == Code::OutOfRange);
    match status {
        Some(status) if status.message().contains(TOO_LARGE) => {
            let text = format!("{}; an event may have 16 MiB, an append 32 MiB", status.message());
            Status::new(status.code(), text).into_http()
        }
        _ => response,
    }
}

/// Returns the status of a call that failed before it had a response.
fn failure(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)
}
