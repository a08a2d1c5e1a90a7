//! Exponential back-off between attempts.

use std::time::Duration;

use crate::Clock;

/// Pause after the first failure. Each further failure doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Upper limit of the pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { pause: PAUSE_MIN, failures: 0 }
    }

    /// Sleeps until the next attempt.
    pub(crate) async fn pause(&mut self, clock: &dyn Clock) {
        clock.sleep(self.next()).await;
    }

    /// Counts a failure and returns the pause before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Number of the current attempt, from 1.
    pub(crate) const fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Starts over after a success.
    pub(crate) const fn reset(&mut self) {
        *self = Self::new();
    }
}
