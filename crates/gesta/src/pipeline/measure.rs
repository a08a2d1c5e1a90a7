//! The measuring step: counts each command by its outcome, with its time.
//!
//! Invariant: each command that enters is counted once, also one whose caller gives up.

use std::{sync::Arc, time::SystemTime};

use super::{
    CommandRequest,
    step::{InnerPipeline, PipelineStep},
};
use crate::{
    Clock, CommandError, Receipt,
    error::ABANDONED,
    metrics::{CommandCounters, EXECUTED, PipelineCounters},
};

pub(super) struct Measure {
    pub(super) counters: Arc<PipelineCounters>,
    pub(super) clock: Arc<dyn Clock>,
}

impl PipelineStep for Measure {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        let counters = self.counters.commands.of(request.name());
        let clock = self.clock.as_ref();
        let mut measured = Measured { counters, clock, begun: clock.now(), outcome: ABANDONED };
        let outcome = rest.execute(request).await;
        measured.outcome = outcome.as_ref().map_or_else(CommandError::kind, |_| EXECUTED);
        outcome
    }
}

/// A command in progress. Counted on drop, so that one whose future is dropped is counted, too.
struct Measured<'a> {
    counters: &'a CommandCounters,
    clock: &'a dyn Clock,
    begun: SystemTime,
    outcome: &'static str,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        // The system clock may have been set back.
        let time = self.clock.now().duration_since(self.begun).unwrap_or_default();
        self.counters.record(self.outcome, time);
    }
}
