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
        let mut numbers: Vec<u64> = self.stories.iter().map(of).collect();
        numbers.sort_unstable();
        numbers.get(numbers.len() / 2).copied().unwrap_or_default()
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
        writeln!(f, "{:<24}{:>12}{:>12}", "in seeds", "fired", "mattered")?;
        for fault in Fault::ALL {
            let (fired, mattered) = (self.fired_in(fault), self.mattered_in(fault));
            writeln!(f, "{fault:<24}{fired:>12}{mattered:>12}")?;
        }
        writeln!(f, "medians of {} seeds:", self.seeds())?;
        for (name, median) in [
            ("client operations", self.median(|story| story.operations)),
            ("crashes", self.median(|story| story.crashes)),
            ("acknowledged", self.median(|story| story.acknowledged)),
            ("refused", self.median(|story| story.refused)),
            ("outcome unknown", self.median(|story| story.unknown)),
            ("events", self.median(|story| story.events)),
            ("scavenged", self.median(|story| story.scavenged)),
            ("disk operations", self.median(|story| story.disk_operations)),
        ] {
            writeln!(f, "{name:<24}{median:>12}")?;
        }
        write!(f, "{} seeds a minute", self.seeds_per_minute())
    }
}
