//! Content and parameters of the query that an operation does not read.
//!
//! Always holds: they are refused, so that nobody believes that they had an effect. An empty object
//! counts as no content, for some clients send one where they have nothing to say. Not here: fields
//! that a body or a query should not have; those who read them refuse them.

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::Request,
    http::Uri,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{Problem, extract::query_pairs};

/// Bytes of content that says nothing.
const NOTHING_BYTES_MAX: usize = 16;

/// Around the handler of an operation that reads no content: refuses content. `parameters` are
/// those of its query.
pub(crate) async fn no_content(parameters: String, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if !says_nothing(body).await {
        let mut reason = "has no place here: this operation takes no body".to_owned();
        if !parameters.is_empty() {
            reason.push_str(&format!(", and its parameters stand in the query: {parameters}"));
        }
        return Problem::invalid("body", reason).into_response();
    }
    next.run(Request::from_parts(parts, Body::empty())).await
}

async fn says_nothing(body: Body) -> bool {
    if body.size_hint().lower() > NOTHING_BYTES_MAX as u64 {
        return false;
    }
    let read = to_bytes(body, NOTHING_BYTES_MAX).await;
    read.is_ok_and(|bytes| matches!(bytes.trim_ascii(), b"" | b"{}"))
}

/// Around the handler of an operation without parameters in its query: refuses them.
pub(crate) async fn no_parameters(request: Request, next: Next) -> Response {
    match parameter_of(request.uri()) {
        Ok(None) => next.run(request).await,
        Ok(Some(name)) => {
            Problem::invalid(name, "is no parameter of this operation").into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

fn parameter_of(uri: &Uri) -> Result<Option<String>, Problem> {
    Ok(query_pairs(uri)?.into_iter().next().map(|(name, _)| name))
}
