//! A layer of `tracing` that makes finished spans of traces from the spans of calls.
//!
//! Owns: [`SpanLayer`]. Invariants: a span is in the trace of its parent; a
//! span without one is in that of its field `traceparent`, or begins a trace. Not here: which spans
//! there are, which is the server's.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{
    Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    exporter::SpanQueue,
    finished_span::{Fields, FinishedSpan},
    trace_context::{SpanId, TraceContext},
};

/// A span that is open.
struct OpenSpan {
    context: TraceContext,
    parent: Option<SpanId>,
    fields: Fields,
    started_nanos: u64,
    started: Instant,
}

/// The layer.
#[derive(Debug)]
pub(super) struct SpanLayer {
    finished: SpanQueue,
    /// Part of the traces without a caller that is exported.
    ratio: f64,
}

impl SpanLayer {
    pub(super) const fn new(finished: SpanQueue, ratio: f64) -> Self {
        Self { finished, ratio }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: Context<'_, S>) {
        let Some(span) = spans.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let above = span
            .parent()
            .and_then(|parent| parent.extensions().get::<OpenSpan>().map(|parent| parent.context));
        let context = above.map_or_else(|| TraceContext::root(self.ratio), TraceContext::child);
        let (started_nanos, started) = now();
        let parent = above.map(|above| above.span);
        span.extensions_mut().insert(OpenSpan { context, parent, fields, started_nanos, started });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, spans: Context<'_, S>) {
        let Some(span) = spans.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<OpenSpan>() else { return };
        values.record(&mut open.fields);
        // The caller is recorded before there are spans below this one.
        if let Some(caller) = open.fields.caller.take() {
            open.context = caller.child();
            open.parent = Some(caller.span);
        }
    }

    fn on_close(&self, id: Id, spans: Context<'_, S>) {
        let Some(span) = spans.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<OpenSpan>() else { return };
        let OpenSpan { context, parent, mut fields, started_nanos, started } = open;
        if !context.is_sampled {
            return;
        }
        fields.name.get_or_insert_with(|| span.name().to_owned());
        if fields.has_failed {
            fields.failure.get_or_insert_default();
        }
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let ended_nanos = started_nanos.saturating_add(took);
        self.finished.push(FinishedSpan { context, parent, fields, started_nanos, ended_nanos });
    }
}

/// Returns the time in nanoseconds since 1970, and the point from which the span is measured.
#[expect(clippy::disallowed_methods, reason = "traces have the time of the machine")]
fn now() -> (u64, Instant) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), Instant::now())
}
