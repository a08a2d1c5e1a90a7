//! The timeout: how long a caller waits at most.
//!
//! Always holds: it answers *unknown outcome*, for an append that was under way may still happen.

use std::{sync::Arc, time::Duration};

use tower::ServiceExt as _;

use super::{CommandRequest, Rest, Step};
use crate::{Clock, CommandError, Receipt};

pub(super) struct Timeout {
    pub(super) limit: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl Step for Timeout {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        tokio::select! {
            biased;
            outcome = rest.oneshot(request) => outcome,
            () = self.clock.sleep(self.limit) => {
                let limit = self.limit.as_millis();
                Err(CommandError::unavailable(format!("no answer within {limit} ms")))
            }
        }
    }
}
