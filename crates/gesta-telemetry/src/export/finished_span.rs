//! A span that has ended, and the fields from which it was made.
//!
//! Owns: the fields of the conventions of OpenTelemetry that are more than attributes: `otel.name`,
//! `otel.kind`, `otel.status_code`, `otel.status_description`, `traceparent`, `tracestate`, and
//! `otel.links`, contexts in the form of `traceparent` with spaces between them.

use std::fmt;

use tracing::field::{Field, Visit};

use crate::{SpanId, TraceContext};

/// A span that has ended.
#[derive(Clone, Debug)]
pub(super) struct FinishedSpan {
    pub(super) context: TraceContext,
    pub(super) parent: Option<SpanId>,
    pub(super) fields: Fields,
    pub(super) started_nanos: u64,
    pub(super) ended_nanos: u64,
}

/// The fields of a span; those that are more than attributes are apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) name: Option<String>,
    pub(super) kind: SpanKind,
    /// The reason, if the span has failed.
    pub(super) failure: Option<String>,
    pub(super) trace_state: Option<String>,
    pub(super) attributes: Vec<(&'static str, AttributeValue)>,
    /// The context above, as the caller has sent it or an event carries it.
    pub(super) caller: Option<TraceContext>,
    pub(super) links: Vec<TraceContext>,
    pub(super) has_failed: bool,
}

/// The role of a span between programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SpanKind {
    #[default]
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum AttributeValue {
    Text(String),
    Number(i64),
    Float(f64),
    Truth(bool),
}

impl SpanKind {
    /// Unknown texts are of internal spans, as the conventions say.
    fn of(text: &str) -> Self {
        match text {
            "server" => Self::Server,
            "client" => Self::Client,
            "producer" => Self::Producer,
            "consumer" => Self::Consumer,
            _ => Self::Internal,
        }
    }
}

impl Fields {
    fn set(&mut self, name: &'static str, value: AttributeValue) {
        match (name, value) {
            ("otel.name", AttributeValue::Text(text)) => self.name = Some(text),
            ("otel.kind", AttributeValue::Text(text)) => self.kind = SpanKind::of(&text),
            ("otel.status_code", AttributeValue::Text(text)) => self.has_failed = text == "ERROR",
            ("otel.status_description", AttributeValue::Text(text)) => self.failure = Some(text),
            ("otel.links", AttributeValue::Text(text)) => {
                self.links = text.split(' ').filter_map(TraceContext::parse).collect();
            }
            ("traceparent", AttributeValue::Text(text)) => self.caller = TraceContext::parse(&text),
            ("tracestate", AttributeValue::Text(text)) => self.trace_state = Some(text),
            (name, value) => self.attributes.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), AttributeValue::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), AttributeValue::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // The protocol has signed numbers only.
        let number = i64::try_from(value).unwrap_or(i64::MAX);
        self.set(field.name(), AttributeValue::Number(number));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), AttributeValue::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), AttributeValue::Truth(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), AttributeValue::Text(format!("{value:?}")));
    }
}
