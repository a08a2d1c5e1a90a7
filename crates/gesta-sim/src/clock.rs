//! Simulated time.
//!
//! Invariants: elapsed time never decreases; the calendar may jump in both directions, as an
//! operator can make it jump.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gesta_log::Clock;
use gesta_store::RecordedAt;

/// A clock that moves only when it is set.
#[derive(Debug)]
pub struct SimClock {
    time: Mutex<Time>,
}

#[derive(Debug)]
struct Time {
    calendar_micros: u64,
    elapsed: Duration,
}

impl SimClock {
    /// Initial calendar time: 2020-01-01, in microseconds since 1970.
    const EPOCH_MICROS: u64 = 1_577_836_800_000_000;

    /// Creates a clock at its initial time.
    #[must_use]
    pub const fn new() -> Self {
        let time = Time { calendar_micros: Self::EPOCH_MICROS, elapsed: Duration::ZERO };
        Self { time: Mutex::new(time) }
    }

    /// Advances elapsed time and the calendar.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time();
        time.elapsed += by;
        time.calendar_micros += u64::try_from(by.as_micros()).unwrap_or_default();
    }

    /// Advances until `elapsed`; does nothing if that is in the past.
    pub fn advance_to(&self, elapsed: Duration) {
        self.advance(elapsed.saturating_sub(self.elapsed()));
    }

    /// Moves the calendar back, as an operator or a time server may.
    pub fn set_back(&self, by: Duration) {
        let mut time = self.time();
        let micros = u64::try_from(by.as_micros()).unwrap_or_default();
        time.calendar_micros = time.calendar_micros.saturating_sub(micros);
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> RecordedAt {
        RecordedAt::from_micros(self.time().calendar_micros)
    }

    fn elapsed(&self) -> Duration {
        self.time().elapsed
    }
}
