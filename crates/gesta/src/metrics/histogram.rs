//! A histogram of times.
//!
//! Invariant: the number of times is the sum of the buckets, so that a snapshot never has a bucket
//! that is greater than the total.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets of a [`LatencyHistogram`], inclusive, in ascending order. One more
/// bucket has the longer times.
pub const LATENCY_BOUNDS: [Duration; 14] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Number of buckets.
const BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// A histogram of times with the bounds [`LATENCY_BOUNDS`]. Recording is two atomic additions.
///
/// ```
/// use std::time::Duration;
/// use gesta::LatencyHistogram;
///
/// let histogram = LatencyHistogram::default();
/// histogram.record(Duration::from_millis(3));
/// histogram.record(Duration::from_secs(60));
/// let read = histogram.read();
/// assert_eq!((read.count(), read.sum()), (2, Duration::from_millis(60_003)));
/// let (bound, at_most) = read.cumulative().last().expect("there are buckets");
/// assert_eq!((bound, at_most), (Duration::from_secs(10), 1));
/// ```
#[derive(Debug, Default)]
pub struct LatencyHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
}

impl LatencyHistogram {
    /// Records a time.
    pub fn record(&self, time: Duration) {
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < time);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        // Wraps around after 584 years of recorded time.
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the recorded times. A time that is recorded at the same moment may be in the buckets
    /// and not in the sum, or the other way round.
    #[must_use]
    pub fn read(&self) -> Latencies {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed));
        Latencies { buckets, sum }
    }
}

/// The times that a [`LatencyHistogram`] has recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    buckets: [u64; BUCKETS],
    sum: Duration,
}

impl Latencies {
    /// Returns the number of recorded times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all recorded times.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns each of [`LATENCY_BOUNDS`] with the number of times that were not longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut at_most = 0;
        LATENCY_BOUNDS.into_iter().zip(self.buckets).map(move |(bound, count)| {
            at_most += count;
            (bound, at_most)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_its_bound_and_above() {
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::from_millis(1));
        histogram.record(Duration::from_micros(1_001));
        let read = histogram.read();
        let first: Vec<u64> = read.cumulative().take(3).map(|(_, count)| count).collect();
        assert_eq!(first, [0, 1, 2]);
        assert_eq!(read.sum(), Duration::from_micros(2_001));
    }

    #[test]
    fn a_time_beyond_all_bounds_is_counted_in_the_total_only() {
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::from_secs(11));
        let read = histogram.read();
        assert!(read.cumulative().all(|(_, count)| count == 0));
        assert_eq!(read.count(), 1);
    }
}
