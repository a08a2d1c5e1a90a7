//! The threads of a store on real files: the writer, the index worker and the compactor.
//!
//! Invariant: [`Threads::stop`] returns after all of them have ended, the log is sealed and the
//! index of sealed segments is flushed.

use std::{
    io,
    sync::{Arc, PoisonError},
};

use super::engine::Engine;
use crate::{
    commit::{CommitLeader, IndexWorker, SubmitQueue},
    maintenance::compaction::SharedCompactor,
    mutations,
    published::SealedQueue,
    sync::thread::{self, JoinHandle},
};

/// Handles of the running threads.
#[derive(Debug)]
pub(super) struct Threads {
    writer: JoinHandle<()>,
    index_worker: Arc<IndexWorker>,
    index_worker_thread: JoinHandle<()>,
    sealed: Arc<SealedQueue>,
    compactor_thread: JoinHandle<()>,
}

impl Threads {
    /// Starts the threads of an engine. Returns the leader, through which a
    /// calling thread can commit its own append.
    pub(super) fn start(engine: Engine) -> io::Result<(Arc<CommitLeader>, Self)> {
        let Engine { commit_loop, compactor } = engine;
        let sealed = {
            let compactor = compactor.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(compactor.sealed())
        };
        let compactor_thread = start_compactor(compactor, Arc::clone(&sealed))?;
        let index_worker = Arc::clone(commit_loop.index_worker());
        let index_worker_thread = index_worker.start()?;
        let (leader, writer) = CommitLeader::start(commit_loop)?;
        let threads = Self { writer, index_worker, index_worker_thread, sealed, compactor_thread };
        Ok((leader, threads))
    }

    /// Finishes queued appends, seals the log and ends all threads. Blocks until they have ended.
    pub(super) fn stop(self, queue: &SubmitQueue) {
        queue.request_stop();
        // A panic was reported when it happened, and its waiters were answered.
        drop(self.writer.join());
        self.index_worker.close();
        drop(self.index_worker_thread.join());
        self.sealed.close();
        drop(self.compactor_thread.join());
    }
}

fn start_compactor(
    compactor: SharedCompactor,
    sealed: Arc<SealedQueue>,
) -> io::Result<JoinHandle<()>> {
    let enable_mutations = mutations::propagate();
    thread::Builder::new().name("gesta-index".to_owned()).spawn(move || {
        enable_mutations();
        lower_priority();
        let lock = || compactor.lock().unwrap_or_else(PoisonError::into_inner);
        lock().clean_up();
        loop {
            sealed.wait();
            let flushed = lock().flush_segment();
            if sealed.is_closing() {
                // On shutdown flush the remaining segments, so that the next start need not read
                // them, then run only merges that are quick.
                if !flushed {
                    while lock().compact_small_runs() {}
                    break;
                }
            } else if flushed {
                while !sealed.is_closing() && lock().compact_runs() {}
            } else {
                sealed.pause();
            }
        }
    })
}

/// Lowers this thread's priority (nice +5, about a third of the processor time): compaction must
/// not compete with appends.
fn lower_priority() {
    // Only Linux has priorities per thread, and the threads of a schedule test are all one.
    #[cfg(all(target_os = "linux", not(all(test, gesta_shuttle))))]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        const LOWER: i32 = 5;
        const LOWEST: i32 = 19;
        let lower = getpriority_process(None).map(|nice| (nice + LOWER).min(LOWEST));
        // If the system refuses, compaction only competes with appends.
        lower.and_then(|nice| setpriority_process(None, nice)).ok();
    }
}
