//! Spans for traces and for lines of the log.
//!
//! # The spans
//!
//! Each with its kind, what it is around, and its parent:
//!
//! - `METHOD route` (server): a request, in `gesta-http`, until the head of its response. Below the
//!   caller's `traceparent`.
//! - `command NAME` (internal): a command in the pipeline, with all attempts. Below the request, or
//!   the context in the command's metadata.
//! - `append` (producer): one append of a command's events. Below the command.
//! - `projection NAME` (consumer): one transaction of a read model. Below the `append` of its
//!   events.
//! - `process NAME` (consumer): one input of a process, its reaction and the append that records
//!   it. Below the `append` of the event; for a timer and for a refused command, below the
//!   `process` span that decided it.
//! - `reactor NAME` (consumer): one attempt of a reactor's effect. Below the `append` of the event.
//!
//! A command of a process is a `command` span below the `process` span that decided it, and its
//! `append` is the parent of what follows. So the trace of one request reaches from its caller to
//! the last read model.
//!
//! # What links them
//!
//! Read models, processes and reactors run later, in other tasks, on other nodes. The link is in
//! the store: each event has the context of the span that appended it, as the entry `traceparent`
//! of its metadata (W3C Trace Context), next to the caller's `tracestate`. A process keeps both
//! with its decisions, if [`PASSED_ON`](crate::ProcessManager::PASSED_ON) names them.
//!
//! A transaction of a read model takes many events. It has a span in each of their traces, up to
//! [`TRACES_MAX`], with links to the other events of that trace. Events of more traces, and those
//! of a read model that catches up, have one span for the transaction, in a trace of its own, with
//! links to at most [`LINKS_MAX`] of their contexts: a rebuild must not add to traces that ended
//! long ago.
//!
//! # Attributes
//!
//! Those of OpenTelemetry's conventions for messaging, with `messaging.system` = `gesta`:
//! `messaging.operation.type` and `.name`, `messaging.destination.name` (the category),
//! `messaging.consumer.group.name`, `messaging.batch.message_count`, `messaging.message.id`, and
//! `error.type`. What they lack begins with `gesta.`: `gesta.command`, `gesta.command_id`,
//! `gesta.correlation_id`, `gesta.outcome`, `gesta.stream`, `gesta.events`, `gesta.position`,
//! `gesta.attempt`.
//!
//! # Invariants
//! - A program that enables no span of [`SPAN_TARGET`] makes none, and reads no metadata for them.
//! - A span has no payload, no other metadata, no actor and no text of an error: those may have
//!   personal data. It has ids, names, positions and kinds of errors.
//! - An outcome that the domain foresees, such as a rejection, is no error of its span.
//! - Without a [`SpanLayer`](gesta_telemetry::SpanLayer) of the program, events keep the context
//!   that their caller gave.
//!
//! Not here: the export of spans (`gesta-telemetry`); spans of queries, and of projections that are
//! applied in the append itself or when they are read, which are a part of the span around them.

use std::collections::BTreeMap;

use gesta_store::RecordedEvent;
use gesta_telemetry::{TraceContext, TraceId, context_of};
use serde::Deserialize;
use tracing::{Level, Span, field};

use crate::CustomMetadata;

/// Target of the spans of applications, which a program enables to trace them.
///
/// The spans have the level `INFO`. Enable the target for the layer that exports spans, and for
/// lines that need correlation ids: there are several spans for each command.
pub const SPAN_TARGET: &str = "gesta::spans";

/// Key of the metadata entry with the context of the span that appended an event.
pub(crate) const TRACE_PARENT: &str = "traceparent";

/// Maximum number of traces in which a transaction of a read model has a span.
const TRACES_MAX: usize = 32;
/// Maximum number of links of a span.
const LINKS_MAX: usize = 128;
/// Maximum number of correlation ids that a span of several events names.
const CORRELATIONS_MAX: usize = 8;

/// Returns whether a layer of the program takes the spans. A look at a number in memory.
pub(crate) fn are_made() -> bool {
    tracing::span_enabled!(target: SPAN_TARGET, Level::INFO)
}

/// A command, as far as its span tells it.
#[derive(Clone, Copy)]
pub(crate) struct TracedCommand<'a> {
    pub(crate) name: &'static str,
    pub(crate) id: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) metadata: &'a CustomMetadata,
}

/// Returns the span of a command.
pub(crate) fn command_span(command: TracedCommand<'_>) -> Span {
    let TracedCommand { name, id, correlation_id, metadata } = command;
    tracing::info_span!(
        target: SPAN_TARGET,
        "command",
        otel.name = format_args!("command {name}"),
        otel.status_code = field::Empty,
        error.type = field::Empty,
        gesta.command = name,
        gesta.command_id = id,
        gesta.correlation_id = correlation_id,
        gesta.outcome = field::Empty,
        gesta.position = field::Empty,
        traceparent = text(metadata, TRACE_PARENT),
        tracestate = text(metadata, "tracestate"),
    )
}

/// Returns the span of an append to these streams, below that of its command.
pub(crate) fn append_span(stream: Option<&str>, events: usize) -> Span {
    tracing::info_span!(
        target: SPAN_TARGET,
        "append",
        otel.name = "append",
        otel.kind = "producer",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        messaging.system = "gesta",
        messaging.operation.type = "send",
        messaging.operation.name = "append",
        messaging.destination.name = stream.map(category),
        gesta.stream = stream,
        gesta.events = events as u64,
        gesta.position = field::Empty,
    )
}

/// Returns the span of one input of a process. `event` is the input, unless it is a timer or a
/// refused command: then [`continue_trace`] names what decided it.
pub(crate) fn process_span(name: &'static str, event: Option<&RecordedEvent>) -> Span {
    if !are_made() {
        return Span::none();
    }
    let of_event = event.map(EventTold::of).unwrap_or_default();
    tracing::info_span!(
        target: SPAN_TARGET,
        parent: None,
        "process",
        otel.name = format_args!("process {name}"),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        messaging.system = "gesta",
        messaging.operation.type = "process",
        messaging.operation.name = "process",
        messaging.consumer.group.name = name,
        messaging.destination.name = of_event.category,
        messaging.message.id = of_event.id.as_deref(),
        gesta.correlation_id = of_event.correlation_id,
        gesta.position = of_event.position,
        traceparent = of_event.trace.parent.as_deref(),
        tracestate = of_event.trace.state.as_deref(),
    )
}

/// Returns the span of one attempt of a reactor's effect.
pub(crate) fn reactor_span(name: &'static str, event: &RecordedEvent, attempt: u32) -> Span {
    if !are_made() {
        return Span::none();
    }
    let of_event = EventTold::of(event);
    tracing::info_span!(
        target: SPAN_TARGET,
        parent: None,
        "reactor",
        otel.name = format_args!("reactor {name}"),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        messaging.system = "gesta",
        messaging.operation.type = "process",
        messaging.operation.name = "react",
        messaging.consumer.group.name = name,
        messaging.destination.name = of_event.category,
        messaging.message.id = of_event.id.as_deref(),
        gesta.correlation_id = of_event.correlation_id,
        gesta.position = of_event.position,
        gesta.attempt = attempt,
        traceparent = of_event.trace.parent.as_deref(),
        tracestate = of_event.trace.state.as_deref(),
    )
}

/// Puts the current span below the context in this metadata. Has no effect on a span that has
/// spans below it.
pub(crate) fn continue_trace(metadata: &CustomMetadata, correlation_id: Option<&str>) {
    if !are_made() {
        return;
    }
    let span = Span::current();
    span.record("traceparent", text(metadata, TRACE_PARENT));
    span.record("gesta.correlation_id", correlation_id);
}

/// Marks a span as failed by an error of this kind.
pub(crate) fn record_failure(span: &Span, kind: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}

/// Returns the metadata of an event that is appended within a span: with the context of the span,
/// if it has one.
pub(crate) fn with_context(mut metadata: CustomMetadata, span: &Span) -> CustomMetadata {
    if let Some(context) = context_of(span) {
        metadata.set_text(TRACE_PARENT, context.to_string());
    }
    metadata
}

/// The spans of one transaction of a read model, which end together.
#[derive(Debug)]
pub(crate) struct BatchSpans(Vec<Span>);

impl BatchSpans {
    /// Returns the spans for these events. `is_live` if the read model has caught up.
    pub(crate) fn of(projection: &'static str, events: &[RecordedEvent], is_live: bool) -> Self {
        if !are_made() {
            return Self(Vec::new());
        }
        let contexts: Vec<TraceContext> = events.iter().filter_map(StoredTrace::context).collect();
        let mut traces: BTreeMap<TraceId, Vec<TraceContext>> = BTreeMap::new();
        for context in contexts {
            let of_trace = traces.entry(context.trace_id()).or_default();
            if !of_trace.contains(&context) {
                of_trace.push(context);
            }
        }
        let batch = TracedBatch::of(projection, events);
        let is_few = traces.len() <= TRACES_MAX;
        if traces.is_empty() || !(is_few && is_live) {
            let mut all: Vec<_> = traces.into_values().flatten().collect();
            // One sampled trace is enough for the span, so the links must not leave it out.
            all.sort_by_key(|context| !context.is_sampled());
            return Self(vec![batch.span(None, &all)]);
        }
        let span = |of_trace: Vec<TraceContext>| {
            let (first, others) = of_trace.split_first().expect("a trace has a context");
            batch.span(Some(first), others)
        };
        Self(traces.into_values().map(span).collect())
    }

    /// Returns the span in which the work is done.
    pub(crate) fn main(&self) -> Span {
        self.0.first().cloned().unwrap_or_else(Span::none)
    }

    /// Marks the spans as failed by an error of this kind.
    pub(crate) fn record_failure(&self, kind: &str) {
        self.0.iter().for_each(|span| record_failure(span, kind));
    }
}

/// The common fields of the spans of a transaction.
struct TracedBatch<'a> {
    projection: &'static str,
    category: Option<&'a str>,
    correlation_ids: String,
    events: usize,
    position: Option<u64>,
}

impl<'a> TracedBatch<'a> {
    fn of(projection: &'static str, events: &'a [RecordedEvent]) -> Self {
        let mut ids: Vec<&str> = Vec::new();
        for id in events.iter().filter_map(|event| event.correlation_id.as_ref()) {
            if ids.len() < CORRELATIONS_MAX && !ids.contains(&id.as_str()) {
                ids.push(id.as_str());
            }
        }
        let mut categories = events.iter().map(|event| category(event.stream.as_str()));
        let first = categories.next();
        Self {
            projection,
            category: first.filter(|first| categories.all(|other| other == *first)),
            correlation_ids: ids.join(" "),
            events: events.len(),
            position: events.last().map(|event| event.position.number()),
        }
    }

    fn span(&self, parent: Option<&TraceContext>, links: &[TraceContext]) -> Span {
        let name = self.projection;
        let links: Vec<_> = links.iter().take(LINKS_MAX).map(ToString::to_string).collect();
        let has_id = !self.correlation_ids.is_empty();
        tracing::info_span!(
            target: SPAN_TARGET,
            parent: None,
            "projection",
            otel.name = format_args!("projection {name}"),
            otel.kind = "consumer",
            otel.status_code = field::Empty,
            otel.links = (!links.is_empty()).then(|| links.join(" ")),
            error.type = field::Empty,
            messaging.system = "gesta",
            messaging.operation.type = "process",
            messaging.operation.name = "project",
            messaging.consumer.group.name = name,
            messaging.destination.name = self.category,
            messaging.batch.message_count = self.events as u64,
            gesta.correlation_id = has_id.then_some(self.correlation_ids.as_str()),
            gesta.position = self.position,
            traceparent = parent.map(ToString::to_string),
        )
    }
}

/// An event, as far as spans tell it.
#[derive(Default)]
struct EventTold<'a> {
    id: Option<String>,
    category: Option<&'a str>,
    position: Option<u64>,
    correlation_id: Option<&'a str>,
    trace: StoredTrace,
}

impl<'a> EventTold<'a> {
    fn of(event: &'a RecordedEvent) -> Self {
        Self {
            id: Some(event.id.to_string()),
            category: Some(category(event.stream.as_str())),
            position: Some(event.position.number()),
            correlation_id: correlation_of(event),
            trace: StoredTrace::of(event),
        }
    }
}

/// Returns the correlation id of an event, for a line that is written outside of its spans.
pub(crate) fn correlation_of(event: &RecordedEvent) -> Option<&str> {
    event.correlation_id.as_ref().map(|id| id.as_str())
}

/// Returns the trace of an event, for a line that is written outside of its spans.
pub(crate) fn trace_of(event: &RecordedEvent) -> Option<String> {
    StoredTrace::context(event).map(|context| context.trace_id().to_string())
}

/// The entries of an event's metadata with the context of its trace.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredTrace {
    #[serde(rename = "traceparent")]
    parent: Option<String>,
    #[serde(rename = "tracestate")]
    state: Option<String>,
}

impl StoredTrace {
    /// Reads the entries. Metadata of another form has none.
    fn of(event: &RecordedEvent) -> Self {
        serde_json::from_slice(&event.metadata).unwrap_or_default()
    }

    fn context(event: &RecordedEvent) -> Option<TraceContext> {
        Self::of(event).parent.as_deref().and_then(TraceContext::parse)
    }
}

/// Returns the text of a metadata entry.
fn text<'a>(metadata: &'a CustomMetadata, key: &str) -> Option<&'a str> {
    metadata.value(key)?.as_str()
}

/// Returns the category of a stream: the part before the first `-`.
fn category(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}
