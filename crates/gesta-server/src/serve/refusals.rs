//! Answers to requests for what the server does not have.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tonic::Status;

/// Text for a path of the old HTTP interface.
const NO_ATOM: &str = "this server has no AtomPub interface; use a gRPC client\n";

/// Answers a call or a path that the server does not have.
pub(super) async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    if is_grpc(request.headers()) {
        return Status::unimplemented(format!("this server has no call {path}")).into_http();
    }
    let text = if path.starts_with("/streams") { NO_ATOM } else { "there is nothing here\n" };
    (StatusCode::NOT_FOUND, text).into_response()
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
