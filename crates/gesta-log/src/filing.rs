//! Putting the index into files: from stretches in memory to runs, from runs to larger runs.
//!
//! Owns: the manifest, and which run is made next. Always holds: a run counts only once the manifest
//! names it, and its file and name were durable before that; what it replaces is removed only after
//! that; readers go on with what they have. A failure changes nothing but that the index stays in
//! memory for longer. Not here: bytes of runs ([`index`](crate::index)), threads
//! ([`store`](crate::store)).

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::warn;

use crate::{
    clock::Rng,
    disk::{Disk, Operation},
    index::{
        BlockCache, Covered, FileContext, Manifest, Origin, Run, RunError, RunName, merge_runs,
        plan_merge, write_run,
    },
    planted::{self, Bug},
    published::Published,
};

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
        self.arrived.notify_one();
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Filing {
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    store: [u8; 16],
    rng: Box<dyn Rng>,
    context: Arc<FileContext>,
    cache: Arc<BlockCache>,
    ended: Arc<Ended>,
    /// Whether files of earlier tries were looked for.
    tidied: bool,
}

/// What filing needs from whoever opens a store.
pub(crate) struct Means {
    pub(crate) store: [u8; 16],
    pub(crate) rng: Box<dyn Rng>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) unfiled: Vec<Covered>,
}

impl Filing {
    pub(crate) fn new(disk: Arc<dyn Disk>, published: Arc<Published>, means: Means) -> Self {
        let Means { store, rng, cache, unfiled } = means;
        let context = Arc::new(FileContext::new(Arc::clone(&disk), store));
        let ended = Arc::new(Ended::default());
        unfiled.into_iter().for_each(|segment| ended.push(segment));
        Self { disk, published, store, rng, context, cache, ended, tidied: false }
    }

    pub(crate) fn ended(&self) -> &Arc<Ended> {
        &self.ended
    }

    /// Makes the run of a segment that has ended; says whether there was one, and it went well.
    pub(crate) fn file_one(&mut self) -> bool {
        let Some(covered) = self.ended.first() else { return false };
        let filed = self.tidy().and_then(|()| self.file(covered));
        self.went_well(filed, "put a segment's index into a file")
    }

    /// Merges neighbouring runs, if it is time; says whether it was, and it went well.
    pub(crate) fn merge_some(&mut self) -> bool {
        let runs = self.published.index().runs();
        let bytes: Vec<_> = runs.iter().map(|run| run.bytes()).collect();
        let Some(range) = plan_merge(&bytes) else { return false };
        let inputs = runs.get(range).unwrap_or_default();
        let merged = self.tidy().and_then(|()| self.merge(inputs));
        self.went_well(merged, "merge files of the index")
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

    fn merge(&mut self, inputs: &[Arc<Run>]) -> Result<(), RunError> {
        let origin = self.origin();
        let names: Vec<_> = inputs.iter().map(|run| run.name()).collect();
        if planted::is(Bug::RunUnlinkedEarly) {
            self.remove(&names);
        }
        let ended = Arc::clone(&self.ended);
        let mut go_on = |_| match ended.is_closing() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let name = merge_runs(&*self.disk, &origin, inputs, &mut go_on)?;
        self.put(name, &names)
    }

    /// Enters a run into the manifest in the place of others, lets readers have it, and removes the
    /// others.
    fn put(&mut self, name: RunName, replaced: &[RunName]) -> Result<(), RunError> {
        let run = Run::open(&*self.disk, name, Arc::clone(&self.cache))?;
        let runs = self.published.index().runs();
        let kept = runs.iter().map(|run| run.listed()).filter(|run| !replaced.contains(&run.name));
        let mut runs: Vec<_> = kept.chain([run.listed()]).collect();
        runs.sort_unstable_by_key(|run| run.name);
        Manifest { store: self.store, runs }.write(&*self.disk)?;
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
        let runs = self.published.index().runs().iter().map(|run| run.listed()).collect();
        let named = Manifest { store: self.store, runs };
        let failed = |source: io::Error| RunError::Io { file: "the directory".to_owned(), source };
        let files = self.disk.list().map_err(failed)?;
        for file in named.leftovers(&files) {
            drop(self.disk.run(Operation::Remove { file: file.clone() }));
        }
        self.tidied = true;
        Ok(())
    }

    fn origin(&mut self) -> Origin {
        Origin { store: self.store, random: self.rng.bytes() }
    }
}
