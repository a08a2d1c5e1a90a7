//! Latency histogram of constant size.
//!
//! Quantiles are at most 0.8 % off; the maximum is exact. Recording takes constant time.

use serde::Serialize;

/// Buckets per doubling.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Values below [`STEPS`] have a bucket each; larger ones share the doublings up to 2^64 ns.
const BUCKETS: usize = (STEPS * (64 - STEP_BITS as u64 + 1)) as usize;

/// Histogram of nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, max: 0 }
    }
}

impl Latencies {
    pub fn add(&mut self, nanos: u64) {
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
        }
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns an upper bound for this share of values, or 0 if the histogram is empty.
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index).min(self.max);
            }
        }
        self.max
    }

    pub fn quantiles(&self) -> Quantiles {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        Quantiles {
            p50_us: micros(self.quantile(0.5)),
            p99_us: micros(self.quantile(0.99)),
            max_us: micros(self.max),
        }
    }
}

/// Returns the bucket index of a value.
fn bucket(nanos: u64) -> usize {
    let doublings = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = nanos >> doublings;
    (u64::from(doublings) * STEPS + step) as usize
}

/// Returns the middle of a bucket.
fn middle(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let doublings = index / STEPS - 1;
    let step = index - doublings * STEPS;
    (step << doublings) + (1 << doublings) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_within_a_hundredth() {
        for nanos in (0..10_000).chain([123_456, 1 << 20, 987_654_321, u64::MAX / 3, u64::MAX]) {
            let middle = middle(bucket(nanos));
            let off = middle.abs_diff(nanos) as f64 / nanos.max(1) as f64;
            assert!(off < 0.008, "{nanos} is counted as {middle}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_those_of_all_threads_together() {
        let mut all = Latencies::default();
        for thread in 0..4 {
            let mut own = Latencies::default();
            (0..25).for_each(|nth| own.add(thread * 25 + nth + 1));
            all.merge(&own);
        }
        assert_eq!((all.quantile(0.5), all.quantile(0.99)), (50, 99));
        let quantiles = all.quantiles();
        assert_eq!((all.count(), quantiles.p50_us, quantiles.max_us), (100, 0.05, 0.1));
    }

    #[test]
    fn nothing_has_no_latency() {
        assert_eq!(Latencies::default().quantiles(), Quantiles::default());
    }
}
