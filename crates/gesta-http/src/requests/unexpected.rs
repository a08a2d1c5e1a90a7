//! Refusal of bodies, query strings, conditions and keys that an operation does not read.
//!
//! Ignoring them would suggest that they had an effect. An empty object counts as no body, because
//! some clients always send one. A read without a condition or key is the same read, so these are
//! refused in changes only. Not here: unknown fields of a body or query string that is read;
//! its extractor refuses them.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{Problem, requests::extract::query_pairs, wire::headers::IDEMPOTENCY_KEY};

/// Maximum size of a body that counts as empty, in bytes.
const EMPTY_BYTES_MAX: usize = 16;

/// Middleware of an operation without a body that refuses bodies. `parameters` lists its query
/// parameters, for the error text.
pub(crate) async fn no_content(parameters: Arc<str>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if !is_empty(body).await {
        let mut reason = "must be empty: this operation takes no body".to_owned();
        if !parameters.is_empty() {
            reason.push_str(&format!("; send its parameters in the query string: {parameters}"));
        }
        return Problem::invalid("body", reason).into_response();
    }
    // The body has been read, and the operation has no extractor that would miss it.
    next.run(Request::from_parts(parts, Body::empty())).await
}

async fn is_empty(body: Body) -> bool {
    // A declared length refuses a large body unread. A chunked body has none, so the read below is
    // limited, too.
    if body.size_hint().lower() > EMPTY_BYTES_MAX as u64 {
        return false;
    }
    let read = to_bytes(body, EMPTY_BYTES_MAX).await;
    read.is_ok_and(|bytes| matches!(bytes.trim_ascii(), b"" | b"{}"))
}

/// Middleware of an operation without query parameters that refuses query strings.
pub(crate) async fn no_parameters(request: Request, next: Next) -> Response {
    match parameter_of(request.uri()) {
        Ok(None) => next.run(request).await,
        Ok(Some(name)) => {
            Problem::invalid(name, "is unknown: this operation has no query parameters")
                .into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

fn parameter_of(uri: &Uri) -> Result<Option<String>, Problem> {
    Ok(query_pairs(uri)?.into_iter().next().map(|(name, _)| name))
}

/// The conditions and keys that an operation does not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadHeaders {
    conditions: bool,
    key: bool,
}

impl UnreadHeaders {
    /// Returns those that are not among the headers of an operation.
    pub(crate) fn besides(read: &[String]) -> Self {
        let reads = |names: &[&str]| read.iter().any(|name| names.contains(&name.as_str()));
        Self {
            // An operation with one of the conditions evaluates both.
            conditions: !reads(&["If-Match", "If-None-Match"]),
            key: !reads(&["Idempotency-Key"]),
        }
    }

    /// Returns the refusal of the first unread header, if there is one.
    fn in_headers(self, headers: &HeaderMap) -> Option<Problem> {
        let has = |name: HeaderName| headers.contains_key(name);
        let (name, reason) = if self.conditions && has(header::IF_MATCH) {
            ("If-Match", "is not supported: this operation checks no revision")
        } else if self.conditions && has(header::IF_NONE_MATCH) {
            ("If-None-Match", "is not supported: this operation checks no revision")
        } else if self.key && has(IDEMPOTENCY_KEY) {
            ("Idempotency-Key", "is not supported: each request executes this operation")
        } else {
            return None;
        };
        Some(Problem::invalid(name, format!("{reason}; send the request without it")))
    }
}

/// Middleware of a change that refuses conditions and keys that it does not read.
pub(crate) async fn no_unread_headers(
    unread: UnreadHeaders,
    request: Request,
    next: Next,
) -> Response {
    match unread.in_headers(request.headers()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}
