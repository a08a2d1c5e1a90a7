//! Spans for traces: calls, appends to the store, and deliveries.
//!
//! Owns: [`SPAN_TARGET`], and the names and fields of the spans, which follow the conventions of
//! OpenTelemetry (`otel.name`, `otel.kind`, `otel.status_code`, `rpc.…`, `http.…`). Invariants:
//! - A program that enables no span of the target pays for none.
//! - A span has no payload, no metadata of events and no credentials.
//! - The trace of the caller is in the fields `traceparent` and `tracestate` as the caller sent it;
//!   the program that exports spans checks it.
//!
//! Not here: the export of spans, which is the program's.

use std::{future::Future, net::IpAddr};

use axum::http::{HeaderMap, Method};
use gesta_store::{Appended, StoreError};
use tracing::{Instrument as _, Level, Span, field};

/// Target of the spans of calls, which a program enables to trace them.
///
/// The spans have the level `INFO`. Enable the target for the layer that exports spans only: a
/// server has a span for each call.
pub const SPAN_TARGET: &str = "gesta_server::spans";

/// Maximum size of a header that is copied to a span, in bytes.
const HEADER_BYTES_MAX: usize = 512;

/// A call, as far as its span tells it.
#[derive(Clone, Copy)]
pub(crate) struct TracedCall<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) method: &'a Method,
    /// The path of a row in the table of access; paths of callers' choice are in no span.
    pub(crate) path: &'static str,
    pub(crate) is_grpc: bool,
    pub(crate) peer: Option<IpAddr>,
}

/// Returns the span of a call, which is a root here, or continues the trace of its caller.
pub(crate) fn call_span(call: TracedCall<'_>) -> Span {
    if !tracing::span_enabled!(target: SPAN_TARGET, Level::INFO) {
        return Span::none();
    }
    let TracedCall { headers, method, path, is_grpc, peer } = call;
    let span = match path.trim_start_matches('/').split_once('/').filter(|_| is_grpc) {
        Some((service, name)) => tracing::info_span!(
            target: SPAN_TARGET,
            parent: None,
            "call",
            otel.name = path.trim_start_matches('/'),
            otel.kind = "server",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = name,
            rpc.grpc.status_code = field::Empty,
            network.peer.address = field::Empty,
            traceparent = field::Empty,
            tracestate = field::Empty,
        ),
        None => tracing::info_span!(
            target: SPAN_TARGET,
            parent: None,
            "call",
            otel.name = format!("{method} {path}"),
            otel.kind = "server",
            otel.status_code = field::Empty,
            otel.status_description = field::Empty,
            http.request.method = method.as_str(),
            http.route = path,
            http.response.status_code = field::Empty,
            network.peer.address = field::Empty,
            traceparent = field::Empty,
            tracestate = field::Empty,
        ),
    };
    if let Some(address) = peer {
        span.record("network.peer.address", field::display(address));
    }
    for name in ["traceparent", "tracestate"] {
        let value = headers.get(name).filter(|value| value.len() <= HEADER_BYTES_MAX);
        if let Some(text) = value.and_then(|value| value.to_str().ok()) {
            span.record(name, text);
        }
    }
    span
}

/// Marks a span as failed.
pub(crate) fn record_failure(span: &Span, reason: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", reason);
}

/// Runs an append of the store in a span below that of its call.
pub(crate) async fn trace_append(
    stream: &str,
    events: u64,
    append: impl Future<Output = Result<Appended, StoreError>>,
) -> Result<Appended, StoreError> {
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        "append",
        otel.name = "append to the store",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        gesta.stream = stream,
        gesta.events = events,
        gesta.position = field::Empty,
    );
    if span.is_disabled() {
        return append.await;
    }
    let outcome = append.instrument(span.clone()).await;
    match &outcome {
        Ok(appended) => drop(span.record("gesta.position", appended.position.number())),
        Err(error) => record_failure(&span, &error.to_string()),
    }
    outcome
}

/// Returns the span of messages on their way to a client, from the store's answer until the
/// client's connection has taken them.
pub(crate) fn delivery_span(call: &Span, messages: usize) -> Span {
    tracing::info_span!(
        target: SPAN_TARGET,
        parent: call,
        "deliver",
        otel.name = "deliver",
        gesta.messages = messages,
    )
}
