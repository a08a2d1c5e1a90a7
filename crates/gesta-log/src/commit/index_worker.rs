//! A thread that inserts a group's postings into the memtable while the group is being written.
//!
//! The insertion takes about a sixth of the leader's CPU time, and the leader waits for the device
//! anyway.
//!
//! Invariants: staged postings stay hidden until the group is published; publishing waits for an
//! insertion that has begun, and does the insertion itself if none has.
//!
//! Elsewhere: the memtable ([`index`](crate::index)).

use std::{
    io,
    sync::{Arc, OnceLock, PoisonError},
};

use crate::{
    index::StagedMemtable,
    mutations::{self, mutated},
    published::GroupEvents,
    sync::{
        Condvar, Mutex, MutexGuard,
        thread::{self, JoinHandle},
    },
};

/// Smallest group for which waking the worker pays. Schedule tests use it for every group.
const APPENDS_MIN: usize = if cfg!(all(test, gesta_shuttle)) { 1 } else { 16 };

/// The hand-over to and from the index worker: at most one group at a time.
#[derive(Debug, Default)]
pub(crate) struct IndexWorker {
    /// Locked by the worker for the whole insertion, so that [`join`](Self::join) waits for it.
    slot: Mutex<Slot>,
    work_ready: Condvar,
    /// Set once there is a thread. A simulation has none: work is then done when it is submitted.
    has_thread: OnceLock<()>,
}

#[derive(Debug, Default)]
struct Slot {
    work: Option<StageWork>,
    done: Option<StagedMemtable>,
    closed: bool,
}

#[derive(Debug)]
struct StageWork {
    staged: StagedMemtable,
    events: Arc<GroupEvents>,
}

impl StageWork {
    fn run(self) -> StagedMemtable {
        self.staged.insert(self.events.appends());
        self.staged
    }
}

impl IndexWorker {
    /// Starts the thread. It ends after [`close`](Self::close).
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        self.has_thread.get_or_init(|| ());
        let worker = Arc::clone(self);
        let enable_mutations = mutations::propagate();
        thread::Builder::new().name("gesta-stager".to_owned()).spawn(move || {
            enable_mutations();
            worker.run();
        })
    }

    fn run(&self) {
        let mut slot = self.lock();
        while !slot.closed {
            let Some(work) = slot.work.take() else {
                slot = self.work_ready.wait(slot).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // Keep the lock while inserting: `join` then waits for the end of the insertion.
            if mutated!(StageDuringPublish) {
                drop(slot);
                let done = work.run();
                slot = self.lock();
                slot.done = Some(done);
            } else {
                slot.done = Some(work.run());
            }
        }
    }

    /// Returns whether a group of this many appends is worth submitting.
    pub(super) fn is_worth(&self, appends: usize) -> bool {
        !self.has_thread() || appends >= APPENDS_MIN
    }

    /// Starts inserting a group that is about to be written.
    pub(super) fn submit(&self, staged: StagedMemtable, events: Arc<GroupEvents>) {
        let work = StageWork { staged, events };
        if self.has_thread() {
            self.lock().work = Some(work);
            self.work_ready.notify_one();
        } else {
            self.lock().done = Some(work.run());
        }
    }

    fn has_thread(&self) -> bool {
        self.has_thread.get().is_some()
    }

    /// Waits for a running insertion and returns the staged postings. Returns `None` if none has
    /// begun, and cancels it.
    ///
    /// # Panics
    /// If the worker panicked: the memtable may hold a part of the group.
    pub(super) fn join(&self) -> Option<StagedMemtable> {
        let mut slot = self.slot.lock().expect("index worker panicked");
        // Work that has not begun is cancelled; publishing inserts it faster than a thread wakes
        // up.
        slot.work = None;
        slot.done.take()
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        if !mutated!(IndexWorkerNotWokenOnClose) {
            self.work_ready.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
