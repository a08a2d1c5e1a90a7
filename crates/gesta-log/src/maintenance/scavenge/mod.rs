//! Scavenging: reclaims the space of hidden events, and the unused space at the end of segments.
//!
//! Owns the choice of events ([`hidden`]), the rewrite of a segment ([`rewrite`]) and the order in
//! which segments are replaced. Removes the events that are hidden when their segment is read:
//! before a stream's `truncate_before`, beyond its max count, older than its max age, and all
//! events of deleted or tombstoned streams.
//!
//! Invariants:
//! - Positions and the next revision of each stream stay. A gap frame records the stream and
//!   revision of each removed event, and its append, so that repeats are still recognized.
//! - Metadata in force and tombstones stay.
//! - Only sealed segments are rewritten, one at a time. The new file is written, synced and read
//!   back before it replaces the old one, so a crash leaves either of them, complete.
//! - The successor's opening frame stays valid: the header of a rewritten segment records the salt
//!   and length by which it is named.
//! - The chain before and after a gap stays the same.
//! - A run is trusted only if it matches the segments, and is rewritten after them.
//! - A call that ends early is continued by the next one; leftovers of a kill are removed.
//!
//! Elsewhere: the bytes of gap frames ([`format`](crate::format)), reads across gaps
//! ([`index`](crate::index)), the notification of readers ([`published`](crate::published)). Small
//! segments are not joined (`docs/decisions/0014`).

mod error;
mod hidden;
mod rewrite;

use std::sync::PoisonError;

use self::{error::failed, hidden::HiddenEvents, rewrite::RewrittenSegment};
use crate::{
    disk::{Disk, Operation},
    format::Chain,
    index::CoveredSegment,
    maintenance::compaction::{Compactor, SharedCompactor},
    read::Reader,
    recovery::{Progress, WhileProgress},
    segment::{segment_file, unfinished_rewrite},
    sync::{Mutex, MutexGuard, TryLockError},
};

pub use error::ScavengeError;

/// Maximum number of segments that are rewritten before their runs are. Recovery after a crash must
/// read all of these segments.
const SWAPPED_MAX: usize = 32;

/// Options of a scavenge.
///
/// ```
/// use gesta_log::ScavengeOptions;
///
/// let everything = ScavengeOptions::default().threshold_percent(0);
/// assert_eq!(everything.threshold_percent, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScavengeOptions {
    /// Minimum share of a segment that must be reclaimable, in percent. Others are left unchanged.
    pub threshold_percent: u8,
}

impl Default for ScavengeOptions {
    fn default() -> Self {
        Self { threshold_percent: 10 }
    }
}

impl ScavengeOptions {
    /// Sets the minimum share of a segment that must be reclaimable, in percent.
    #[must_use]
    pub const fn threshold_percent(self, percent: u8) -> Self {
        Self { threshold_percent: percent }
    }
}

/// The result of a scavenge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScavengeReport {
    /// Number of sealed segments that were examined.
    pub segments: usize,
    /// Number of them that were rewritten.
    pub rewritten_segments: usize,
    /// Number of removed events.
    pub events: u64,
    /// Total size of the segments before, in bytes.
    pub bytes_before: u64,
    /// Total size of the segments afterwards, in bytes.
    pub bytes_after: u64,
    /// `true` if the caller ended the scavenge before all segments were examined.
    pub ended_early: bool,
}

/// Runs scavenges, one at a time.
#[derive(Debug)]
pub(crate) struct Scavenger {
    compactor: SharedCompactor,
    /// Locked while a scavenge runs.
    under_way: Mutex<()>,
}

impl Scavenger {
    pub(crate) fn new(compactor: SharedCompactor) -> Self {
        Self { compactor, under_way: Mutex::new(()) }
    }

    fn compactor(&self) -> MutexGuard<'_, Compactor> {
        self.compactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scavenges sealed segments until `progress` breaks, which is called before each and at the
    /// end.
    pub(crate) fn run(
        &self,
        reader: &Reader,
        options: ScavengeOptions,
        progress: WhileProgress<'_>,
    ) -> Result<ScavengeReport, ScavengeError> {
        let _held = match self.under_way.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(ScavengeError::UnderWay),
        };
        if let Some(damage) = reader.published.damage.first() {
            return Err(ScavengeError::Damaged(damage.clone()));
        }
        // Each segment is verified from the chain before it; that before the first follows from the
        // store's id.
        let before = Chain::genesis(self.begin()?);
        let mut pass = ScavengePass {
            scavenger: self,
            reader,
            options,
            hidden: HiddenEvents::new(reader),
            before,
            swapped: 0,
            report: ScavengeReport::default(),
        };
        let segments = reader.published.index().segments_in_runs();
        let bytes_total = bytes_of(&*reader.disk, &segments)?;
        for covered in segments {
            let before = Progress { bytes_done: pass.report.bytes_before, bytes_total };
            if progress(before).is_break() {
                pass.report.ended_early = true;
                break;
            }
            pass.segment(&covered)?;
        }
        // The remaining runs, so that the next start need not read the rewritten segments.
        pass.rewrite_runs()?;
        if !pass.report.ended_early {
            // All is done: there is nothing left to break.
            let _ = progress(Progress { bytes_done: pass.report.bytes_before, bytes_total });
        }
        Ok(pass.report)
    }

    /// Flushes all sealed segments, so that runs cover them. Returns the store's id.
    fn begin(&self) -> Result<[u8; 16], ScavengeError> {
        let mut compactor = self.compactor();
        compactor.flush_all()?;
        // After a failed sync, the order of later renames on disk is not guaranteed.
        if compactor.is_in_doubt() {
            return Err(ScavengeError::InDoubt);
        }
        Ok(compactor.store())
    }
}

/// The state of one scavenge.
struct ScavengePass<'a> {
    scavenger: &'a Scavenger,
    reader: &'a Reader,
    options: ScavengeOptions,
    hidden: HiddenEvents<'a>,
    /// The chain before the next segment.
    before: Chain,
    /// Number of replaced segments whose runs are stale.
    swapped: usize,
    report: ScavengeReport,
}

impl ScavengePass<'_> {
    fn segment(&mut self, covered: &CoveredSegment) -> Result<(), ScavengeError> {
        let bytes = length(&*self.reader.disk, covered)?;
        let reclaimed = self.rewrite(covered, bytes)?;
        // A gap leaves the chain after it as it was, so the value of the run holds in either case.
        self.before = Chain(covered.chain);
        self.report.segments += 1;
        self.report.bytes_before += bytes;
        self.report.bytes_after += bytes;
        if let Some(Reclaimed { events, bytes }) = reclaimed {
            self.report.rewritten_segments += 1;
            self.report.events += events;
            self.report.bytes_after -= bytes;
            self.swapped += 1;
        }
        // Bound the work of a recovery after a crash.
        if self.swapped >= SWAPPED_MAX { self.rewrite_runs() } else { Ok(()) }
    }

    fn rewrite_runs(&mut self) -> Result<(), ScavengeError> {
        if std::mem::take(&mut self.swapped) > 0 {
            self.scavenger.compactor().rewrite_stale_runs()?;
        }
        Ok(())
    }

    /// Rewrites a segment of size `old`, if that reclaims enough.
    fn rewrite(
        &mut self,
        covered: &CoveredSegment,
        old: u64,
    ) -> Result<Option<Reclaimed>, ScavengeError> {
        let disk = &*self.reader.disk;
        // A new salt, so that no record of the old file can pass for one of the new file.
        let salt = self.scavenger.compactor().random();
        let percent = u64::from(self.options.threshold_percent);
        let is_worthwhile = |bytes: u64| bytes.saturating_mul(100) >= old.saturating_mul(percent);
        let unused = old.saturating_sub(covered.adopted_length);
        // Unused preallocated space alone may justify a rewrite.
        let selection = (&mut self.hidden, unused > 0 && is_worthwhile(unused));
        let rewriting = RewrittenSegment::of(disk, covered, self.before, salt, selection)?;
        let Some(rewriting) = rewriting else { return Ok(None) };
        let events = rewriting.newly_scavenged();
        let Some(bytes) = old.checked_sub(rewriting.bytes()).filter(|bytes| is_worthwhile(*bytes))
        else {
            return Ok(None);
        };
        let unfinished = unfinished_rewrite(covered.number);
        // The new file is written without the compactor's lock: flushes continue. Only the swap
        // holds it.
        let swapped = rewriting.write(disk, &unfinished).and_then(|written| {
            let mut compactor = self.scavenger.compactor();
            let overrides = written.overrides(compactor.context().key());
            let swapped = compactor.swap_segment(&unfinished, overrides);
            swapped.map_err(|source| failed("replace", covered, source))
        });
        if swapped.is_err() {
            // If this fails, the file is removed when the store is next opened.
            drop(disk.run(Operation::Remove { file: unfinished }));
        }
        swapped.map(|()| Some(Reclaimed { events, bytes }))
    }
}

/// The gain of rewriting a segment.
struct Reclaimed {
    events: u64,
    bytes: u64,
}

fn length(disk: &dyn Disk, covered: &CoveredSegment) -> Result<u64, ScavengeError> {
    let length = disk.length(&segment_file(covered.number));
    length.map_err(|source| failed("read", covered, source))
}

fn bytes_of(disk: &dyn Disk, segments: &[CoveredSegment]) -> Result<u64, ScavengeError> {
    segments.iter().map(|covered| length(disk, covered)).sum()
}
