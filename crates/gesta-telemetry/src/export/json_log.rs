//! Lines of the log as JSON objects, with the correlation id and the trace of the spans around
//! them.
//!
//! Owns: [`JsonLog`]. Invariants:
//! - A line is one write, so lines of several threads do not mix.
//! - A field of the line itself comes before one of a span. Of the spans, the innermost that has a
//!   correlation id counts.
//! - An error in a field is told by [`error_text`], without values of payloads.
//!
//! Not here: levels and targets, which are the filter's.

use std::{error::Error, fmt, io::Write as _};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

use super::span_layer::context_above;
use crate::{TraceContext, error_text};

/// Field of a span with the correlation id of what it does.
const CORRELATION: &str = "gesta.correlation_id";
/// The same in a line.
const CORRELATION_ID: &str = "correlation_id";
const TRACE_ID: &str = "trace_id";
const SPAN_ID: &str = "span_id";

/// A layer that writes each line of the log as a JSON object.
///
/// The members are `timestamp`, `level`, `target`, `message`, the fields of the line, and, within a
/// span of Gesta, `correlation_id`, `trace_id` and `span_id`. Enable the target of those spans for
/// this layer, too. The trace is that of the [`SpanLayer`](crate::SpanLayer), or without one that
/// of the caller.
#[derive(Debug)]
pub struct JsonLog<W> {
    writer: W,
}

impl<W> JsonLog<W>
where
    W: for<'w> MakeWriter<'w> + 'static,
{
    /// Creates a log, such as one on `std::io::stderr`.
    pub const fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// The fields of a span that lines within it have, too.
#[derive(Clone, Debug, Default)]
struct SpanTold {
    correlation: Option<String>,
    /// The context above the span, from the caller or an event.
    caller: Option<TraceContext>,
}

impl SpanTold {
    const fn is_nothing(&self) -> bool {
        self.correlation.is_none() && self.caller.is_none()
    }
}

impl Visit for SpanTold {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            CORRELATION => self.correlation = Some(value.to_owned()),
            "traceparent" => self.caller = TraceContext::parse(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Other fields are not formatted: there may be many.
        if [CORRELATION, "traceparent"].contains(&field.name()) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

impl<S, W> Layer<S> for JsonLog<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: Context<'_, S>) {
        let mut told = SpanTold::default();
        attributes.record(&mut told);
        if let Some(span) = spans.span(id).filter(|_| !told.is_nothing()) {
            span.extensions_mut().insert(told);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, spans: Context<'_, S>) {
        let mut recorded = SpanTold::default();
        values.record(&mut recorded);
        let Some(span) = spans.span(id).filter(|_| !recorded.is_nothing()) else { return };
        let mut extensions = span.extensions_mut();
        let mut told = extensions.remove::<SpanTold>().unwrap_or_default();
        told.correlation = recorded.correlation.or(told.correlation);
        told.caller = recorded.caller.or(told.caller);
        extensions.insert(told);
    }

    fn on_event(&self, event: &Event<'_>, spans: Context<'_, S>) {
        let mut line = Line::begin(event);
        line.tell_spans(event, &spans);
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // There is no other place to tell that the log cannot be written.
        drop(self.writer.make_writer_for(event.metadata()).write_all(text.as_bytes()));
    }
}

/// The members of a line.
struct Line(Map<String, Value>);

impl Line {
    fn begin(event: &Event<'_>) -> Self {
        let mut line = Self(Map::new());
        let mut timestamp = String::new();
        if SystemTime.format_time(&mut Writer::new(&mut timestamp)).is_ok() {
            line.set("timestamp", timestamp.into());
        }
        let metadata = event.metadata();
        line.set("level", metadata.level().as_str().into());
        line.set("target", metadata.target().into());
        event.record(&mut line);
        line
    }

    fn tell_spans<S>(&mut self, event: &Event<'_>, spans: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let Some(innermost) = spans.event_span(event) else { return };
        let mut caller = None;
        for span in innermost.scope() {
            let extensions = span.extensions();
            let Some(told) = extensions.get::<SpanTold>() else { continue };
            if let Some(correlation) = &told.correlation {
                self.set_if_absent(CORRELATION_ID, correlation.as_str().into());
            }
            caller = caller.or(told.caller);
        }
        let exported = context_above(&innermost);
        if let Some(context) = exported.or(caller) {
            self.set_if_absent(TRACE_ID, context.trace_id().to_string().into());
        }
        if let Some(context) = exported {
            self.set_if_absent(SPAN_ID, context.span_id().to_string().into());
        }
    }

    fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn set_if_absent(&mut self, name: &str, value: Value) {
        self.0.entry(name).or_insert(value);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field.name(), error_text(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{error, info, info_span};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `log` writes.
    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = JsonLog::new(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_its_fields_and_those_of_the_spans_around_it() {
        let lines = lines(|| {
            let request = info_span!("request", traceparent = CALLER, gesta.correlation_id = "a");
            let _request = request.enter();
            let _inner = info_span!("inner", other = 1).entered();
            info!(count = 2, "within");
        });
        let line = &lines[0];
        assert_eq!((&line["message"], &line["count"]), (&"within".into(), &2.into()));
        assert_eq!((&line["level"], &line["correlation_id"]), (&"INFO".into(), &"a".into()));
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line.get("other"), None);
    }

    #[test]
    fn the_line_and_then_the_innermost_span_decide_on_the_correlation_id() {
        let lines = lines(|| {
            let _outer = info_span!("outer", gesta.correlation_id = "outer").entered();
            let inner = info_span!("inner", gesta.correlation_id = tracing::field::Empty);
            inner.record(CORRELATION, tracing::field::display("inner"));
            inner.in_scope(|| info!("one"));
            inner.in_scope(|| info!(correlation_id = "own", "two"));
        });
        let ids: Vec<_> = lines.iter().map(|line| line["correlation_id"].as_str()).collect();
        assert_eq!(ids, [Some("inner"), Some("own")]);
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_without_payloads() {
        let lines = lines(|| {
            let fault = serde_json::from_str::<u8>("\"a secret\"").unwrap_err();
            error!(error = &fault as &dyn Error, "a payload does not decode");
        });
        let text = lines[0]["error"].as_str().unwrap();
        assert!(text.starts_with("invalid type: string, expected u8"), "{text}");
    }
}
