//! Every possible corruption of a small store, one at a time, and the allowed outcomes.
//!
//! Owns: [`sweep`], which opens the store after each corruption. Invariants: the outcome is
//! unchanged reads, a refusal with a specific error, or damage reported by the opening or by reads
//! of the damaged records; never wrong events, and never fewer than an intact frame proves durable.
//! (Damage in one place of a closed store leaves a frame that proves everything durable; exchanging
//! two places may remove both.) Everything is in memory, through the engine's public API. Not here:
//! damage to files of the index.
//!
//! Complete: every flipped bit (or one per byte, see [`Coverage`]), every zeroed sector, every
//! length (or every eighth), every exchanged pair of frames of a segment, sectors copied over
//! others. Each is opened with the final files and a complete index, and nearly each (see below)
//! with the files as they were when the damaged segment was just sealed and not indexed, so that
//! the opening has to read it. A small store is also opened without an index, so that it is read as
//! a whole each time.
//!
//! Reads: if the opening reports no damage, all events of the damaged segment and one on each side;
//! a damaged record and its neighbors by every kind of read. Other events cannot be affected: an
//! opening with a complete index reads only the headers and lengths of other segments and the last
//! segment; a read of an event reads only its record, at the place given by the index, and these
//! bytes are unchanged. This is verified: after one of several corruptions all events are read
//! ([`Depth`]); the same is done with verification of all segments at opening, and without an
//! index. If the opening reports damage, appends are refused, and events are read after every
//! corruption of some kinds and after one of several of the others: reads do not depend on the bit
//! of a frame that was flipped.
//!
//! Incomplete: bits and cuts in the header or opening frame of a segment without an index. They
//! make the opening read the whole log, so one of eight is tried, unless the store is small.

mod corruption;
mod expected;
mod files;
mod fixture;
mod frames;
mod intact;
mod memory_disk;

use std::{
    fmt,
    num::NonZero,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gesta_log::{Clock, SystemClock, mutations};

pub use self::fixture::Shutdown;
use self::{
    corruption::{Corruption, KINDS, corruptions},
    files::is_segment,
    intact::{Depth, IntactStore, SweepOutcome},
};
use crate::model::{CheckResult, Violation, ensure};

/// Interval of flipped bits after which nearby events are read in every way.
const THOROUGH_EVERY_BITS: usize = 61;
/// The same for cuts and copied sectors.
const THOROUGH_EVERY: usize = 7;
/// Interval of flipped bits after which all events are read, in every state of the index.
const WHOLE_EVERY_BITS: usize = 4_093;
/// The same for cuts and copied sectors.
const WHOLE_EVERY: usize = 509;

/// Parameters of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepOptions {
    /// Minimum total size of the store's segments, in bytes.
    pub store_bytes: usize,
    /// State in which the store was left.
    pub shutdown: Shutdown,
    /// Share of the corruptions to try.
    pub coverage: Coverage,
}

/// Share of the possible corruptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// One bit of each byte and every eighth length; everything else of a small store.
    Every8th,
    /// Every bit and every length.
    Every,
}

impl Coverage {
    const fn step(self) -> usize {
        match self {
            Self::Every8th => 8,
            Self::Every => 1,
        }
    }
}

/// Column labels, in the order of [`intact::IndexState`].
const INDEX_STATES: [&str; 4] = ["complete", "lagging", "missing", "verified"];

/// Outcomes of a sweep.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Number of outcomes by corruption kind, index state and outcome.
    counts: [[[u64; 5]; INDEX_STATES.len()]; KINDS.len()],
    elapsed_time: Duration,
}

/// Opens and reads a store after every corruption, one at a time.
///
/// # Errors
/// A description of the first outcome that is not allowed.
pub fn sweep(options: SweepOptions) -> Result<SweepReport, String> {
    let SweepOptions { store_bytes, shutdown, coverage } = options;
    let clock = SystemClock::new();
    let intact =
        IntactStore::build(store_bytes, shutdown).map_err(|violation| violation.to_string())?;
    let segments: Vec<String> =
        intact.files.keys().filter(|file| is_segment(file)).cloned().collect();
    // A killed store differs from a closed one only in its last segment.
    let last = &intact.last_written;
    let first = match shutdown {
        Shutdown::Closed => 0,
        Shutdown::Killed => segments.partition_point(|file| file < last),
    };
    let segments = segments.get(first..).unwrap_or_default();
    // The first violation stops all threads.
    let failed = AtomicBool::new(false);
    let sweep_part = |index: usize, threads: usize| {
        let mut swept = SweepReport::default();
        // Each thread takes every n-th corruption of the same sequence.
        let mine = corruptions(&intact.files, segments, last, coverage.step())
            .enumerate()
            .skip(index)
            .step_by(threads);
        for (number, corruption) in mine {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            swept.check_case(&intact, shutdown, (number, &corruption)).map_err(
                |Violation(what)| {
                    failed.store(true, Ordering::Relaxed);
                    format!("{corruption:?}, {shutdown:?}, {what}")
                },
            )?;
        }
        Ok(swept)
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let results: Vec<Result<SweepReport, String>> = thread::scope(|scope| {
        let begin = |index| {
            // Mutations are enabled per thread.
            let enable_mutations = mutations::propagate();
            scope.spawn(move || {
                enable_mutations();
                sweep_part(index, cores)
            })
        };
        let threads: Vec<_> = (0..cores).map(begin).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("check_case catches panics"))
            .collect()
    });
    // Counters of the threads are added up.
    let mut all = SweepReport::default();
    for result in results {
        all.add(&result?);
    }
    all.elapsed_time = clock.elapsed();
    Ok(all)
}

fn depth_for(corruption: &Corruption, number: usize) -> Depth {
    let (thorough, whole) = match corruption {
        Corruption::FlippedBit { .. } => (THOROUGH_EVERY_BITS, WHOLE_EVERY_BITS),
        Corruption::Cut { .. } | Corruption::CopiedSector { .. } => (THOROUGH_EVERY, WHOLE_EVERY),
        Corruption::ZeroedSector { .. }
        | Corruption::SwappedSectors { .. }
        | Corruption::SwappedFrames { .. } => (1, THOROUGH_EVERY),
        Corruption::LostFile { .. } | Corruption::SwappedFiles { .. } => (1, 1),
    };
    match () {
        () if number.is_multiple_of(whole) => Depth::Whole,
        () if number.is_multiple_of(thorough) => Depth::Thorough,
        () if corruption.is_redundant_in_header() => Depth::Short,
        () => Depth::Quick,
    }
}

impl SweepReport {
    /// Number of times that a damaged store was opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.counts.iter().flatten().flatten().sum()
    }

    /// Number of times that damage was reported, on opening or by reads.
    #[must_use]
    pub fn reported(&self) -> u64 {
        let reported = [SweepOutcome::Reported as usize, SweepOutcome::ReportedByReads as usize];
        let of =
            |counts: &[u64; 5]| reported.iter().filter_map(|how| counts.get(*how)).sum::<u64>();
        self.counts.iter().flatten().map(of).sum()
    }

    /// Duration of the sweep.
    #[must_use]
    pub fn elapsed_time(&self) -> Duration {
        self.elapsed_time
    }

    fn check_case(
        &mut self,
        intact: &IntactStore,
        shutdown: Shutdown,
        (number, corruption): (usize, &Corruption),
    ) -> CheckResult {
        let answers =
            intact.check(&corruption.apply(&intact.files), depth_for(corruption, number))?;
        // In a closed store, one corruption leaves a frame that proves every event durable.
        let may_be_fewer = shutdown == Shutdown::Killed || corruption.changes_two_places();
        for (index_state, outcome) in answers {
            ensure(may_be_fewer || outcome != SweepOutcome::TruncatedAfterMark, || {
                format!("{index_state:?}: a closed store lost acknowledged events")
            })?;
            let counts = self.counts.get_mut(corruption.kind()).expect("one entry for each kind");
            let counts =
                counts.get_mut(index_state as usize).expect("one entry for each index state");
            *counts.get_mut(outcome as usize).expect("one entry for each outcome") += 1;
        }
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        let theirs = other.counts.iter().flatten().flatten();
        let sums = self.counts.iter_mut().flatten().flatten().zip(theirs);
        sums.for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = ["", "", "same", "refused", "reported", "by reads", "lost past the mark"];
        let [kind, index_state, columns @ .., last] = columns;
        write!(f, "{kind:<28}{index_state:<10}")?;
        columns.iter().try_for_each(|column| write!(f, "{column:>10}"))?;
        writeln!(f, "{last:>22}")?;
        for (kind, counts) in KINDS.iter().zip(self.counts) {
            for (index_state, counts) in INDEX_STATES.iter().zip(counts) {
                if counts.iter().any(|count| *count > 0) {
                    let [counts @ .., last] = counts;
                    write!(f, "{kind:<28}{index_state:<10}")?;
                    counts.iter().try_for_each(|count| write!(f, "{count:>10}"))?;
                    writeln!(f, "{last:>22}")?;
                }
            }
        }
        write!(f, "{} openings in {:.1} s", self.openings(), self.elapsed_time.as_secs_f64())
    }
}
