//! Times between deliveries and their answers, for groups with extra statistics.
//!
//! Owns: the last [`SAMPLES_MAX`] times of a consumer, and their summary under the names that
//! clients know. Invariant: a summary is of answered events only.

use std::{collections::VecDeque, time::Duration};

/// Number of times that are kept.
const SAMPLES_MAX: usize = 1_000;
/// Names of further percentiles, with their parts of a thousand.
const PERCENTILES: [(&str, usize); 5] =
    [("90%", 900), ("95%", 950), ("99%", 990), ("99.5%", 995), ("99.9%", 999)];
/// Names of the fifths, which begin at 0, 20, 40, 60 and 80 percent.
const QUINTILES: [&str; 5] = ["Quintile 1", "Quintile 2", "Quintile 3", "Quintile 4", "Quintile 5"];

/// The last times of a consumer.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(VecDeque<Duration>);

/// A figure with its name, in milliseconds.
pub(in crate::groups) type Latency = (&'static str, u64);

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(latency);
    }

    /// Returns the summary; empty without an answer.
    pub(super) fn summary(&self) -> Vec<Latency> {
        let mut times: Vec<u64> = self.0.iter().map(|time| millis(*time)).collect();
        times.sort_unstable();
        let (Some(fastest), Some(highest)) = (times.first(), times.last()) else {
            return Vec::new();
        };
        let at = |thousandth: usize| {
            let index = times.len() * thousandth / 1_000;
            times.get(index).copied().unwrap_or(*highest)
        };
        let count = u64::try_from(times.len()).unwrap_or(u64::MAX).max(1);
        let mean = times.iter().sum::<u64>() / count;
        let mut summary = vec![("Mean", mean), ("Median", at(500)), ("Fastest", *fastest)];
        summary.extend(QUINTILES.iter().enumerate().map(|(fifth, name)| (*name, at(fifth * 200))));
        summary.extend(PERCENTILES.map(|(name, thousandth)| (name, at(thousandth))));
        summary.push(("Highest", *highest));
        summary
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_of_the_last_thousand_times() {
        let mut latencies = Latencies::default();
        assert!(latencies.summary().is_empty());
        for time in (0..2_000).rev() {
            latencies.record(Duration::from_millis(time));
        }
        let summary = latencies.summary();
        let names: Vec<_> = summary.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), 14);
        let of = |name: &str| summary.iter().find(|(other, _)| *other == name).unwrap().1;
        assert_eq!((of("Fastest"), of("Highest"), of("Median"), of("Mean")), (0, 999, 500, 499));
        assert_eq!((of("Quintile 1"), of("Quintile 5"), of("99.9%")), (0, 800, 999));
    }
}
