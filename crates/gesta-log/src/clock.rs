//! The engine's sources of time and randomness.
//!
//! Invariants: nothing else in the engine reads the system's clock or random numbers, so that a
//! simulation controls both. Time never decides the order of events.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gesta_store::RecordedAt;
use uuid::Uuid;

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns the wall-clock time, which may jump in both directions.
    fn now(&self) -> RecordedAt;

    /// Returns the time since a fixed moment; never decreases.
    fn elapsed(&self) -> Duration;
}

/// A source of random bytes.
pub trait Rng: Send + fmt::Debug + 'static {
    /// Returns sixteen random bytes.
    fn bytes(&mut self) -> [u8; 16];

    /// Returns an independent source, for use by another thread.
    fn fork(&mut self) -> Box<dyn Rng>;
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Returns a clock whose [`elapsed`](Clock::elapsed) starts at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    fn now(&self) -> RecordedAt {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The random number generator of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn bytes(&mut self) -> [u8; 16] {
        // A version-4 UUID fixes six bits; two of them, mixed, leave none fixed.
        let (one, other) = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u128());
        (one ^ other.rotate_left(64)).to_le_bytes()
    }

    fn fork(&mut self) -> Box<dyn Rng> {
        Box::new(Self)
    }
}
