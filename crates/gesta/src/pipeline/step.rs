//! The shape of a step, which wraps the steps inside it.
//!
//! Invariant: the steps of a command are one future, so that a command is allocated once and not
//! once for each step.

use std::future::Future;

use super::CommandRequest;
use crate::{CommandError, Receipt};

/// The steps inside a step.
pub(super) trait InnerPipeline: Send + Sync + 'static {
    /// Executes a command.
    fn execute(
        &self,
        request: CommandRequest,
    ) -> impl Future<Output = Result<Receipt, CommandError>> + Send;
}

/// A step around the inner part of the pipeline.
pub(super) trait PipelineStep: Send + Sync + 'static {
    /// Handles a command, calling the inner pipeline any number of times.
    fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> impl Future<Output = Result<Receipt, CommandError>> + Send;
}

/// A step with the part of the pipeline that it wraps.
pub(super) struct Around<Step, Rest> {
    step: Step,
    rest: Rest,
}

/// Wraps a step around the inner part of the pipeline.
pub(super) const fn around<Step, Rest>(step: Step, rest: Rest) -> Around<Step, Rest> {
    Around { step, rest }
}

impl<Step: PipelineStep, Rest: InnerPipeline> InnerPipeline for Around<Step, Rest> {
    fn execute(
        &self,
        request: CommandRequest,
    ) -> impl Future<Output = Result<Receipt, CommandError>> + Send {
        self.step.pass(request, &self.rest)
    }
}
