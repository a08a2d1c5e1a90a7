//! Tracing: one span for each command, with its outcome.
//!
//! Not here: logging of errors, which is up to their handler.

use tracing::{Instrument as _, field, info_span};

use super::{
    CommandRequest,
    step::{InnerPipeline, PipelineStep},
};
use crate::{CommandError, Receipt};

pub(super) struct Trace;

impl PipelineStep for Trace {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        let span = info_span!(
            "command",
            name = request.name(),
            id = %request.context.command_id,
            actor = request.context.actor.as_deref(),
            outcome = field::Empty,
            position = field::Empty,
        );
        let outcome = rest.execute(request).instrument(span.clone()).await;
        match &outcome {
            Ok(receipt) => {
                span.record("outcome", "executed");
                span.record("position", receipt.position.number());
            }
            Err(error) => {
                span.record("outcome", error.kind());
            }
        }
        outcome
    }
}
