//! Flush and compaction: from memtables to sorted runs, and from runs to larger runs.
//!
//! Owns the manifest, the choice of the next run, and the replacement of rewritten segments.
//!
//! Invariants:
//! - A run is live once the manifest lists it; its file and name are durable before that.
//! - The inputs of a merge are removed only after the manifest lists its output.
//! - Readers keep the files they have, or retry ([`Published::replaced`]).
//! - A failure loses nothing: the index of the segment stays in memory until a later attempt
//!   succeeds.
//!
//! Elsewhere: bytes of runs ([`index`](crate::index)), the choice of events to scavenge
//! ([`scavenge`](super::scavenge)), the thread ([`store`](crate::store)).

use std::{io, ops::ControlFlow, sync::Arc};

use tracing::warn;

use crate::{
    clock::Rng,
    disk::{Cache, Disk, Operation},
    format::{HEADER_BYTES, SegmentHeader},
    index::{
        BlockCache, CoveredSegment, IndexManifest, MergeInput, OffsetOverrides, Run, RunContext,
        RunError, RunIdentity, RunName, merge_runs, plan_merge, rewrite_run, write_run,
    },
    mutations::mutated,
    published::{Published, SealedQueue},
    segment::{is_unfinished_rewrite, segment_file},
    sync::Mutex,
};

/// Maximum total size of runs that are still merged on shutdown, in bytes.
const CLOSING_BYTES_MAX: u64 = 2 << 20;

/// Shared by the compaction thread and scavenging, which take turns step by step.
pub(crate) type SharedCompactor = Arc<Mutex<Compactor>>;

/// Runs flushes and compactions, one step at a time.
#[derive(Debug)]
pub(crate) struct Compactor {
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    store: [u8; 16],
    rng: Box<dyn Rng>,
    context: Arc<RunContext>,
    cache: Arc<BlockCache>,
    sealed: Arc<SealedQueue>,
    /// Files of segments that earlier processes did not finish.
    unfinished: Vec<String>,
    /// True if orphaned files of earlier attempts were removed.
    orphans_removed: bool,
    /// True if syncing the directory has failed since the store was opened.
    in_doubt: bool,
}

/// The inputs of a compactor, produced by recovery.
pub(crate) struct CompactorConfig {
    pub(crate) store: [u8; 16],
    pub(crate) rng: Box<dyn Rng>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) unflushed: Vec<CoveredSegment>,
    /// Files of segments that earlier processes did not finish.
    pub(crate) unfinished: Vec<String>,
}

impl Compactor {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        published: Arc<Published>,
        config: CompactorConfig,
    ) -> Self {
        let CompactorConfig { store, rng, cache, unflushed, unfinished } = config;
        let context = Arc::new(RunContext::new(Arc::clone(&disk), store));
        let sealed = Arc::new(SealedQueue::default());
        unflushed.into_iter().for_each(|segment| sealed.push(segment));
        let (orphans_removed, in_doubt) = (false, false);
        Self {
            disk,
            published,
            store,
            rng,
            context,
            cache,
            sealed,
            unfinished,
            orphans_removed,
            in_doubt,
        }
    }

    pub(crate) fn sealed(&self) -> &Arc<SealedQueue> {
        &self.sealed
    }

    /// Startup cleanup: removes orphaned files and rewrites runs whose segments were scavenged.
    /// Does nothing in a damaged store.
    pub(crate) fn clean_up(&mut self) {
        if self.published.damage.is_empty() {
            let orphans_removed = self.remove_orphans();
            self.log_result(orphans_removed, "remove orphaned files");
            while self.rewrite_stale_run() {}
        }
    }

    /// Flushes the oldest sealed segment to a run. Returns whether there was one and it succeeded.
    pub(crate) fn flush_segment(&mut self) -> bool {
        let Some(covered) = self.sealed.front() else { return false };
        let flushed = self.remove_orphans().and_then(|()| self.flush(covered));
        self.log_result(flushed, "flush a segment's index")
    }

    /// Merges neighbouring runs if a merge is due, or rewrites a stale run. Returns whether there
    /// was something to do and it succeeded.
    pub(crate) fn compact_runs(&mut self) -> bool {
        if self.rewrite_stale_run() {
            return true;
        }
        let inputs = self.next_merge();
        !inputs.is_empty() && self.merge_logged(&inputs, Self::keep_up)
    }

    /// On shutdown, merges neighbouring small runs. Returns whether there were some and it
    /// succeeded. Short-lived processes would leave a run each otherwise.
    pub(crate) fn compact_small_runs(&mut self) -> bool {
        let inputs = self.next_merge();
        let bytes: u64 = inputs.iter().map(|run| run.bytes()).sum();
        !inputs.is_empty()
            && bytes <= CLOSING_BYTES_MAX
            && self.merge_logged(&inputs, |_| ControlFlow::Continue(()))
    }

    /// Inputs of the next merge; empty while there are few enough runs.
    fn next_merge(&self) -> Vec<Arc<Run>> {
        let mut runs = self.published.index().runs();
        let bytes: Vec<_> = runs.iter().map(|run| run.bytes()).collect();
        plan_merge(&bytes).map(|range| runs.drain(range).collect()).unwrap_or_default()
    }

    fn merge_logged(
        &mut self,
        inputs: &[Arc<Run>],
        keep_up: impl Fn(&mut Self) -> ControlFlow<()>,
    ) -> bool {
        let merged = self.remove_orphans().and_then(|()| self.merge(inputs, keep_up));
        self.log_result(merged, "merge files of the index")
    }

    /// Rewrites a run whose segments were scavenged. Returns whether there was one and it
    /// succeeded.
    pub(crate) fn rewrite_stale_run(&mut self) -> bool {
        let stale = self.published.index().runs().into_iter().find(|run| self.is_stale(run));
        let Some(run) = stale else { return false };
        let rewritten = self.remove_orphans().and_then(|()| self.rewrite_run(&run));
        self.log_result(rewritten, "rewrite a file of the index")
    }

    fn log_result(&self, result: Result<(), RunError>, what: &str) -> bool {
        if let Err(error) = &result
            && !matches!(error, RunError::Stopped)
        {
            warn!(%error, "cannot {what}; trying again later");
        }
        result.is_ok()
    }

    fn flush(&mut self, covered: CoveredSegment) -> Result<(), RunError> {
        let contents = self.published.index().contents(covered, &self.context);
        let origin = self.origin();
        let name = write_run(&*self.disk, &origin, contents)?;
        self.install(name, &[])?;
        // Queued until readers have the run, so that a failed flush is tried again.
        self.sealed.pop();
        Ok(())
    }

    fn merge(
        &mut self,
        inputs: &[Arc<Run>],
        keep_up: impl Fn(&mut Self) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        let origin = self.origin();
        let names: Vec<_> = inputs.iter().map(|run| run.name()).collect();
        if mutated!(RunUnlinkedEarly) {
            self.remove(&names);
        }
        let index = self.published.index();
        // A merge applies the offset overrides of rewritten segments, so its output is never stale.
        let overrides: Vec<_> = names.iter().map(|name| index.offset_overrides(*name)).collect();
        let inputs: Vec<_> = inputs
            .iter()
            .zip(&overrides)
            .map(|(run, overrides)| MergeInput { run, overrides })
            .collect();
        let disk = Arc::clone(&self.disk);
        let name = merge_runs(&*disk, &origin, &inputs, &mut |_| keep_up(self))?;
        self.install(name, &names)
    }

    /// Rewrites a run with its patches applied. The run keeps its name, so the rename replaces the
    /// old one atomically. A manifest that still describes the old one is equally valid: both
    /// agree about the log, and recovery compares them with it.
    fn rewrite_run(&mut self, stale: &Arc<Run>) -> Result<(), RunError> {
        let origin = self.origin();
        let overrides = self.published.index().offset_overrides(stale.name());
        let input = MergeInput { run: stale, overrides: &overrides };
        let disk = Arc::clone(&self.disk);
        let name = rewrite_run(&*disk, &origin, &input, &mut |_| self.keep_up())?;
        // Opened first, so that readers wait for no more than a rename.
        let run = Run::open_unfinished(&*self.disk, name, Arc::clone(&self.cache))?;
        let (from, to) = (name.new_file(), name.file());
        let failed = |source| RunError::Io { file: name.file(), source };
        let swap = || self.disk.run(Operation::Rename { from, to });
        if let Err(source) = self.published.swap_run(&self.context, run, swap) {
            // The rename may have succeeded despite the error; if so, switch readers to the new
            // run.
            let there = Run::open(&*self.disk, name, Arc::clone(&self.cache))?;
            if there.manifest_entry() != stale.manifest_entry() {
                self.published.put_run(&self.context, Arc::new(there));
            }
            return Err(failed(source));
        }
        self.disk.run(Operation::SyncDirectory).map_err(failed)?;
        self.manifest().write(&*self.disk)
    }

    /// Called during a long merge: flushes segments that were sealed in the meantime, which bounds
    /// the memtables and the work of the next recovery. Breaks if the store is being closed.
    fn keep_up(&mut self) -> ControlFlow<()> {
        if self.sealed.is_closing() {
            return ControlFlow::Break(());
        }
        while self.flush_segment() {}
        ControlFlow::Continue(())
    }

    fn is_stale(&self, run: &Run) -> bool {
        !self.published.index().offset_overrides(run.name()).is_empty()
    }

    /// Flushes all sealed segments, so that they can be scavenged.
    pub(crate) fn flush_all(&mut self) -> Result<(), RunError> {
        self.remove_orphans()?;
        while self.flush_segment() {}
        Ok(())
    }

    /// Replaces a segment durably with its rewritten form, which is durable under the name
    /// `unfinished`. Its run is rewritten later by
    /// [`rewrite_stale_runs`](Self::rewrite_stale_runs).
    pub(crate) fn swap_segment(
        &mut self,
        unfinished: &str,
        overrides: OffsetOverrides,
    ) -> io::Result<()> {
        let (from, to) = (unfinished.to_owned(), segment_file(overrides.covered.number));
        let overrides = Arc::new(overrides);
        let rename = || self.disk.run(Operation::Rename { from, to });
        let swapped = self.published.swap_segment(&overrides, rename);
        let durable = swapped.and_then(|()| self.disk.run(Operation::SyncDirectory));
        if durable.is_err() {
            self.in_doubt = true;
            // The old and the new segment may each survive a crash, so the run must stay valid for
            // both.
            let cautious = Arc::new(overrides.without_drops());
            if is_there(&*self.disk, &overrides.covered) {
                self.published.swap_segment(&cautious, || Ok::<_, io::Error>(()))?;
            }
        }
        durable
    }

    /// Rewrites all runs whose segments were scavenged.
    pub(crate) fn rewrite_stale_runs(&mut self) -> Result<(), RunError> {
        self.remove_orphans()?;
        for run in self.published.index().runs() {
            if self.is_stale(&run) {
                self.rewrite_run(&run)?;
            }
        }
        Ok(())
    }

    /// Returns whether syncing the directory has failed: then nothing may depend on a rename.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The store's id.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.store
    }

    /// Random bytes for the salt of a rewritten segment.
    pub(crate) fn random(&mut self) -> [u8; 16] {
        self.rng.bytes()
    }

    /// The store's key for hashing terms.
    pub(crate) fn context(&self) -> &Arc<RunContext> {
        &self.context
    }

    /// Adds a run to the manifest in place of others, switches readers to it, and removes the
    /// others.
    fn install(&mut self, name: RunName, replaced: &[RunName]) -> Result<(), RunError> {
        let run = Run::open(&*self.disk, name, Arc::clone(&self.cache))?;
        let runs = self.published.index().runs();
        let kept =
            runs.iter().map(|run| run.manifest_entry()).filter(|run| !replaced.contains(&run.name));
        let mut runs: Vec<_> = kept.chain([run.manifest_entry()]).collect();
        // Names are numbers of segments, so their order is that of positions.
        runs.sort_unstable_by_key(|run| run.name);
        // Manifest, then readers, then removal: a crash in between leaves only orphans.
        let ids = self.published.index().ids();
        IndexManifest { store: self.store, ids, runs }.write(&*self.disk)?;
        self.published.put_run(&self.context, Arc::new(run));
        self.remove(replaced);
        Ok(())
    }

    /// The manifest of the runs that readers have.
    fn manifest(&self) -> IndexManifest {
        let index = self.published.index();
        let runs = index.runs().iter().map(|run| run.manifest_entry()).collect();
        IndexManifest { store: self.store, ids: index.ids(), runs }
    }

    fn remove(&self, names: &[RunName]) {
        for name in names {
            // A file that stays is removed by the next startup cleanup.
            drop(self.disk.run(Operation::Remove { file: name.file() }));
        }
    }

    /// Removes files of earlier attempts that the manifest does not name.
    fn remove_orphans(&mut self) -> Result<(), RunError> {
        if self.orphans_removed {
            return Ok(());
        }
        let named = self.manifest();
        let failed = |source: io::Error| RunError::Io { file: "the directory".to_owned(), source };
        let files = self.disk.list().map_err(failed)?;
        // Rewritten segments of a killed scavenge, and segments whose preallocation was
        // interrupted.
        let unfinished = files.iter().filter(|file| is_unfinished_rewrite(file));
        for file in named.orphans(&files).chain(unfinished).chain(&self.unfinished) {
            drop(self.disk.run(Operation::Remove { file: file.clone() }));
        }
        // Earlier processes left these files, so once is enough.
        self.orphans_removed = true;
        Ok(())
    }

    fn origin(&mut self) -> RunIdentity {
        RunIdentity { store: self.store, random: self.rng.bytes() }
    }
}

/// Returns whether a segment's file on disk is this one, by its salt.
fn is_there(disk: &dyn Disk, covered: &CoveredSegment) -> bool {
    let start = disk.read(&segment_file(covered.number), 0, HEADER_BYTES as usize, Cache::Use);
    let header = start.ok().and_then(|start| SegmentHeader::decode(&start).ok());
    header.is_some_and(|header| header.salt == covered.salt)
}
