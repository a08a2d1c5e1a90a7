//! A small store, damaged in every way one at a time, and what may come of it.
//!
//! Owns: [`sweep`], which opens the store after each damage. Always holds: the outcome is the same
//! reads, or a refusal that has a type, or damage that is named, by the opening or by reads of the
//! very records that were damaged; never other events, and never fewer of those that some frame
//! vouches for which is still whole. (Damage in one place leaves one that vouches for everything in
//! an ended store; what swaps two places may take both.) Everything is in memory, through the
//! engine's own door. Not here: damage to the index's files.
//!
//! What is complete: every bit flipped (or one of each byte, see [`Extent`]), every sector zeroed,
//! every length (or every eighth), every two frames of a segment exchanged, sectors copied over
//! others; each with an opening of the store as it lies in the end, its index in files, and nearly
//! each (below) with one of the store as it lay when the damaged segment had just ended and no file
//! of the index had it, so that the opening has to read it. A small store is opened without files
//! of the index instead, so that it is read as a whole each time.
//!
//! What is read: where an opening says that nothing is damaged, all events of the damaged segment and
//! one on either side; a damaged record and its neighbours in every kind of read. No other event can
//! be touched: an opening that believes the index's files reads of other segments but their headers,
//! their lengths and the last one, a read of an event only its record where a file of the index
//! says that it is, and these bytes are as they were. This is not taken for granted: after one
//! damage of several all events are read ([`Look`]), also with all segments checked by the opening,
//! and with no files of the index at all. Where an opening names damage, writes are refused, and
//! events are read after every damage of some kinds and after one of several of the others: which
//! bit of a frame it was makes no difference to reads.
//!
//! What is not complete: bits and cuts in the header or the opening frame of a segment that no file
//! of the index has. They make the opening read the whole log, and are tried at one of eight, unless
//! the store is small.

mod frames;
mod known;
mod original;
mod still;
mod wounds;
mod written;

use std::{
    fmt,
    num::NonZero,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gesta_log::{Clock, SystemClock, planted};

pub use self::written::Ending;
use self::{
    original::{Answered, Look, Original},
    wounds::{KINDS, Wound, wounds},
    written::is_segment,
};
use crate::model::{Broken, Verdict, demand};

/// The events near a damage are read in every way after one of so many flipped bits.
const THOROUGH_EVERY_BITS: usize = 61;
/// The same of cuts and copied sectors.
const THOROUGH_EVERY: usize = 7;
/// All events are read, however the store may lie, after one of so many flipped bits.
const WHOLE_EVERY_BITS: usize = 4_093;
/// The same of cuts and copied sectors.
const WHOLE_EVERY: usize = 509;

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

/// How a store lies, in the order of [`Lying`], so that a table has room.
const LYING: [&str; 4] = ["filed", "fresh", "bare", "checked"];

/// How the damaged stores answered.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Of each kind of damage and each way to lie, how often there was each answer.
    counts: [[[u64; 5]; LYING.len()]; KINDS.len()],
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
            swept.judge(&original, ending, (number, &wound)).map_err(|Broken(what)| {
                failed.store(true, Ordering::Relaxed);
                format!("{wound:?}, {ending:?}, {what}")
            })?;
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
    let (thorough, whole) = match wound {
        Wound::FlippedBit { .. } => (THOROUGH_EVERY_BITS, WHOLE_EVERY_BITS),
        Wound::Cut { .. } | Wound::CopiedSector { .. } => (THOROUGH_EVERY, WHOLE_EVERY),
        Wound::ZeroedSector { .. } | Wound::SwappedSectors { .. } | Wound::SwappedFrames { .. } => {
            (1, THOROUGH_EVERY)
        }
        Wound::LostFile { .. } | Wound::SwappedFiles { .. } => (1, 1),
    };
    match () {
        () if number.is_multiple_of(whole) => Look::Whole,
        () if number.is_multiple_of(thorough) => Look::Thorough,
        () if wound.is_one_of_many_in_a_beginning() => Look::Short,
        () => Look::Quick,
    }
}

impl Swept {
    /// How many damaged stores were opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.counts.iter().flatten().flatten().sum()
    }

    /// How many of them said what is damaged.
    #[must_use]
    pub fn named(&self) -> u64 {
        let named = [Answered::Named as usize, Answered::NamedByReads as usize];
        let of = |counts: &[u64; 5]| named.iter().filter_map(|how| counts.get(*how)).sum::<u64>();
        self.counts.iter().flatten().map(of).sum()
    }

    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    fn judge(
        &mut self,
        original: &Original,
        ending: Ending,
        (number, wound): (usize, &Wound),
    ) -> Verdict {
        let answers = original.judge(&wound.inflict(&original.files), look_at(wound, number))?;
        let may_be_fewer = ending == Ending::Killed || wound.is_in_two_places();
        for (lying, answered) in answers {
            demand(may_be_fewer || answered != Answered::FewerAfterMark, || {
                format!("{lying:?}: an ended store lost acknowledged events")
            })?;
            let counts = self.counts.get_mut(wound.kind()).expect("there is one for each kind");
            let counts = counts.get_mut(lying as usize).expect("there is one for each way to lie");
            *counts.get_mut(answered as usize).expect("there is one for each answer") += 1;
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        let theirs = other.counts.iter().flatten().flatten();
        let sums = self.counts.iter_mut().flatten().flatten().zip(theirs);
        sums.for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["", "", "same", "refused", "named", "by reads", "fewer past the mark"];
        let [kind, lying, columns @ .., last] = columns;
        write!(f, "{kind:<28}{lying:<8}")?;
        columns.iter().try_for_each(|column| write!(f, "{column:>10}"))?;
        writeln!(f, "{last:>22}")?;
        for (kind, counts) in KINDS.iter().zip(self.counts) {
            for (lying, counts) in LYING.iter().zip(counts) {
                if counts.iter().any(|count| *count > 0) {
                    let [counts @ .., last] = counts;
                    write!(f, "{kind:<28}{lying:<8}")?;
                    counts.iter().try_for_each(|count| write!(f, "{count:>10}"))?;
                    writeln!(f, "{last:>22}")?;
                }
            }
        }
        write!(f, "{} openings in {:.1} s", self.openings(), self.took.as_secs_f64())
    }
}
