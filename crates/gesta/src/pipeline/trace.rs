//! Tracing: one span for each command, with its outcome.
//!
//! Not here: logging of errors, which is up to their handler; names and fields of the span
//! ([`spans`](crate::spans)).

use tracing::Instrument as _;

use super::{
    CommandRequest,
    step::{InnerPipeline, PipelineStep},
};
use crate::{
    CommandError, Receipt,
    metrics::EXECUTED,
    spans::{TracedCommand, command_span, record_failure},
};

pub(super) struct Trace;

impl PipelineStep for Trace {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        let context = &request.context;
        let command_id = context.command_id.as_str();
        let span = command_span(TracedCommand {
            name: request.name(),
            id: command_id,
            // Without a correlation id, the command begins a conversation by its own id.
            correlation_id: context.correlation_id.as_ref().map_or(command_id, |id| id.as_str()),
            metadata: &context.metadata,
        });
        if span.is_disabled() {
            return rest.execute(request).await;
        }
        let outcome = rest.execute(request).instrument(span.clone()).await;
        match &outcome {
            Ok(receipt) => {
                span.record("gesta.outcome", EXECUTED);
                span.record("gesta.position", receipt.position.number());
            }
            Err(error) => {
                span.record("gesta.outcome", error.kind());
                if !error.is_of_the_domain() {
                    record_failure(&span, error.kind());
                }
            }
        }
        outcome
    }
}
