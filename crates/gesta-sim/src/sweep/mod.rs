//! A small store, damaged in every way one at a time, and what may come of it.
//!
//! Owns: [`sweep`], which opens the store after each damage. Always holds: the outcome is the same
//! reads, or a refusal that has a type, or damage that is named; never other events, and never fewer
//! of those that some frame vouches for which is still whole. (Damage in one place leaves one that
//! vouches for everything in an ended store; what swaps two places may take both.) Everything is in memory, through the engine's own door.
//!
//! What is complete: every bit flipped (or one of each byte, see [`Extent`]), every sector zeroed,
//! every length (or every eighth), every two frames of a segment exchanged, sectors copied over
//! others; each with a whole opening. All reads are compared wherever the opening says that
//! nothing is damaged. Where it names damage, writes are refused, and all reads are compared after
//! every damage of some kinds and after one of several of the others ([`look_at`]): which bit of a
//! frame it was makes no difference to reads.

mod original;
mod still;
mod wounds;

use std::{
    fmt,
    num::NonZero,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gesta_log::{Clock, SystemClock, planted};

pub use self::original::Ending;
use self::{
    original::{Answered, Look, Original, is_segment},
    wounds::{KINDS, Wound, wounds},
};
use crate::model::{Broken, demand};

/// All reads are compared after one of so many flipped bits that the opening named.
const THOROUGH_EVERY_BITS: usize = 61;
/// The same of cuts and copied sectors.
const THOROUGH_EVERY: usize = 7;

/// What is swept over.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Bytes of the store's segments, at least.
    pub store_bytes: usize,
    /// How it came to rest.
    pub ending: Ending,
    /// How much of it.
    pub extent: Extent,
}

/// How many of the possible damages are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One bit of each byte, and cuts at every eighth length; all else of a small store.
    Every8th,
    /// Every bit and every length.
    Every,
}

impl Extent {
    const fn step(self) -> usize {
        match self {
            Self::Every8th => 8,
            Self::Every => 1,
        }
    }
}

/// How the damaged stores answered.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Of each kind of damage: the same reads, refused, named, fewer after the last mark.
    counts: [[u64; 4]; KINDS.len()],
    took: Duration,
}

/// Damages a store in every way.
///
/// # Errors
/// The first damage that was not answered as it must be, in words.
pub fn sweep(sweep: Sweep) -> Result<Swept, String> {
    let Sweep { store_bytes, ending, extent } = sweep;
    let clock = SystemClock::new();
    let original = Original::written(store_bytes, ending).map_err(|broken| broken.to_string())?;
    let segments: Vec<String> =
        original.files.keys().filter(|file| is_segment(file)).cloned().collect();
    // A killed store differs from an ended one in its last segment.
    let last = &original.last_written;
    let first = match ending {
        Ending::Closed => 0,
        Ending::Killed => segments.partition_point(|file| file < last),
    };
    let segments = segments.get(first..).unwrap_or_default();
    let failed = AtomicBool::new(false);
    let share = |own: usize, of: usize| {
        let mut swept = Swept::default();
        let mine = wounds(&original.files, segments, last, extent.step())
            .enumerate()
            .skip(own)
            .step_by(of);
        for (number, wound) in mine {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let judged = original.judge(wound.inflict(&original.files), look_at(&wound, number));
            let fewer = ending == Ending::Closed && !wound.is_in_two_places();
            let judged = judged.and_then(|answered| {
                let silent = fewer && answered == Answered::FewerAfterMark;
                demand(!silent, || "an ended store lost acknowledged events".to_owned())?;
                Ok(answered)
            });
            let answered = judged.map_err(|Broken(what)| {
                failed.store(true, Ordering::Relaxed);
                format!("{wound:?}, {ending:?}: {what}")
            })?;
            swept.count(&wound, answered);
        }
        Ok(swept)
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let results: Vec<Result<Swept, String>> = thread::scope(|scope| {
        let begin = |own| {
            let plant_there = planted::carry();
            scope.spawn(move || {
                plant_there();
                share(own, cores)
            })
        };
        let threads: Vec<_> = (0..cores).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let mut all = Swept::default();
    for result in results {
        all.add(&result?);
    }
    all.took = clock.elapsed();
    Ok(all)
}

fn look_at(wound: &Wound, number: usize) -> Look {
    let every = match wound {
        Wound::FlippedBit { .. } => THOROUGH_EVERY_BITS,
        Wound::Cut { .. } | Wound::CopiedSector { .. } => THOROUGH_EVERY,
        Wound::ZeroedSector { .. }
        | Wound::SwappedSectors { .. }
        | Wound::SwappedFrames { .. }
        | Wound::LostFile { .. }
        | Wound::SwappedFiles { .. } => 1,
    };
    if number.is_multiple_of(every) { Look::Thorough } else { Look::Quick }
}

impl Swept {
    /// How many damaged stores were opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// How many of them said what is damaged.
    #[must_use]
    pub fn named(&self) -> u64 {
        self.counts.iter().filter_map(|counts| counts.get(Answered::Named as usize)).sum()
    }

    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    fn count(&mut self, wound: &Wound, answered: Answered) {
        let counts = self.counts.get_mut(wound.kind()).expect("there is a row for each kind");
        *counts.get_mut(answered as usize).expect("there is a column for each answer") += 1;
    }

    fn add(&mut self, other: &Self) {
        let sums = self.counts.iter_mut().flatten().zip(other.counts.iter().flatten());
        sums.for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28}{:>10}{:>10}{:>10}{:>22}",
            "", "same", "refused", "named", "fewer past the mark"
        )?;
        for (kind, [same, refused, named, fewer]) in KINDS.iter().zip(self.counts) {
            writeln!(f, "{kind:<28}{same:>10}{refused:>10}{named:>10}{fewer:>22}")?;
        }
        write!(f, "{} openings in {:.1} s", self.openings(), self.took.as_secs_f64())
    }
}
