//! Validation: invalid commands fail before anything is read.

use super::{
    CommandRequest,
    step::{InnerPipeline, PipelineStep},
};
use crate::{CommandError, Receipt};

pub(super) struct Validation;

impl PipelineStep for Validation {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        // Outside of the retries, since another attempt would find the same fault.
        request.erased().validate()?;
        rest.execute(request).await
    }
}
