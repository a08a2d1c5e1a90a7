//! Retries after conflicts: load and decide again.
//!
//! Owns: the number of attempts and the pauses between them. Invariants: a command waits for its
//! turn ([`Turns`]) and keeps it until its outcome, so that conflicts come from other programs
//! only; only conflicts are retried. A rejection is final, and an unknown outcome is retried by the
//! caller.

use std::{
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    CommandRequest,
    step::{InnerPipeline, PipelineStep},
    turns::Turns,
};
use crate::{Clock, CommandError, Receipt, Rng, metrics::PipelineCounters};

/// Retry limit and backoff after conflicts with other programs.
///
/// Commands of one program on one stream take turns and do not conflict. The pause before a retry
/// is random, up to a bound that doubles with each attempt, so that programs that collided once do
/// not collide again.
///
/// ```
/// use std::num::NonZeroU32;
/// use gesta::RetryPolicy;
///
/// let once = RetryPolicy::default().attempts_max(NonZeroU32::MIN);
/// assert!(once.attempts_max < RetryPolicy::default().attempts_max);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Maximum number of attempts, the first included.
    pub attempts_max: NonZeroU32,
    /// Upper bound of the first pause.
    pub first_wait_max: Duration,
    /// Upper bound of every pause.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    /// 10 attempts, with pauses of up to 1, 2, 4, … 100 ms.
    fn default() -> Self {
        Self {
            attempts_max: const { NonZeroU32::new(10).expect("ten is not zero") },
            first_wait_max: Duration::from_millis(1),
            wait_max: Duration::from_millis(100),
        }
    }
}

impl RetryPolicy {
    /// Sets the maximum number of attempts, the first included.
    #[must_use]
    pub const fn attempts_max(self, attempts: NonZeroU32) -> Self {
        Self { attempts_max: attempts, ..self }
    }

    /// Sets the upper bound of the first pause.
    #[must_use]
    pub const fn first_wait_max(self, wait: Duration) -> Self {
        Self { first_wait_max: wait, ..self }
    }

    /// Sets the upper bound of every pause.
    #[must_use]
    pub const fn wait_max(self, wait: Duration) -> Self {
        Self { wait_max: wait, ..self }
    }

    /// Returns the pause after a number of attempts, from a uniformly distributed number.
    fn wait(&self, attempts: u32, chance: u64) -> Duration {
        let doublings = attempts.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let bound = self.first_wait_max.saturating_mul(factor).min(self.wait_max);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(chance % micros.saturating_add(1))
    }
}

pub(super) struct RetryStep {
    pub(super) policy: RetryPolicy,
    pub(super) turns: Arc<Turns>,
    pub(super) counters: Arc<PipelineCounters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
}

impl PipelineStep for RetryStep {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        let mut plan = self.turns.plan(&request)?;
        // Kept during the pauses below: a command behind it in this program would conflict as well.
        let mut turn = self.turns.take(&plan).await;
        // Before this point, the timeout reports the command as not executed.
        request.started().set();
        let mut attempts = 0;
        loop {
            let outcome = rest.execute(request.clone()).await;
            if let Err(CommandError::Conflict(_)) = &outcome {
                self.counters.commands.of(request.name()).conflicts.fetch_add(1, Ordering::Relaxed);
            }
            match &outcome {
                // The receipt names the streams written to; the rest of the boundary was only read.
                Ok(receipt) => self.turns.learn(&plan, receipt),
                Err(CommandError::Conflict(_)) if plan.is_shared() => {
                    // Another command of this program may have caused the conflict by writing to a
                    // stream that is held shared. Retry exclusively, without counting an attempt.
                    drop(turn);
                    self.count_retry(&request);
                    plan = plan.exclusive();
                    turn = self.turns.take(&plan).await;
                    continue;
                }
                Err(CommandError::Conflict(_)) => {
                    attempts += 1;
                    // Retry, or fall through to return the conflict.
                    if attempts < self.policy.attempts_max.get() {
                        self.count_retry(&request);
                        let pause = self.policy.wait(attempts, self.rng.next_u64());
                        self.clock.pause(pause).await;
                        continue;
                    }
                }
                Err(_) => {}
            }
            drop(turn);
            return outcome;
        }
    }
}

impl RetryStep {
    fn count_retry(&self, request: &CommandRequest) {
        self.counters.commands.of(request.name()).retries.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound() {
        let policy = RetryPolicy::default();
        let longest = |attempts| {
            let bound = [1_000, 2_000, 4_000, 100_000];
            let chance = bound.into_iter().map(|bound| policy.wait(attempts, bound));
            chance.max().unwrap()
        };
        assert_eq!(longest(1), Duration::from_millis(1));
        assert_eq!(longest(2), Duration::from_millis(2));
        assert_eq!(longest(3), Duration::from_millis(4));
        assert_eq!(longest(100), Duration::from_millis(100));
    }
}
