//! Spans in the JSON form of the OpenTelemetry protocol (OTLP 1).
//!
//! Invariant: ids are hexadecimal, and 64-bit numbers are texts, as the protocol's mapping to JSON
//! has them.

use serde_json::{Value, json};

use super::finished_span::{AttributeValue, FinishedSpan, SpanKind};
use crate::TraceContext;

/// The scope of all spans: this crate makes them of those of `tracing`.
const SCOPE: &str = env!("CARGO_PKG_NAME");
const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The status of a span that has failed.
const STATUS_ERROR: u8 = 2;

/// The program whose spans are exported, as a collector shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    name: String,
    version: String,
}

impl Service {
    /// Creates the service of this `service.name` and `service.version`.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}

/// Returns the body of one request to a collector. `instance` is an id of this run of the program.
pub(super) fn request(spans: &[FinishedSpan], service: &Service, instance: &str) -> Value {
    let text = |name, text: &str| attribute(name, &AttributeValue::Text(text.to_owned()));
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", &service.name),
            text("service.version", &service.version),
            text("service.instance.id", instance),
        ] },
        "scopeSpans": [{
            "scope": { "name": SCOPE, "version": SCOPE_VERSION },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] })
}

fn span(span: &FinishedSpan) -> Value {
    let FinishedSpan { context, parent, fields, started_nanos, ended_nanos } = span;
    let attributes = fields.attributes.iter().map(|(name, value)| attribute(name, value));
    let mut message = json!({
        "traceId": context.trace.to_string(),
        "spanId": context.span.to_string(),
        "name": fields.name,
        "kind": number_of(fields.kind),
        "startTimeUnixNano": started_nanos.to_string(),
        "endTimeUnixNano": ended_nanos.to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
    });
    let mut set = |name: &str, value: Value| {
        drop(message.as_object_mut().map(|message| message.insert(name.to_owned(), value)))
    };
    if let Some(parent) = parent {
        set("parentSpanId", parent.to_string().into());
    }
    if let Some(state) = &fields.trace_state {
        set("traceState", state.as_str().into());
    }
    if !fields.links.is_empty() {
        set("links", fields.links.iter().map(link).collect());
    }
    if let Some(reason) = &fields.failure {
        set("status", json!({ "code": STATUS_ERROR, "message": reason }));
    }
    message
}

fn link(context: &TraceContext) -> Value {
    json!({ "traceId": context.trace.to_string(), "spanId": context.span.to_string() })
}

/// Kinds of spans, by the numbers of the protocol.
const fn number_of(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn attribute(name: &str, value: &AttributeValue) -> Value {
    let value = match value {
        AttributeValue::Text(text) => json!({ "stringValue": text }),
        AttributeValue::Number(number) => json!({ "intValue": number.to_string() }),
        AttributeValue::Float(number) => json!({ "doubleValue": number }),
        AttributeValue::Truth(truth) => json!({ "boolValue": truth }),
    };
    json!({ "key": name, "value": value })
}
