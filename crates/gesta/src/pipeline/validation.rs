//! Validation: a request that makes no sense is told so before anything is read.

use tower::ServiceExt as _;

use super::{CommandRequest, Rest, Step};
use crate::{CommandError, Receipt};

pub(super) struct Validation;

impl Step for Validation {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        request.erased().validate()?;
        rest.oneshot(request).await
    }
}
