//! The span of a request, until the head of its response.
//!
//! Owns: the span's name and fields, by the conventions of OpenTelemetry for HTTP servers.
//! Invariants:
//! - A span has the pattern of the route, never the path of the request, which may name people; it
//!   has no address, no header and no body.
//! - A request within a request, such as one for a field of GraphQL, has a span of its own below
//!   the outer one, as an internal step.
//! - A program that enables no span of [`SPAN_TARGET`] makes none.
//!
//! Not here: what a command or a projection adds to the trace (`gesta`).

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method},
    middleware::Next,
    response::Response,
};
use gesta::SPAN_TARGET;
use tracing::{Instrument as _, Level, Span, field};

use super::trace_context::TraceContext;

/// Field with the request's correlation id.
const CORRELATION: &str = "gesta.correlation_id";

/// Marks a request that has a span already.
#[derive(Clone, Copy, Debug)]
struct IsTraced;

/// Middleware that answers a request in a span.
pub(crate) async fn trace(mut request: Request, next: Next) -> Response {
    if !tracing::span_enabled!(target: SPAN_TARGET, Level::INFO) {
        return next.run(request).await;
    }
    let is_inner = request.extensions_mut().insert(IsTraced).is_some();
    let span = span_of(&request, is_inner);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
    }
    response
}

fn span_of(request: &Request, is_inner: bool) -> Span {
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let (parent, state) = caller(request.headers());
    tracing::info_span!(
        target: SPAN_TARGET,
        "request",
        otel.name = format_args!("{method}{}{}", separator(route), route.unwrap_or_default()),
        otel.kind = if is_inner { "internal" } else { "server" },
        otel.status_code = field::Empty,
        error.type = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        gesta.correlation_id = field::Empty,
        traceparent = parent,
        tracestate = state,
    )
}

/// Returns the method as the conventions name it: others than those of the standards are one.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// A request without a route is named by its method alone, as the conventions say.
const fn separator(route: Option<&str>) -> &'static str {
    if route.is_some() { " " } else { "" }
}

/// Returns the context of the caller, with its state.
fn caller(headers: &HeaderMap) -> (Option<String>, Option<String>) {
    match TraceContext::of(headers) {
        Some(TraceContext { parent, state }) => (Some(parent), state),
        None => (None, None),
    }
}

/// Adds the correlation id to the span of the request.
pub(super) fn record_correlation(id: &str) {
    Span::current().record(CORRELATION, id);
}
