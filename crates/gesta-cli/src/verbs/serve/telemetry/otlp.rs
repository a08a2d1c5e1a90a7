//! Spans in the JSON form of the OpenTelemetry protocol (OTLP 1).
//!
//! Invariant: ids are hexadecimal, and 64-bit numbers are texts, as the protocol's mapping to JSON
//! has them.

use serde_json::{Value, json};

use super::finished_span::{AttributeValue, FinishedSpan};

/// Kinds of spans, by the numbers of the protocol.
const KIND_INTERNAL: u8 = 1;
const KIND_SERVER: u8 = 2;
/// The status of a span that has failed.
const STATUS_ERROR: u8 = 2;

/// Returns the body of one request to a collector.
pub(super) fn request(spans: &[FinishedSpan], instance: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", &AttributeValue::Text("gesta".to_owned())),
            attribute("service.version", &AttributeValue::Text(version.to_owned())),
            attribute("service.instance.id", &AttributeValue::Text(instance.to_owned())),
        ] },
        "scopeSpans": [{
            "scope": { "name": "gesta-server", "version": version },
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
        "kind": if fields.is_server { KIND_SERVER } else { KIND_INTERNAL },
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
    if let Some(reason) = &fields.failure {
        set("status", json!({ "code": STATUS_ERROR, "message": reason }));
    }
    message
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
