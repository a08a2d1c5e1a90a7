//! Answers to requests for what the server does not have or does not give, and to those that are
//! too many.

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use tonic::{Code, Status};

use crate::{native, wire::with_trailers};

/// Text for a path of the old HTTP interface.
const NO_ATOM: &str = "this server has no AtomPub interface; use a gRPC client, or /v1/streams\n";

/// A request that is refused for the place that it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    CrossSite,
    ForeignHost,
}

/// Refuses a request, in the form of its path.
pub(super) fn refuse(request: &Request, refusal: Refusal) -> Response {
    let is_native = native::is_native(request.uri().path());
    match refusal {
        Refusal::CrossSite if is_native => native::cross_site(),
        Refusal::CrossSite => {
            (StatusCode::FORBIDDEN, "pages of other sites may not use this server\n")
                .into_response()
        }
        Refusal::ForeignHost if is_native => native::foreign_host(),
        Refusal::ForeignHost => {
            let text = "`Host` must be localhost or a loopback address\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
    }
}

/// Answers a call or a path that the server does not have.
pub(super) async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    if is_grpc(request.headers()) {
        return Status::unimplemented(format!("this server has no call {path}")).into_http();
    }
    if native::is_native(path) {
        return native::no_such_route(path);
    }
    let text = if path.starts_with("/streams") { NO_ATOM } else { "there is nothing here\n" };
    (StatusCode::NOT_FOUND, text).into_response()
}

/// Answers a request on a connection beyond the maximum.
pub(super) fn full(request: &Request, connections_max: usize) -> Response {
    let text = format!(
        "all {connections_max} connections of this server are in use; retry in a second, close \
         unused ones, or raise --max-connections"
    );
    if is_grpc(request.headers()) {
        let trailers = [("exception", "server-full")];
        return with_trailers(Code::Unavailable, text, trailers).into_http();
    }
    if native::is_native(request.uri().path()) {
        return native::full(&text);
    }
    let retry = [(header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{text}\n")).into_response()
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
