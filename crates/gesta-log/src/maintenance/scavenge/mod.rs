//! Winning back the space of events that no stream read shows any more, and the space that segments
//! were given and do not use.
//!
//! Owns: which events go ([`hidden`]), and the order in which a segment is rewritten ([`rewrite`])
//! and takes the place of the one before. What goes is what was hidden when it was looked at: events
//! before a stream's `truncate_before`, beyond its max count, older than its max age, and all of
//! streams that are deleted or tombstoned. Always holds:
//! - positions stay, and a stream's next revision does: a gap frame says of which stream and revision
//!   each event was, and which appends they came in, so that these are recognized for ever;
//! - metadata that are in force and tombstones stay;
//! - only segments that have ended are rewritten, each for itself: a new file is written, synced and
//!   read back before it takes the old one's name, so a crash leaves the one or the other, whole;
//! - the successor's opening frame goes on naming the segment, whose header says how it was called;
//! - the chain before and after a gap are those that were there;
//! - a run of the index is believed only where it fits the segments, and is made anew after them;
//! - what one call has not reached the next one does; what a kill leaves behind is removed.
//!
//! Not here: gap frames' bytes ([`format`](crate::format)), how readers pass over gaps
//! ([`index`](crate::index)) and are told of replaced files ([`published`](crate::published)).
//! Small segments are not joined (`docs/decisions/0014`).

mod hidden;
mod rewrite;

use std::{io, sync::PoisonError};

use gesta_store::{Damage, StoreError};

use self::{hidden::Hidden, rewrite::Rewriting};
use crate::{
    disk::{Disk, Operation},
    format::Chain,
    index::{Covered, RunError, store_error},
    maintenance::compaction::{Compactor, SharedCompactor},
    read::Reader,
    recovery::{OnProgress, Progress},
    segment::{segment_file, unfinished_rewrite},
    sync::{Mutex, MutexGuard, TryLockError},
};

/// Segments that are rewritten before their runs are made anew. An opening after a crash reads so
/// many anew.
const SWAPPED_MAX: usize = 32;

/// How a store is scavenged.
///
/// ```
/// use gesta_log::ScavengeOptions;
///
/// assert_eq!(ScavengeOptions::default().threshold_percent, 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScavengeOptions {
    /// A segment of which less would be won stays as it is.
    pub threshold_percent: u8,
}

impl Default for ScavengeOptions {
    fn default() -> Self {
        Self { threshold_percent: 10 }
    }
}

/// What scavenging came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScavengeReport {
    /// Segments that were looked at.
    pub segments: usize,
    /// How many of them were rewritten.
    pub rewritten_segments: usize,
    /// Events that were there and are not any more.
    pub events: u64,
    /// Bytes of the segments before.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// Why a store was not scavenged to the end. What was won until then stays won, and no event was
/// lost that a stream read shows.
#[derive(Debug, thiserror::Error)]
pub enum ScavengeError {
    /// The store was opened read-only. Open it to write.
    #[error("the store was opened read-only")]
    ReadOnly,
    /// Another scavenge of this store is under way. Let it end.
    #[error("another scavenge of the store is under way")]
    UnderWay,
    /// The store is damaged. Restore a backup first.
    #[error("the store is damaged: {0}")]
    Damaged(Damage),
    /// The system did not confirm that something is durable since the store was opened. RecoveryOptions at the
    /// disk, and open the store anew.
    #[error(
        "a file could not be made durable since the store was opened; look at the disk, then open the store anew"
    )]
    InDoubt,
    /// The system said no. Try again when there is reason to believe that it will say yes.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something could not be read.
    #[error(transparent)]
    Read(#[from] StoreError),
}

impl From<RunError> for ScavengeError {
    fn from(error: RunError) -> Self {
        Self::Read(store_error(error))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scavenger {
    compactor: SharedCompactor,
    /// Held by whoever scavenges.
    under_way: Mutex<()>,
}

impl Scavenger {
    pub(crate) fn new(compactor: SharedCompactor) -> Self {
        Self { compactor, under_way: Mutex::new(()) }
    }

    fn compactor(&self) -> MutexGuard<'_, Compactor> {
        self.compactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scavenges all segments that have ended; tells of progress after each.
    pub(crate) fn run(
        &self,
        reader: &Reader,
        options: ScavengeOptions,
        progress: OnProgress<'_>,
    ) -> Result<ScavengeReport, ScavengeError> {
        let _held = match self.under_way.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(ScavengeError::UnderWay),
        };
        if let Some(damage) = reader.published.damage.first() {
            return Err(ScavengeError::Damaged(damage.clone()));
        }
        let before = Chain::genesis(self.begin()?);
        let mut pass = Pass {
            scavenger: self,
            reader,
            options,
            hidden: Hidden::new(reader),
            before,
            swapped: 0,
            report: ScavengeReport::default(),
        };
        let segments = reader.published.index().segments_in_runs();
        let bytes_total = bytes_of(&*reader.disk, &segments)?;
        for covered in segments {
            progress(Progress { bytes_done: pass.report.bytes_before, bytes_total });
            pass.segment(&covered)?;
        }
        pass.renew_runs()?;
        progress(Progress { bytes_done: pass.report.bytes_before, bytes_total });
        Ok(pass.report)
    }

    /// Gets everything into files that has ended. Returns the store's id.
    fn begin(&self) -> Result<[u8; 16], ScavengeError> {
        let mut compactor = self.compactor();
        compactor.flush_all()?;
        if compactor.is_in_doubt() {
            return Err(ScavengeError::InDoubt);
        }
        Ok(compactor.store())
    }
}

/// One call's way through the segments.
struct Pass<'a> {
    scavenger: &'a Scavenger,
    reader: &'a Reader,
    options: ScavengeOptions,
    hidden: Hidden<'a>,
    /// The chain before the next segment.
    before: Chain,
    /// Segments whose runs are not made anew yet.
    swapped: usize,
    report: ScavengeReport,
}

impl Pass<'_> {
    fn segment(&mut self, covered: &Covered) -> Result<(), ScavengeError> {
        let bytes = length(&*self.reader.disk, covered)?;
        let won = self.rewrite(covered, bytes)?;
        self.before = Chain(covered.chain);
        self.report.segments += 1;
        self.report.bytes_before += bytes;
        self.report.bytes_after += bytes;
        if let Some(Won { events, bytes }) = won {
            self.report.rewritten_segments += 1;
            self.report.events += events;
            self.report.bytes_after -= bytes;
            self.swapped += 1;
        }
        if self.swapped >= SWAPPED_MAX { self.renew_runs() } else { Ok(()) }
    }

    fn renew_runs(&mut self) -> Result<(), ScavengeError> {
        if std::mem::take(&mut self.swapped) > 0 {
            self.scavenger.compactor().rewrite_stale_runs()?;
        }
        Ok(())
    }

    /// Rewrites one segment of so many bytes, if that is worth it.
    fn rewrite(&mut self, covered: &Covered, old: u64) -> Result<Option<Won>, ScavengeError> {
        let disk = &*self.reader.disk;
        let salt = self.scavenger.compactor().random();
        let percent = u64::from(self.options.threshold_percent);
        let is_much = |bytes: u64| bytes.saturating_mul(100) >= old.saturating_mul(percent);
        let unused = old.saturating_sub(covered.adopted_length);
        let looked = (&mut self.hidden, unused > 0 && is_much(unused));
        let rewriting = Rewriting::of(disk, covered, self.before, salt, looked)?;
        let Some(rewriting) = rewriting else { return Ok(None) };
        let events = rewriting.newly_gone();
        let Some(bytes) = old.checked_sub(rewriting.bytes()).filter(|bytes| is_much(*bytes)) else {
            return Ok(None);
        };
        let unfinished = unfinished_rewrite(covered.number);
        let swapped = rewriting.write(disk, &unfinished).and_then(|written| {
            let mut compactor = self.scavenger.compactor();
            let patch = written.patch(compactor.context().key());
            let swapped = compactor.swap_segment(&unfinished, patch);
            swapped.map_err(|source| failed("replace", covered, source))
        });
        if swapped.is_err() {
            // What stays is removed at the next opening.
            drop(disk.run(Operation::Remove { file: unfinished }));
        }
        swapped.map(|()| Some(Won { events, bytes }))
    }
}

/// What rewriting a segment wins.
struct Won {
    events: u64,
    bytes: u64,
}

fn length(disk: &dyn Disk, covered: &Covered) -> Result<u64, ScavengeError> {
    let length = disk.length(&segment_file(covered.number));
    length.map_err(|source| failed("read", covered, source))
}

fn bytes_of(disk: &dyn Disk, segments: &[Covered]) -> Result<u64, ScavengeError> {
    segments.iter().map(|covered| length(disk, covered)).sum()
}

fn failed(doing: &str, covered: &Covered, source: io::Error) -> ScavengeError {
    ScavengeError::Io { doing: format!("{doing} {}", segment_file(covered.number)), source }
}
