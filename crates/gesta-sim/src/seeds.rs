//! Runs of many seeds, and their summary.

use std::{
    fmt,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use gesta_log::{Clock, SystemClock};

use crate::{
    fault::Fault,
    simulation::{Failure, RunStats, run},
};

/// Minimum of disk operations in the median seed.
pub const DISK_OPERATIONS_MIN: u64 = 200;
/// Minimum share of seeds, in percent, in which each kind of fault happens.
pub const FAULT_PERCENT_MIN: u64 = 1;
/// Minimum number of seeds for which [`Summary::shortfalls`] applies.
pub const SEEDS_TO_ASSESS_MIN: u64 = 1_000;

/// Statistics over many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    runs: Vec<RunStats>,
    elapsed_time: Duration,
}

/// Runs `count` seeds starting at `from`, on all cores.
///
/// # Errors
/// The [`Failure`] of one seed; the remaining seeds are not started.
pub fn seeds(from: u64, count: u64) -> Result<Summary, Failure> {
    let clock = SystemClock::new();
    let (next, failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let results = Mutex::new(Vec::new());
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return;
            }
            let result = run(seed);
            // The other threads stop at their next seed.
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let runs = results.into_iter().collect::<Result<_, _>>()?;
    Ok(Summary { runs, elapsed_time: clock.elapsed() })
}

impl Summary {
    /// Number of seeds that ran.
    #[must_use]
    pub fn seeds(&self) -> u64 {
        self.runs.len() as u64
    }

    /// Number of seeds in which the fault happened.
    #[must_use]
    pub fn fired_in(&self, fault: Fault) -> u64 {
        self.count(|stats| stats.faults.of(fault).fired > 0)
    }

    /// Number of seeds in which the fault mattered.
    #[must_use]
    pub fn mattered_in(&self, fault: Fault) -> u64 {
        self.count(|stats| stats.faults.of(fault).mattered > 0)
    }

    /// Number of seeds in which events were scavenged.
    #[must_use]
    pub fn scavenged_in(&self) -> u64 {
        self.count(|stats| stats.scavenged > 0)
    }

    /// Median of a statistic.
    #[must_use]
    pub fn median(&self, of: impl Fn(&RunStats) -> u64) -> u64 {
        let [_, _, median, _, _] = self.quantiles(of);
        median
    }

    /// Minimum, first decile, median, ninth decile and maximum of a statistic.
    #[must_use]
    pub fn quantiles(&self, of: impl Fn(&RunStats) -> u64) -> [u64; 5] {
        let mut numbers: Vec<u64> = self.runs.iter().map(of).collect();
        numbers.sort_unstable();
        let last = numbers.len().saturating_sub(1);
        [0, last / 10, numbers.len() / 2, last * 9 / 10, last]
            .map(|place| numbers.get(place).copied().unwrap_or_default())
    }

    /// Describes the minimums that these seeds missed; empty below [`SEEDS_TO_ASSESS_MIN`] seeds.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        if self.seeds() < SEEDS_TO_ASSESS_MIN {
            return Vec::new();
        }
        let mut shortfalls = Vec::new();
        // Few operations or missing faults mean that the seeds prove little.
        let median = self.median(|stats| stats.disk_operations);
        if median < DISK_OPERATIONS_MIN {
            let wanted = DISK_OPERATIONS_MIN;
            shortfalls.push(format!(
                "the median seed has {median} disk operations, expected at least {wanted}"
            ));
        }
        for fault in Fault::ALL.iter().copied() {
            let fired = self.fired_in(fault);
            if fired * 100 < self.seeds() * FAULT_PERCENT_MIN {
                let of = format!("{fired} of {} seeds", self.seeds());
                shortfalls.push(format!("{fault} in {of}, less than {FAULT_PERCENT_MIN} %"));
            }
        }
        shortfalls
    }

    /// Throughput, in seeds per minute.
    #[must_use]
    pub fn seeds_per_minute(&self) -> u64 {
        let millis = u64::try_from(self.elapsed_time.as_millis()).unwrap_or(u64::MAX).max(1);
        self.seeds() * 60_000 / millis
    }

    fn count(&self, is_one: impl Fn(&RunStats) -> bool) -> u64 {
        self.runs.iter().filter(|stats| is_one(stats)).count() as u64
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28}{:>10}{:>10}", "in seeds", "fired", "mattered")?;
        for fault in Fault::ALL.iter().copied() {
            let (fired, mattered) = (self.fired_in(fault), self.mattered_in(fault));
            writeln!(f, "{fault:<28}{fired:>10}{mattered:>10}")?;
        }
        let of = format!("of {} seeds", self.seeds());
        writeln!(
            f,
            "{of:<28}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "least", "10 %", "median", "90 %", "most"
        )?;
        for (name, quantiles) in [
            ("client operations", self.quantiles(|stats| stats.operations)),
            ("crashes", self.quantiles(|stats| stats.crashes)),
            ("acknowledged", self.quantiles(|stats| stats.acknowledged)),
            ("refused", self.quantiles(|stats| stats.refused)),
            ("outcome unknown", self.quantiles(|stats| stats.unknown)),
            ("events", self.quantiles(|stats| stats.events)),
            ("scavenged", self.quantiles(|stats| stats.scavenged)),
            ("disk operations", self.quantiles(|stats| stats.disk_operations)),
        ] {
            let [least, tenth, median, ninth, most] = quantiles;
            writeln!(f, "{name:<28}{least:>10}{tenth:>10}{median:>10}{ninth:>10}{most:>10}")?;
        }
        let elapsed_time = self.elapsed_time.as_secs_f64();
        write!(f, "{elapsed_time:.1} s, {} seeds a minute", self.seeds_per_minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_that_did_nothing_fall_short_in_everything() {
        let runs = vec![RunStats::default(); 1_000];
        let idle = Summary { runs, elapsed_time: Duration::ZERO };
        assert_eq!(idle.shortfalls().len(), 1 + Fault::ALL.len());
    }

    #[test]
    fn quantiles_are_of_what_seeds_had() {
        let stats = |events| RunStats { events, ..RunStats::default() };
        let summary =
            Summary { runs: (0..=100).map(stats).collect(), elapsed_time: Duration::ZERO };
        assert_eq!(summary.quantiles(|stats| stats.events), [0, 10, 50, 90, 100]);
    }
}
