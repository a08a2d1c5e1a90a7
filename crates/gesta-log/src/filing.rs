//! Putting the index into files: from stretches in memory to runs, from runs to larger runs.
//!
//! Owns: the manifest, which run is made next, and the moment when a rewritten segment takes the
//! place of the one before. Always holds: a run counts only once the manifest names it, and its file
//! and name were durable before that; what it replaces is removed only after that; readers go on
//! with what they have, or are told to ask again. A failure changes nothing but that the index stays
//! in memory for longer. Not here: bytes of runs ([`index`](crate::index)), what is scavenged
//! ([`scavenge`](crate::scavenge)), threads ([`store`](crate::store)).

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tracing::warn;

use crate::{
    clock::Rng,
    disk::{Cache, Disk, Operation},
    format::{HEADER_BYTES, SegmentHeader},
    index::{
        BlockCache, Covered, IndexManifest, MergeInput, OffsetOverrides, Run, RunContext, RunError,
        RunIdentity, RunName, merge_runs, plan_merge, rewrite_run, write_run,
    },
    planted::{self, Bug},
    published::Published,
    recovery::segment_file,
    scavenge::is_unfinished_segment,
    sync::{Condvar, Mutex, MutexGuard},
};

/// Bytes of runs that a store which is being closed still merges at once.
const CLOSING_BYTES_MAX: u64 = 2 << 20;
/// How long to wait after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Where the writer leaves segments that have ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    inner: Mutex<Segments>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Segments {
    waiting: VecDeque<Covered>,
    closing: bool,
}

impl Ended {
    pub(crate) fn push(&self, segment: Covered) {
        self.lock().waiting.push_back(segment);
        self.arrived.notify_one();
    }

    /// Nothing will be left any more.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        if !planted::is(Bug::FilingNotToldOfTheEnd) {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Waits until a segment has ended or none will any more.
    pub(crate) fn wait(&self) {
        let nothing = |segments: &mut Segments| segments.waiting.is_empty() && !segments.closing;
        drop(self.arrived.wait_while(self.lock(), nothing));
    }

    /// Waits for a while after a failure, or until the store is closed.
    pub(crate) fn pause(&self) {
        let open = |segments: &mut Segments| !segments.closing;
        drop(self.arrived.wait_timeout_while(self.lock(), RETRY_AFTER, open));
    }

    fn first(&self) -> Option<Covered> {
        self.lock().waiting.front().copied()
    }

    fn done(&self) {
        self.lock().waiting.pop_front();
    }

    fn lock(&self) -> MutexGuard<'_, Segments> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Filing goes on beside scavenging, one step of either at a time.
pub(crate) type SharedFiling = Arc<Mutex<Filing>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Filing {
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    store: [u8; 16],
    rng: Box<dyn Rng>,
    context: Arc<RunContext>,
    cache: Arc<BlockCache>,
    ended: Arc<Ended>,
    /// Segments that processes before this one did not finish.
    unfinished: Vec<String>,
    /// Whether files of earlier tries were looked for.
    tidied: bool,
    /// Whether a file could not be made durable since the store was opened.
    in_doubt: bool,
}

/// What filing needs from whoever opens a store.
pub(crate) struct Means {
    pub(crate) store: [u8; 16],
    pub(crate) rng: Box<dyn Rng>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) unfiled: Vec<Covered>,
    /// Segments that processes before this one did not finish.
    pub(crate) unfinished: Vec<String>,
}

impl Filing {
    pub(crate) fn new(disk: Arc<dyn Disk>, published: Arc<Published>, means: Means) -> Self {
        let Means { store, rng, cache, unfiled, unfinished } = means;
        let context = Arc::new(RunContext::new(Arc::clone(&disk), store));
        let ended = Arc::new(Ended::default());
        unfiled.into_iter().for_each(|segment| ended.push(segment));
        let (tidied, in_doubt) = (false, false);
        Self { disk, published, store, rng, context, cache, ended, unfinished, tidied, in_doubt }
    }

    pub(crate) fn ended(&self) -> &Arc<Ended> {
        &self.ended
    }

    /// Ends what was begun before the store was opened: removes what was left, and makes runs anew
    /// of which segments were rewritten. Beside damage nothing is written.
    pub(crate) fn begin(&mut self) {
        if self.published.damage.is_empty() {
            let tidied = self.tidy();
            self.went_well(tidied, "remove what was left unfinished");
            while self.renew_some() {}
        }
    }

    /// Makes the run of a segment that has ended; says whether there was one, and it went well.
    pub(crate) fn file_one(&mut self) -> bool {
        let Some(covered) = self.ended.first() else { return false };
        let filed = self.tidy().and_then(|()| self.file(covered));
        self.went_well(filed, "put a segment's index into a file")
    }

    /// Merges neighbouring runs, if it is time, or makes one anew of which segments were rewritten;
    /// says whether there was something to do, and it went well.
    pub(crate) fn merge_some(&mut self) -> bool {
        if self.renew_some() {
            return true;
        }
        let inputs = self.next_merge();
        !inputs.is_empty() && self.merge_told(&inputs, Self::go_on)
    }

    /// Merges neighbouring runs that are small, though the store is being closed; says whether there
    /// were some, and it went well. Processes that append little and end would leave a run each.
    pub(crate) fn merge_small(&mut self) -> bool {
        let inputs = self.next_merge();
        let bytes: u64 = inputs.iter().map(|run| run.bytes()).sum();
        !inputs.is_empty()
            && bytes <= CLOSING_BYTES_MAX
            && self.merge_told(&inputs, |_| ControlFlow::Continue(()))
    }

    /// The runs that are to be merged next; none while there are few enough.
    fn next_merge(&self) -> Vec<Arc<Run>> {
        let mut runs = self.published.index().runs();
        let bytes: Vec<_> = runs.iter().map(|run| run.bytes()).collect();
        plan_merge(&bytes).map(|range| runs.drain(range).collect()).unwrap_or_default()
    }

    fn merge_told(
        &mut self,
        inputs: &[Arc<Run>],
        go_on: impl Fn(&mut Self) -> ControlFlow<()>,
    ) -> bool {
        let merged = self.tidy().and_then(|()| self.merge(inputs, go_on));
        self.went_well(merged, "merge files of the index")
    }

    /// Makes a run anew of which a segment was rewritten; says whether there was one, and it went
    /// well.
    pub(crate) fn renew_some(&mut self) -> bool {
        let stale = self.published.index().runs().into_iter().find(|run| self.is_stale(run));
        let Some(run) = stale else { return false };
        let renewed = self.tidy().and_then(|()| self.renew_run(&run));
        self.went_well(renewed, "make a file of the index anew")
    }

    fn went_well(&self, result: Result<(), RunError>, what: &str) -> bool {
        if let Err(error) = &result
            && !matches!(error, RunError::Stopped)
        {
            warn!(%error, "cannot {what}; it stays as it is until the next try");
        }
        result.is_ok()
    }

    fn file(&mut self, covered: Covered) -> Result<(), RunError> {
        let contents = self.published.index().contents(covered, &self.context);
        let origin = self.origin();
        let name = write_run(&*self.disk, &origin, contents)?;
        self.put(name, &[])?;
        self.ended.done();
        Ok(())
    }

    fn merge(
        &mut self,
        inputs: &[Arc<Run>],
        go_on: impl Fn(&mut Self) -> ControlFlow<()>,
    ) -> Result<(), RunError> {
        let origin = self.origin();
        let names: Vec<_> = inputs.iter().map(|run| run.name()).collect();
        if planted::is(Bug::RunUnlinkedEarly) {
            self.remove(&names);
        }
        let index = self.published.index();
        let patches: Vec<_> = names.iter().map(|name| index.offset_overrides(*name)).collect();
        let inputs: Vec<_> = inputs
            .iter()
            .zip(&patches)
            .map(|(run, patches)| MergeInput { run, overrides: patches })
            .collect();
        let disk = Arc::clone(&self.disk);
        let name = merge_runs(&*disk, &origin, &inputs, &mut |_| go_on(self))?;
        self.put(name, &names)
    }

    /// Makes a run anew with what its patches say. It keeps its name, so it takes the place of the one
    /// before at once; a manifest that still names the other one is as good, for both say the same
    /// of the log, and an opening compares them with it.
    fn renew_run(&mut self, stale: &Arc<Run>) -> Result<(), RunError> {
        let origin = self.origin();
        let patches = self.published.index().offset_overrides(stale.name());
        let input = MergeInput { run: stale, overrides: &patches };
        let disk = Arc::clone(&self.disk);
        let name = rewrite_run(&*disk, &origin, &input, &mut |_| self.go_on())?;
        let run = Run::open_unfinished(&*self.disk, name, Arc::clone(&self.cache))?;
        let (from, to) = (name.new_file(), name.file());
        let failed = |source| RunError::Io { file: name.file(), source };
        let swap = || self.disk.run(Operation::Rename { from, to });
        if let Err(source) = self.published.swap_run(&self.context, run, swap) {
            // It may have happened all the same; then readers need the new one.
            let there = Run::open(&*self.disk, name, Arc::clone(&self.cache))?;
            if there.manifest_entry() != stale.manifest_entry() {
                self.published.put_run(&self.context, Arc::new(there));
            }
            return Err(failed(source));
        }
        self.disk.run(Operation::SyncDirectory).map_err(failed)?;
        let runs = self.published.index().runs().iter().map(|run| run.manifest_entry()).collect();
        IndexManifest { store: self.store, runs }.write(&*self.disk)
    }

    /// In the middle of something long: files what has ended meanwhile, so that little of the index is
    /// in memory alone, and an opening has little to read.
    fn go_on(&mut self) -> ControlFlow<()> {
        if self.ended.is_closing() {
            return ControlFlow::Break(());
        }
        while self.file_one() {}
        ControlFlow::Continue(())
    }

    fn is_stale(&self, run: &Run) -> bool {
        !self.published.index().offset_overrides(run.name()).is_empty()
    }

    /// Puts all segments that have ended into files, so that they can be scavenged.
    pub(crate) fn file_all(&mut self) -> Result<(), RunError> {
        self.tidy()?;
        while self.file_one() {}
        Ok(())
    }

    /// Puts a rewritten segment, which is durable under the name `unfinished`, into the place of the
    /// one before, durably. Its run is [renewed](Self::renew) later.
    pub(crate) fn swap_segment(
        &mut self,
        unfinished: &str,
        patch: OffsetOverrides,
    ) -> io::Result<()> {
        let (from, to) = (unfinished.to_owned(), segment_file(patch.covered.number));
        let patch = Arc::new(patch);
        let rename = || self.disk.run(Operation::Rename { from, to });
        let swapped = self.published.swap_segment(&patch, rename);
        let durable = swapped.and_then(|()| self.disk.run(Operation::SyncDirectory));
        if durable.is_err() {
            self.in_doubt = true;
            // Whichever file a crash leaves: its run has to go on knowing everything.
            let cautious = Arc::new(patch.without_drops());
            if is_there(&*self.disk, &patch.covered) {
                self.published.swap_segment(&cautious, || Ok::<_, io::Error>(()))?;
            }
        }
        durable
    }

    /// Makes all runs anew of which segments were rewritten.
    pub(crate) fn renew(&mut self) -> Result<(), RunError> {
        self.tidy()?;
        for run in self.published.index().runs() {
            if self.is_stale(&run) {
                self.renew_run(&run)?;
            }
        }
        Ok(())
    }

    /// Whether something could not be made durable since the store was opened: then nothing may
    /// rest on it.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The store's id.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.store
    }

    /// For salts of segments that are rewritten.
    pub(crate) fn random(&mut self) -> [u8; 16] {
        self.rng.bytes()
    }

    /// How terms of this store are hashed.
    pub(crate) fn context(&self) -> &Arc<RunContext> {
        &self.context
    }

    /// Enters a run into the manifest in the place of others, lets readers have it, and removes the
    /// others.
    fn put(&mut self, name: RunName, replaced: &[RunName]) -> Result<(), RunError> {
        let run = Run::open(&*self.disk, name, Arc::clone(&self.cache))?;
        let runs = self.published.index().runs();
        let kept =
            runs.iter().map(|run| run.manifest_entry()).filter(|run| !replaced.contains(&run.name));
        let mut runs: Vec<_> = kept.chain([run.manifest_entry()]).collect();
        runs.sort_unstable_by_key(|run| run.name);
        IndexManifest { store: self.store, runs }.write(&*self.disk)?;
        self.published.put_run(&self.context, Arc::new(run));
        self.remove(replaced);
        Ok(())
    }

    fn remove(&self, names: &[RunName]) {
        for name in names {
            // What stays is found at the next opening.
            drop(self.disk.run(Operation::Remove { file: name.file() }));
        }
    }

    /// Removes what earlier tries left and no manifest names.
    fn tidy(&mut self) -> Result<(), RunError> {
        if self.tidied {
            return Ok(());
        }
        let runs = self.published.index().runs().iter().map(|run| run.manifest_entry()).collect();
        let named = IndexManifest { store: self.store, runs };
        let failed = |source: io::Error| RunError::Io { file: "the directory".to_owned(), source };
        let files = self.disk.list().map_err(failed)?;
        let unfinished = files.iter().filter(|file| is_unfinished_segment(file));
        for file in named.orphans(&files).chain(unfinished).chain(&self.unfinished) {
            drop(self.disk.run(Operation::Remove { file: file.clone() }));
        }
        self.tidied = true;
        Ok(())
    }

    fn origin(&mut self) -> RunIdentity {
        RunIdentity { store: self.store, random: self.rng.bytes() }
    }
}

/// Whether a segment's file is this one.
fn is_there(disk: &dyn Disk, covered: &Covered) -> bool {
    let start = disk.read(&segment_file(covered.number), 0, HEADER_BYTES as usize, Cache::Use);
    let header = start.ok().and_then(|start| SegmentHeader::decode(&start).ok());
    header.is_some_and(|header| header.salt == covered.salt)
}
