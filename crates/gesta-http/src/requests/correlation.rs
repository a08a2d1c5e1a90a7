//! The correlation id of requests.
//!
//! Invariant: every response, problems included, and every event that a request leads to carry the
//! request's correlation id, or a new one if it had none.

use axum::{
    extract::Request,
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use gesta::{CorrelationId, EventId};

use super::trace::record_correlation;
use crate::{
    Problem,
    wire::headers::{self, CORRELATION_ID},
};

/// Middleware that passes the correlation id to the handler and into the response.
pub(crate) async fn correlate(mut request: Request, next: Next) -> Response {
    let given = headers::text(request.headers(), CORRELATION_ID, "X-Correlation-Id");
    let (id, problem) = match given {
        Ok(Some(id)) => (id, None),
        Ok(None) => (fresh(), None),
        // Even the refusal of an invalid id gets an id, to find it in the log.
        Err(problem) => (fresh(), Some(problem)),
    };
    record_correlation(&id);
    let mut response = match problem {
        Some(problem) => problem.into_response(),
        None => {
            // `Commands` takes it from the extensions and records it with its events.
            request.extensions_mut().insert(correlation_id(&id));
            next.run(request).await
        }
    };
    response.headers_mut().insert(CORRELATION_ID, headers::value(&id));
    response
}

/// Returns the response to a request that is refused before [`correlate`] runs.
pub(crate) fn refuse(headers: &HeaderMap, problem: Problem) -> Response {
    let given = headers::text(headers, CORRELATION_ID, "X-Correlation-Id");
    let id = given.ok().flatten().unwrap_or_else(fresh);
    let mut response = problem.into_response();
    response.headers_mut().insert(CORRELATION_ID, headers::value(&id));
    response
}

fn fresh() -> String {
    EventId::random().to_string()
}

fn correlation_id(text: &str) -> CorrelationId {
    CorrelationId::new(text).expect("1 to 255 visible characters make a correlation id")
}
