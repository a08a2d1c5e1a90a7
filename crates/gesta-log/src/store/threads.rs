//! The threads of a store on real files: the writer, the index worker and the compactor.
//!
//! Invariants:
//! - Nothing that a handle does waits for a thread. Closing a store is a request ([`Closing`]); the
//!   writer thread carries it out.
//! - The writer thread ends last: the log is sealed, the index of sealed segments is flushed and
//!   all other threads have ended before the directory is released.

use std::{
    io,
    sync::{Arc, PoisonError},
};

use futures_channel::oneshot;

use super::engine::Engine;
use crate::{
    commit::{CommitLeader, IndexWorker},
    maintenance::compaction::SharedCompactor,
    mutations,
    published::SealedQueue,
    read::Reader,
    sync::{
        Condvar, Mutex, MutexGuard,
        thread::{self, JoinHandle},
    },
};

/// The request to close a store, and its completion.
#[derive(Debug, Default)]
pub(super) struct Closing {
    state: Mutex<ClosingState>,
    requested: Condvar,
}

#[derive(Debug, Default)]
struct ClosingState {
    requested: bool,
    done: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Closing {
    /// Asks the writer thread to finish. Does not wait.
    pub(super) fn request(&self) {
        self.lock().requested = true;
        self.requested.notify_one();
    }

    /// Returns a receiver that ends when the store is closed.
    pub(super) fn done(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        // Dropping the sender ends the receiver.
        if !state.done {
            state.waiting.push(sender);
        }
        receiver
    }

    fn wait_for_request(&self) {
        let not_yet = |state: &mut ClosingState| !state.requested;
        drop(self.requested.wait_while(self.lock(), not_yet));
    }

    fn finish(&self) {
        let waiting = {
            let mut state = self.lock();
            state.done = true;
            std::mem::take(&mut state.waiting)
        };
        // Wakers run without the lock.
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, ClosingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a store that end with its writer thread.
struct StoreEnd {
    reader: Reader,
    closing: Arc<Closing>,
    index_worker: Arc<IndexWorker>,
    index_worker_thread: JoinHandle<()>,
    sealed: Arc<SealedQueue>,
    compactor_thread: JoinHandle<()>,
}

/// Starts the threads of an engine. Returns the leader, through which a calling thread can commit
/// its own append, and the way to end the threads.
pub(super) fn start(
    engine: Engine,
    reader: Reader,
) -> io::Result<(Arc<CommitLeader>, Arc<Closing>)> {
    let Engine { commit_loop, compactor } = engine;
    let sealed = {
        let compactor = compactor.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(compactor.sealed())
    };
    let compactor_thread = start_compactor(compactor, Arc::clone(&sealed))?;
    let index_worker = Arc::clone(commit_loop.index_worker());
    let index_worker_thread = index_worker.start()?;
    let closing = Arc::new(Closing::default());
    let end = StoreEnd {
        reader,
        closing: Arc::clone(&closing),
        index_worker,
        index_worker_thread,
        sealed,
        compactor_thread,
    };
    let leader = CommitLeader::start(commit_loop, move || end.carry_out())?;
    Ok((leader, closing))
}

impl StoreEnd {
    /// Ends the other threads and releases the directory. Runs on the writer thread after the log
    /// was sealed.
    fn carry_out(self) {
        // After a failure of the engine, the directory stays locked until the store is dropped.
        self.closing.wait_for_request();
        // A panic was reported when it happened, and its waiters were answered.
        self.index_worker.close();
        drop(self.index_worker_thread.join());
        self.sealed.close();
        drop(self.compactor_thread.join());
        let Reader { disk, published, io_threads, .. } = &self.reader;
        io_threads.close();
        io_threads.join();
        // Reads and subscriptions may outlive the store; they do not keep the directory locked.
        disk.release();
        published.close();
        self.closing.finish();
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
