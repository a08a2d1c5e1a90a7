//! Many seeds, and what they add up to.

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
    simulation::{Failure, Story, run},
};

/// Operations of the disk that the median seed has at least.
pub const DISK_OPERATIONS_MIN: u64 = 200;
/// Each kind of fault happens in so many of a hundred seeds at least.
pub const FAULT_PERCENT_MIN: u64 = 1;
/// From so many seeds on it can be demanded that they did enough.
pub const SEEDS_TO_JUDGE_MIN: u64 = 1_000;

/// What many seeds did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    stories: Vec<Story>,
    took: Duration,
}

/// Runs so many seeds from a first one on, on all cores.
///
/// # Errors
/// The [`Failure`] of some seed; the others stop.
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
    let stories = results.into_iter().collect::<Result<_, _>>()?;
    Ok(Summary { stories, took: clock.elapsed() })
}

impl Summary {
    /// How many seeds ran.
    #[must_use]
    pub fn seeds(&self) -> u64 {
        self.stories.len() as u64
    }

    /// In how many seeds this kind of fault happened.
    #[must_use]
    pub fn fired_in(&self, fault: Fault) -> u64 {
        self.count(|story| story.faults.of(fault).fired > 0)
    }

    /// In how many seeds this kind of fault mattered.
    #[must_use]
    pub fn mattered_in(&self, fault: Fault) -> u64 {
        self.count(|story| story.faults.of(fault).mattered > 0)
    }

    /// In how many seeds something was scavenged.
    #[must_use]
    pub fn scavenged_in(&self) -> u64 {
        self.count(|story| story.scavenged > 0)
    }

    /// Half of the seeds had at least so many of something.
    #[must_use]
    pub fn median(&self, of: impl Fn(&Story) -> u64) -> u64 {
        let [_, _, median, _, _] = self.quantiles(of);
        median
    }

    /// The least of something that a seed had, what a tenth of them had at most, half of them,
    /// nine tenths, and the most.
    #[must_use]
    pub fn quantiles(&self, of: impl Fn(&Story) -> u64) -> [u64; 5] {
        let mut numbers: Vec<u64> = self.stories.iter().map(of).collect();
        numbers.sort_unstable();
        let last = numbers.len().saturating_sub(1);
        [0, last / 10, numbers.len() / 2, last * 9 / 10, last]
            .map(|place| numbers.get(place).copied().unwrap_or_default())
    }

    /// What these seeds did too little of, in words; nothing of fewer than
    /// [`SEEDS_TO_JUDGE_MIN`] seeds.
    #[must_use]
    pub fn shortfalls(&self) -> Vec<String> {
        if self.seeds() < SEEDS_TO_JUDGE_MIN {
            return Vec::new();
        }
        let mut shortfalls = Vec::new();
        let median = self.median(|story| story.disk_operations);
        if median < DISK_OPERATIONS_MIN {
            let wanted = DISK_OPERATIONS_MIN;
            shortfalls.push(format!("the median seed has {median} disk operations, not {wanted}"));
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

    /// How fast it went.
    #[must_use]
    pub fn seeds_per_minute(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX).max(1);
        self.seeds() * 60_000 / millis
    }

    fn count(&self, is_one: impl Fn(&Story) -> bool) -> u64 {
        self.stories.iter().filter(|story| is_one(story)).count() as u64
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
            ("client operations", self.quantiles(|story| story.operations)),
            ("crashes", self.quantiles(|story| story.crashes)),
            ("acknowledged", self.quantiles(|story| story.acknowledged)),
            ("refused", self.quantiles(|story| story.refused)),
            ("outcome unknown", self.quantiles(|story| story.unknown)),
            ("events", self.quantiles(|story| story.events)),
            ("scavenged", self.quantiles(|story| story.scavenged)),
            ("disk operations", self.quantiles(|story| story.disk_operations)),
        ] {
            let [least, tenth, median, ninth, most] = quantiles;
            writeln!(f, "{name:<28}{least:>10}{tenth:>10}{median:>10}{ninth:>10}{most:>10}")?;
        }
        let took = self.took.as_secs_f64();
        write!(f, "{took:.1} s, {} seeds a minute", self.seeds_per_minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_that_did_nothing_fall_short_in_everything() {
        let stories = vec![Story::default(); 1_000];
        let idle = Summary { stories, took: Duration::ZERO };
        assert_eq!(idle.shortfalls().len(), 1 + Fault::ALL.len());
    }

    #[test]
    fn quantiles_are_of_what_seeds_had() {
        let story = |events| Story { events, ..Story::default() };
        let summary = Summary { stories: (0..=100).map(story).collect(), took: Duration::ZERO };
        assert_eq!(summary.quantiles(|story| story.events), [0, 10, 50, 90, 100]);
    }
}
