//! Tracing: one span for each command, with how it ended.
//!
//! Not here: logging errors; whoever handles one does.

use tower::ServiceExt as _;
use tracing::{Instrument as _, field, info_span};

use super::{CommandRequest, Rest, Step};
use crate::{CommandError, Receipt};

pub(super) struct Trace;

impl Step for Trace {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        let span = info_span!(
            "command",
            name = request.name(),
            id = %request.context.command_id,
            actor = request.context.actor.as_deref(),
            outcome = field::Empty,
            position = field::Empty,
        );
        let outcome = rest.oneshot(request).instrument(span.clone()).await;
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
