//! Clock of the benchmarks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Measures the time since its start.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "what is measured is the real time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Elapsed nanoseconds; a `u64` holds 500 years.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds since 1970, the time part of UUIDv7 event ids.
#[expect(clippy::disallowed_methods, reason = "ids are to sort by time as those of programs do")]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
