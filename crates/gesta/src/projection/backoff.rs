//! Pauses between attempts: short at first, doubling up to a limit.

use std::time::Duration;

use crate::Clock;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { pause: FIRST, failures: 0 }
    }

    /// Waits before the next attempt.
    pub(crate) async fn pause(&mut self, clock: &dyn Clock) {
        clock.sleep(self.next()).await;
    }

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// The number of the attempt that is made now, from 1.
    pub(crate) const fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// It went well again.
    pub(crate) const fn reset(&mut self) {
        *self = Self::new();
    }
}
