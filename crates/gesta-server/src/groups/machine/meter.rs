//! Numbers of deliveries, as clients read them.

use std::time::Duration;

/// Minimum interval between two measurements.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// A count of deliveries with its rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    total: u64,
    since: u64,
    rate: u64,
    measured: Duration,
}

/// The values of a meter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Measured {
    pub(in crate::groups) total: u64,
    /// Deliveries since the last measurement.
    pub(in crate::groups) since: u64,
    /// Deliveries per second before it.
    pub(in crate::groups) per_second: u64,
}

impl Meter {
    pub(super) fn new(now: Duration) -> Self {
        Self { measured: now, ..Self::default() }
    }

    pub(super) const fn count(&mut self) {
        self.total += 1;
        self.since += 1;
    }

    /// Takes the last count back.
    pub(super) const fn uncount(&mut self) {
        self.total = self.total.saturating_sub(1);
        self.since = self.since.saturating_sub(1);
    }

    /// Returns the values, and begins a measurement if the last one is old enough.
    pub(super) fn read(&mut self, now: Duration) -> Measured {
        let measured = Measured { total: self.total, since: self.since, per_second: self.rate };
        let elapsed = now.saturating_sub(self.measured);
        if elapsed < INTERVAL_MIN {
            return measured;
        }
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.rate = self.since.saturating_mul(1_000) / millis.max(1);
        self.since = 0;
        self.measured = now;
        Measured { per_second: self.rate, ..measured }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_time_between_two_measurements() {
        let mut meter = Meter::new(Duration::ZERO);
        (0..10).for_each(|_| meter.count());
        let measured = meter.read(Duration::from_secs(2));
        assert_eq!(measured, Measured { total: 10, since: 10, per_second: 5 });
        let next = meter.read(Duration::from_millis(2_500));
        assert_eq!(next, Measured { total: 10, since: 0, per_second: 5 });
    }
}
