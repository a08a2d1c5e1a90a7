//! The context of a span, as the layer that exports it has given it.
//!
//! Invariant: without a [`SpanLayer`](crate::SpanLayer) in the program, an answer is one look at a
//! value in memory.

use std::sync::OnceLock;

use tracing::{Dispatch, Span, span::Id};

use crate::TraceContext;

/// A function that finds the context of a span of a subscriber.
pub(crate) type ContextLookup = fn(&Dispatch, &Id) -> Option<TraceContext>;

/// The look-up of the layer, once a program has made one. Libraries need no dependency on it.
static LOOKUP: OnceLock<ContextLookup> = OnceLock::new();

/// Returns the context of a span, or of the next span above it that is exported; `None` if there is
/// none, or the program exports no spans.
///
/// Blocks for as long as another thread writes to the span.
#[must_use]
pub fn context_of(span: &Span) -> Option<TraceContext> {
    let lookup = LOOKUP.get()?;
    span.with_subscriber(|(id, dispatch)| lookup(dispatch, id)).flatten()
}

/// Returns the context of the current span, for the header `traceparent` of a request to another
/// program; `None` as for [`context_of`].
#[must_use]
pub fn current_context() -> Option<TraceContext> {
    // Without a layer, not even the current span is looked up.
    LOOKUP.get()?;
    context_of(&Span::current())
}

/// Sets the look-up. Later calls have no effect: there is one kind of layer.
#[cfg(feature = "export")]
pub(crate) fn set_lookup(lookup: ContextLookup) {
    LOOKUP.get_or_init(|| lookup);
}
