//! Figures of a turn, and medians over the rounds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::load::clock::Stopwatch;

/// Measures a turn: its time, and the time of the processors that this process used.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    stopwatch: Stopwatch,
    processor: Duration,
}

/// The figure of one turn, and the median of several.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    pub per_second: f64,
    /// Processor time of this process for one, in microseconds.
    pub processor_us: f64,
}

impl Turn {
    pub fn start() -> Self {
        Self { stopwatch: Stopwatch::start(), processor: processor_time() }
    }

    pub const fn stopwatch(self) -> Stopwatch {
        self.stopwatch
    }

    /// Returns the rate of this many since the start.
    pub fn rate(self, count: u64) -> Rate {
        let seconds = self.stopwatch.elapsed().as_secs_f64();
        let processor = processor_time().saturating_sub(self.processor);
        Rate {
            per_second: count as f64 / seconds,
            processor_us: processor.as_secs_f64() * 1e6 / count.max(1) as f64,
        }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

impl Rate {
    /// Returns the medians of rates and of processor times, each on its own.
    pub fn median(rates: &[Self]) -> Self {
        Self {
            per_second: median(rates.iter().map(|rate| rate.per_second)),
            processor_us: median(rates.iter().map(|rate| rate.processor_us)),
        }
    }
}

/// Returns the median, the lower one of an even number; 0 without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Returns the median of the ratios of each round.
pub fn median_ratio<'a>(
    rates: impl IntoIterator<Item = &'a Rate>,
    to: impl IntoIterator<Item = &'a Rate>,
) -> f64 {
    let pairs = rates.into_iter().zip(to);
    median(pairs.map(|(rate, to)| rate.per_second / to.per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_ratio_is_one_of_a_round() {
        let rate = |per_second| Rate { per_second, processor_us: 1.0 };
        let (fast, slow) =
            ([rate(10.0), rate(80.0), rate(30.0)], [rate(10.0), rate(20.0), rate(10.0)]);
        assert_eq!(median_ratio(&fast, &slow), 3.0);
    }

    #[test]
    fn processor_time_passes_with_work() {
        let turn = Turn::start();
        let mut sum = 0_u64;
        while turn.rate(1).processor_us < 100.0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(turn.rate(1).per_second > 0.0);
    }
}
