//! Time and chance, as the engine takes them from outside.
//!
//! Owns: [`Clock`] and [`Rng`], and the system's. Always holds: nothing else in the engine asks
//! the system for time or randomness, so a simulation owns both. Time never decides order.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gesta_store::RecordedAt;
use uuid::Uuid;

/// What time it is.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The calendar's time; may jump both ways.
    fn now(&self) -> RecordedAt;

    /// Time since some fixed moment; never falls.
    fn elapsed(&self) -> Duration;
}

/// Where random bytes come from.
pub trait Rng: Send + fmt::Debug + 'static {
    /// Sixteen random bytes.
    fn bytes(&mut self) -> [u8; 16];

    /// Another source, for somebody else.
    fn fork(&mut self) -> Box<dyn Rng>;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose [`elapsed`](Clock::elapsed) begins now.
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

/// The system's randomness.
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
