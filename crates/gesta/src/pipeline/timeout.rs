//! The timeout: the maximum time that a caller waits.
//!
//! Invariant: a command that was still waiting for its turn was certainly not executed. Any other
//! has an unknown outcome, since an append in flight may still succeed.

use std::{sync::Arc, time::Duration};

use super::{
    CommandRequest,
    request::StartedFlag,
    step::{InnerPipeline, PipelineStep},
};
use crate::{Clock, CommandError, Receipt};

pub(super) struct Timeout {
    pub(super) limit: Duration,
    pub(super) clock: Arc<dyn Clock>,
    /// The place of the events, for the error.
    pub(super) place: String,
}

impl PipelineStep for Timeout {
    async fn pass(
        &self,
        mut request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        let started = StartedFlag::default();
        request.set_started(started.clone());
        tokio::select! {
            // Prefer an outcome that arrives together with the deadline.
            biased;
            outcome = rest.execute(request) => outcome,
            () = self.clock.sleep(self.limit) => {
                let limit = self.limit.as_millis();
                if started.is_set() {
                    let reason = format!("{}: no answer within {limit} ms", self.place);
                    return Err(CommandError::unavailable(reason));
                }
                let reason = format!(
                    "not executed: waited {limit} ms for other commands on the same stream"
                );
                Err(CommandError::Overloaded { reason, retry_after: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::{CommandContext, CommandId, CommandIdFrom, prelude::*, testing::VirtualClock};

    #[derive(Event, Serialize, Deserialize, Clone)]
    #[event(name = "door-opened")]
    struct DoorOpened;

    #[derive(EventSet, Clone)]
    enum DoorEvent {
        Opened(DoorOpened),
    }

    #[derive(Default)]
    struct Door;

    impl Aggregate for Door {
        const CATEGORY: &'static str = "door";
        type Id = u32;
        type Event = DoorEvent;

        fn evolve(&mut self, event: &DoorEvent) {
            match event {
                DoorEvent::Opened(_) => {}
            }
        }
    }

    #[derive(Command, Serialize, Deserialize)]
    #[command(name = "open-door", on = Door, either)]
    struct OpenDoor {
        #[command(id)]
        door: u32,
    }

    impl Decide for OpenDoor {
        type Rejection = std::convert::Infallible;

        fn decide(&self, _: &Door) -> Decision<Self> {
            Ok(DoorOpened.into())
        }
    }

    /// A rest of the pipeline that never ends.
    struct Endless {
        had_its_turn: bool,
    }

    impl InnerPipeline for Endless {
        async fn execute(&self, request: CommandRequest) -> Result<Receipt, CommandError> {
            if self.had_its_turn {
                request.started().set();
            }
            pending().await
        }
    }

    /// The error of a command that never ends, and whose turn has come or has not.
    async fn timed_out(had_its_turn: bool) -> CommandError {
        let (clock, limit) = (VirtualClock::new(), Duration::from_secs(5));
        let step = Timeout { limit, clock: Arc::new(clock.clone()), place: String::new() };
        let id = CommandId::new("request-1").unwrap();
        let context = CommandContext::new(id, CommandIdFrom::Caller);
        let request = CommandRequest::new(context, OpenDoor { door: 1 });
        let passed =
            tokio::spawn(async move { step.pass(request, &Endless { had_its_turn }).await });
        clock.until_asleep(limit).await;
        clock.advance(limit);
        passed.await.unwrap().unwrap_err()
    }

    #[tokio::test]
    async fn a_command_that_only_waited_for_its_turn_is_known_not_to_be_executed() {
        let waited = timed_out(false).await;
        assert!(waited.is_definite(), "{waited}");
        assert!(matches!(waited, CommandError::Overloaded { .. }), "{waited}");
        assert!(!timed_out(true).await.is_definite());
    }
}
