//! Pauses between attempts: short at first, doubling up to a limit.

use std::time::Duration;

use crate::Clock;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    /// Waits before the next attempt.
    pub(crate) async fn pause(&mut self, clock: &dyn Clock) {
        clock.sleep(self.next()).await;
    }

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause
    }

    /// It went well again.
    pub(crate) const fn reset(&mut self) {
        self.0 = FIRST;
    }
}
