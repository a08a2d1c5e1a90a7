//! The shape of a step, which wraps the steps inside it.

use std::{future::Future, sync::Arc};

use tower::{service_fn, util::BoxCloneSyncService};

use super::CommandRequest;
use crate::{CommandError, Receipt};

/// The steps inside a step.
pub(super) type InnerPipeline = BoxCloneSyncService<CommandRequest, Receipt, CommandError>;

/// A step around the inner part of the pipeline.
pub(super) trait PipelineStep: Send + Sync + 'static {
    /// Handles a command, calling the inner pipeline any number of times.
    fn pass(
        &self,
        request: CommandRequest,
        rest: InnerPipeline,
    ) -> impl Future<Output = Result<Receipt, CommandError>> + Send;
}

/// Wraps a step around the inner part of the pipeline.
pub(super) fn around(step: impl PipelineStep, rest: InnerPipeline) -> InnerPipeline {
    let step = Arc::new(step);
    BoxCloneSyncService::new(service_fn(move |request| {
        // A clone per command: a step may call the inner service several times.
        let (step, rest) = (Arc::clone(&step), rest.clone());
        async move { step.pass(request, rest).await }
    }))
}
