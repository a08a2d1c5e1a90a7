//! The engine: recovery, the commit loop and the compactor of one store, put together.
//!
//! A store on real files runs them on threads ([`threads`](super::threads)); a simulation polls
//! them itself through [`Engine`].

use std::sync::{Arc, PoisonError};

use tracing::{error, info, warn};

use crate::{
    clock::{Clock, Rng},
    commit::{CommitLoop, Completions, EnginePoll, SubmitQueue},
    disk::{Cache, Disk},
    index::{BlockCache, CoveredSegment},
    maintenance::compaction::{Compactor, CompactorConfig, SharedCompactor},
    options::{OpenError, OpenReport, Options, RecordedTime},
    published::Published,
    read::Reader,
    recovery::{self, LogEnd, Recovered, RecoveryOptions},
    segment::is_unfinished_preallocation,
    sync::Mutex,
};

/// The writing side of a store without threads, for simulations: nothing happens unless it is
/// polled.
#[derive(Debug)]
pub struct Engine {
    pub(crate) commit_loop: CommitLoop,
    pub(super) compactor: SharedCompactor,
}

impl Engine {
    /// Recovers the contents of the disk; returns the engine and the parts of its store.
    pub(super) fn assemble(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        mut rng: Box<dyn Rng>,
        options: Options,
    ) -> Result<(Self, StoreParts), OpenError> {
        let compactor_rng = rng.fork();
        let RecoveredStore { reader, mut end, unflushed, cache, report } =
            recover(disk, clock, &mut *rng, &options)?;
        if options.recorded_time == RecordedTime::Restarts {
            end.last_recorded_at = None;
        }
        // A damaged store is read-only: do not schedule index flushes.
        let unflushed = if report.damage.is_empty() { unflushed } else { Vec::new() };
        let unfinished = unfinished_segments(&*reader.disk)?;
        let config =
            CompactorConfig { store: end.store, rng: compactor_rng, cache, unflushed, unfinished };
        let compactor =
            Compactor::new(Arc::clone(&reader.disk), Arc::clone(&reader.published), config);
        let sealed = Arc::clone(compactor.sealed());
        let compactor = Arc::new(Mutex::new(compactor));
        let commit_loop = CommitLoop::new(reader.clone(), end, rng, options.clone(), sealed);
        let parts = StoreParts {
            reader,
            options,
            report,
            queue: Arc::clone(commit_loop.queue()),
            completions: Arc::clone(commit_loop.completions()),
            compactor: Some(Arc::clone(&compactor)),
        };
        Ok((Self { commit_loop, compactor }, parts))
    }

    /// Processes all queued appends and completions as far as possible without waiting.
    pub fn poll(&mut self) -> EnginePoll {
        self.commit_loop.poll()
    }

    /// Runs one step of index maintenance: flushes a segment or merges runs. Returns whether there
    /// was something to do.
    pub fn compact_some(&mut self) -> bool {
        let mut compactor = self.compactor.lock().unwrap_or_else(PoisonError::into_inner);
        compactor.flush_segment() || compactor.compact_runs()
    }
}

/// The parts of a store's handle. A read-only store has nothing behind its queue.
pub(super) struct StoreParts {
    pub(super) reader: Reader,
    pub(super) options: Options,
    pub(super) report: OpenReport,
    pub(super) queue: Arc<SubmitQueue>,
    pub(super) completions: Arc<Completions>,
    /// `None` for a read-only store.
    pub(super) compactor: Option<SharedCompactor>,
}

/// State produced by recovery, shared by the reader and the commit loop.
pub(super) struct RecoveredStore {
    pub(super) reader: Reader,
    pub(super) end: LogEnd,
    unflushed: Vec<CoveredSegment>,
    cache: Arc<BlockCache>,
    pub(super) report: OpenReport,
}

/// Recovers the contents of a disk.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    rng: &mut dyn Rng,
    options: &Options,
) -> Result<RecoveredStore, OpenError> {
    let cache = Arc::new(BlockCache::new(options.index_cache_bytes_max));
    let recovery = RecoveryOptions {
        access: options.access,
        older_segments: Cache::Use,
        index_cache: Some(Arc::clone(&cache)),
        ids: options.index,
        checked_bytes_max: options.checked_bytes_max,
    };
    let Recovered { index, end, incarnations, unflushed, report } =
        recovery::recover(&disk, rng, &recovery, &mut |_| {})?;
    log_report(&report);
    let damage = report.damage.clone();
    let published = Published::new(index, damage, incarnations, options.tail_bytes_max);
    let (published, io_threads) = (Arc::new(published), Arc::default());
    let reader = Reader { disk, clock, published, io_threads, follower: None };
    Ok(RecoveredStore { reader, end, unflushed, cache, report })
}

/// Lists segments that earlier processes had not finished preallocating when they ended.
fn unfinished_segments(disk: &dyn Disk) -> Result<Vec<String>, OpenError> {
    let failed = |source| OpenError::Io { doing: "list the directory".to_owned(), source };
    let mut files = disk.list().map_err(failed)?;
    files.retain(|file| is_unfinished_preallocation(file));
    Ok(files)
}

fn log_report(report: &OpenReport) {
    for damage in &report.damage {
        error!(%damage, "the store is damaged; writes are refused");
    }
    if let Some(torn) = &report.torn {
        warn!(%torn, "a write was cut short; it was never acknowledged and is not adopted");
    }
    if let Some(unmarked) = &report.unmarked {
        info!(%unmarked, "recovered the last events before a crash");
    }
}
