//! Retries: after a conflict, load and decide again.
//!
//! Owns: the number of attempts, and the pauses between them. Always holds: a command waits for its
//! turn ([`Turns`]) before it is tried, and keeps it until it has its outcome, so conflicts come
//! only from other programs; only conflicts are tried again; a rejection is an answer, and an
//! unknown outcome is for the caller to repeat.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use tower::ServiceExt as _;

use super::{CommandRequest, Rest, Step, turns::Turns};
use crate::{Clock, CommandError, Receipt, Rng};

/// How often a command is tried again when other programs were faster.
///
/// Commands of one program on one stream take turns and cause each other no conflict. The wait
/// before a retry is a random part of a bound that doubles each time, so that those who collided
/// once do not collide again.
///
/// ```
/// use std::num::NonZeroU32;
/// use gesta::RetryPolicy;
///
/// let once = RetryPolicy { attempts_max: NonZeroU32::MIN, ..RetryPolicy::default() };
/// assert!(once.attempts_max < RetryPolicy::default().attempts_max);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a command is tried in all.
    pub attempts_max: NonZeroU32,
    /// The bound of the first wait.
    pub first_wait_max: Duration,
    /// The bound of all waits.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    /// 10 attempts, with waits of up to 1, 2, 4, … 100 ms.
    fn default() -> Self {
        Self {
            attempts_max: const { NonZeroU32::new(10).expect("ten is not zero") },
            first_wait_max: Duration::from_millis(1),
            wait_max: Duration::from_millis(100),
        }
    }
}

impl RetryPolicy {
    /// The wait after that many attempts, from an evenly spread number.
    fn wait(&self, attempts: u32, chance: u64) -> Duration {
        let doublings = attempts.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let bound = self.first_wait_max.saturating_mul(factor).min(self.wait_max);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(chance % micros.saturating_add(1))
    }
}

pub(super) struct Retry {
    pub(super) policy: RetryPolicy,
    pub(super) turns: Arc<Turns>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
}

impl Step for Retry {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        let mut plan = self.turns.plan(&request)?;
        let mut turn = self.turns.take(&plan).await;
        request.begun().mark();
        let mut attempts = 0;
        loop {
            let outcome = rest.clone().oneshot(request.clone()).await;
            match &outcome {
                Ok(receipt) => self.turns.learn(&plan, receipt),
                Err(CommandError::Conflict(_)) if plan.is_shared() => {
                    // Another command of this program may have been faster: no attempt is lost.
                    drop(turn);
                    plan = plan.exclusive();
                    turn = self.turns.take(&plan).await;
                    continue;
                }
                Err(CommandError::Conflict(_)) => {
                    attempts += 1;
                    if attempts < self.policy.attempts_max.get() {
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
