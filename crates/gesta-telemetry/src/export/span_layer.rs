//! A layer of `tracing` that makes finished spans of traces from spans of the program.
//!
//! Owns: [`SpanLayer`]. Invariants:
//! - A span with a field `traceparent` is below the context in it, unless the span above it in the
//!   program is in the same trace already: then it is below that one, which is nearer.
//! - Any other span is in the trace of the span above it, or begins a trace. A trace that begins
//!   with links is sampled if one of the linked ones is; any other one by the ratio.
//! - A span that is not sampled is not exported, and neither are those below it.
//!
//! Not here: which spans there are.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{
    Dispatch, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::{
    finished_span::{Fields, FinishedSpan},
    sample_ratio::SampleRatio,
    span_queue::SpanQueue,
};
use crate::{SpanId, TraceContext, current::set_lookup};

/// A span that is open.
struct OpenSpan {
    context: TraceContext,
    parent: Option<SpanId>,
    fields: Fields,
    started_nanos: u64,
    started: Instant,
}

/// A layer that exports the spans of a program.
///
/// Give it a filter: every span that passes costs about a microsecond, and those of other libraries
/// would be exported, too. The spans keep their contexts in a
/// [`Registry`](tracing_subscriber::Registry), which must be the root of the subscriber.
#[derive(Debug)]
pub struct SpanLayer {
    finished: SpanQueue,
    ratio: SampleRatio,
}

impl SpanLayer {
    pub(super) fn new(finished: SpanQueue, ratio: SampleRatio) -> Self {
        set_lookup(look_up);
        Self { finished, ratio }
    }

    /// Returns the context of a new span, and its parent.
    fn place(
        &self,
        fields: &Fields,
        above: Option<TraceContext>,
    ) -> (TraceContext, Option<SpanId>) {
        let is_nearer =
            |above: &TraceContext| fields.caller.is_none_or(|caller| caller.trace == above.trace);
        if let Some(parent) = above.filter(is_nearer).or(fields.caller) {
            return (parent.child(), Some(parent.span));
        }
        let mut context = TraceContext::root(self.ratio.get());
        if !fields.links.is_empty() {
            context.is_sampled = fields.links.iter().any(|link| link.is_sampled);
        }
        (context, None)
    }
}

/// Finds the context of a span, or of the next one above it that has one.
fn look_up(dispatch: &Dispatch, id: &Id) -> Option<TraceContext> {
    let registry = dispatch.downcast_ref::<Registry>()?;
    context_above(&registry.span(id)?)
}

/// Returns the context of a span, or of the next one above it that has one.
pub(super) fn context_above<'a, R>(span: &SpanRef<'a, R>) -> Option<TraceContext>
where
    R: LookupSpan<'a>,
{
    span.scope().find_map(|span| span.extensions().get::<OpenSpan>().map(|open| open.context))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: Context<'_, S>) {
        let Some(span) = spans.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let above = span.parent().and_then(|parent| context_above(&parent));
        let (context, parent) = self.place(&fields, above);
        let (started_nanos, started) = now();
        span.extensions_mut().insert(OpenSpan { context, parent, fields, started_nanos, started });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, spans: Context<'_, S>) {
        let Some(span) = spans.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<OpenSpan>() else { return };
        let before = open.fields.caller;
        values.record(&mut open.fields);
        // The caller is recorded before there are spans below this one.
        if let Some(caller) = open.fields.caller.filter(|caller| before != Some(*caller)) {
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
