//! Clock and latencies of the benchmarks.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Time since the start of a measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Elapsed nanoseconds; a `u64` holds 500 years.
    pub(super) fn nanos(self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark's pace is in real time")]
    pub(super) fn sleep_until(self, time: Duration) {
        thread::sleep(time.saturating_sub(self.elapsed()));
    }
}

/// Latencies in nanoseconds, every one of them: 8 bytes each.
#[derive(Debug, Default)]
pub(super) struct Latencies(pub(super) Vec<u64>);

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Latencies {
    /// Returns the quantiles, all 0 if nothing was measured.
    pub(super) fn quantiles(mut self) -> Quantiles {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let micros = |place: usize| self.0.get(place).map_or(0.0, |nanos| *nanos as f64 / 1e3);
        Quantiles {
            p50_us: micros(last / 2),
            p99_us: micros(last * 99 / 100),
            max_us: micros(last),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_us, p99_us, max_us } = self;
        write!(f, "p50 {p50_us:.0}, p99 {p99_us:.0}, maximum {max_us:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_do_not_depend_on_the_order_of_measurements() {
        let quantiles = Latencies((1..=101).rev().map(|nth| nth * 1_000).collect()).quantiles();
        assert_eq!(quantiles, Quantiles { p50_us: 51.0, p99_us: 100.0, max_us: 101.0 });
    }

    #[test]
    fn without_measurements_all_quantiles_are_zero() {
        assert_eq!(Latencies::default().quantiles(), Quantiles::default());
    }
}
