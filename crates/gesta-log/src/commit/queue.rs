//! The submission queue of group commit, and leader election.
//!
//! At most one thread leads at a time: the store's writer thread, or a caller that found no leader
//! when it enqueued its append. A caller that leads writes its own group, which saves two context
//! switches, and steps down once its append is answered.
//!
//! Invariants:
//! - Work that arrives while no thread leads wakes the writer thread, unless the caller leads
//!   itself.
//! - A leader that steps down with work left over, or with a deadline earlier than the writer
//!   thread's wake-up, wakes the writer thread.
//!
//! Elsewhere: the work of a leader ([`leader`](super::leader)).

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use gesta_store::{Overload, StoreError};

use super::{
    action::Task,
    completion::{Responder, WaitQueue, WaitQueues},
};
use crate::{
    clock::Clock,
    mutations::mutated,
    published::PendingAppend,
    sync::{Condvar, Mutex, MutexGuard, thread},
};

/// Interval at which the writer thread rechecks for leadership while a caller leads.
///
/// Shorter than the default `Options::close_after`, so that a caller that steps down need not wake
/// the writer thread for the close frame.
const LEADERSHIP_RECHECK: Duration = Duration::from_millis(10);

/// An append in the queue, with its caller's answer slot.
#[derive(Debug)]
pub(crate) struct QueuedAppend {
    /// Shared with the caller, which frees it: freeing on the allocating thread is cheaper.
    pub(crate) pending: Arc<PendingAppend>,
    pub(crate) responder: Responder,
}

/// The queue between callers and disk completions on one side and the leader on the other.
#[derive(Debug, Default)]
pub(crate) struct SubmitQueue {
    state: Mutex<QueueState>,
    /// Signals the leader.
    work_arrived: Condvar,
    /// Signals the writer thread while it does not lead.
    leader_needed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    appends: Vec<QueuedAppend>,
    completions: Vec<(Task, io::Result<()>)>,
    queued_bytes: usize,
    stop_requested: bool,
    closed: bool,
    wait_queues: WaitQueues,
    /// Number of queued appends that justifies waking the leader.
    wake_threshold: usize,
    leader: Leadership,
    /// Deadline by which a thread must lead even if nothing arrives (close frame, gathering).
    deadline: Option<Duration>,
    writer_thread: WriterThread,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Leadership {
    #[default]
    None,
    Running,
    Parked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WriterThread {
    #[default]
    Awake,
    ParkedUntil(Duration),
    Parked,
}

/// Result of [`SubmitQueue::enqueue`].
pub(crate) enum Enqueued {
    /// The caller is now the leader and must commit.
    Lead,
    /// Another thread leads; wait on this queue for the answer.
    Follow(Arc<WaitQueue>),
}

/// Everything that [`SubmitQueue::drain`] took from the queue.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) appends: Vec<QueuedAppend>,
    pub(super) completions: Vec<(Task, io::Result<()>)>,
    pub(super) stop_requested: bool,
}

impl SubmitQueue {
    /// Enqueues an append. Elects the caller as leader if there is none and `may_lead` is true.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after the store was closed, [`StoreError::Overloaded`] if the queue
    /// holds more than `bytes_max`. A single larger append is accepted by an empty queue.
    pub(crate) fn enqueue(
        &self,
        mut append: QueuedAppend,
        bytes_max: usize,
        may_lead: bool,
    ) -> Result<Enqueued, StoreError> {
        let mut state = self.lock();
        if state.closed || state.stop_requested {
            return Err(StoreError::Stopped { reason: "the store was closed".to_owned() });
        }
        // Backpressure by bytes. An empty queue accepts any append, or a large one could never
        // pass.
        let queued_bytes = state.queued_bytes + append.pending.bytes();
        if queued_bytes > bytes_max && state.queued_bytes > 0 {
            let queued_bytes = state.queued_bytes;
            return Err(StoreError::Overloaded(Overload::Queue { queued_bytes, max: bytes_max }));
        }
        state.queued_bytes = queued_bytes;
        if may_lead && state.leader == Leadership::None {
            state.leader = Leadership::Running;
            state.appends.push(append);
            return Ok(Enqueued::Lead);
        }
        // Followers of one group share a wait queue, so answering the group wakes only them.
        let wait_queue = Arc::clone(state.wait_queues.current());
        append.responder.wake_through(&wait_queue);
        state.appends.push(append);
        self.wake(state);
        Ok(Enqueued::Follow(wait_queue))
    }

    /// Asks the leader to seal the log and end.
    pub(crate) fn request_stop(&self) {
        let mut state = self.lock();
        state.stop_requested = true;
        self.wake(state);
    }

    /// Refuses all later appends, and returns those that will not be committed.
    pub(super) fn close(&self) -> Vec<QueuedAppend> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.appends)
    }

    /// Delivers the result of a disk operation.
    pub(super) fn complete(&self, task: Task, result: io::Result<()>) {
        let mut state = self.lock();
        state.completions.push((task, result));
        self.wake(state);
    }

    pub(super) fn drain(&self) -> Drained {
        let mut state = self.lock();
        if !state.appends.is_empty() {
            // Followers that arrive from here on belong to a later group.
            state.wait_queues.rotate();
        }
        Drained {
            appends: std::mem::take(&mut state.appends),
            completions: std::mem::take(&mut state.completions),
            stop_requested: std::mem::take(&mut state.stop_requested),
        }
    }

    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        debug_assert!(bytes <= state.queued_bytes, "released more bytes than were queued");
        state.queued_bytes -= bytes;
    }

    /// Returns whether nothing has arrived, and sets the number of appends that wakes the leader.
    pub(super) fn is_empty(&self, wake_threshold: usize) -> bool {
        let mut state = self.lock();
        state.wake_threshold = wake_threshold;
        state.is_empty()
    }

    /// Wakes the parked leader, or the writer thread if there is no leader.
    fn wake(&self, mut state: MutexGuard<'_, QueueState>) {
        match state.leader {
            Leadership::Parked if state.is_worth_waking() => {
                // Mark it as running here, under the lock: later arrivals need not signal again.
                if !mutated!(LeaderNotWoken) {
                    state.leader = Leadership::Running;
                }
                // Unlock first: the woken thread takes the lock at once.
                drop(state);
                self.work_arrived.notify_one();
            }
            Leadership::None => {
                if !mutated!(WriterNotWoken) && state.unpark_writer_thread() {
                    drop(state);
                    self.leader_needed.notify_one();
                }
            }
            Leadership::Parked | Leadership::Running => {}
        }
    }

    /// Parks the leader until enough work has arrived, or for `at_most`.
    ///
    /// Spins for up to `spin` first: a client that appends in a loop is back by then, and waking a
    /// thread takes longer than its whole append.
    pub(super) fn park_leader(&self, clock: &dyn Clock, at_most: Option<Duration>, spin: Duration) {
        let start = clock.elapsed();
        let spin = at_most.map_or(spin, |time| time.min(spin));
        loop {
            if self.lock().is_worth_waking() {
                return;
            }
            if clock.elapsed() - start >= spin {
                break;
            }
            thread::yield_now();
        }
        let left = at_most.map(|time| time.saturating_sub(clock.elapsed() - start));
        if left == Some(Duration::ZERO) {
            return;
        }
        let mut state = self.lock();
        // Work may have arrived between the last spin and this lock; parking now would miss it.
        if state.is_worth_waking() && !mutated!(ParkWithoutRecheck) {
            return;
        }
        state.leader = Leadership::Parked;
        let parked = |state: &mut QueueState| state.leader == Leadership::Parked;
        let mut state = match left {
            Some(time) => {
                let woken = self.work_arrived.wait_timeout_while(state, time, parked);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let woken = self.work_arrived.wait_while(state, parked);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
        state.leader = Leadership::Running;
    }

    /// Blocks the writer thread until it must lead, and makes it the leader.
    ///
    /// Spins for up to `spin` first: under load the next append arrives sooner than a wake-up
    /// takes.
    pub(super) fn lead_when_needed(&self, clock: &dyn Clock, spin: Duration) {
        let start = clock.elapsed();
        loop {
            let now = clock.elapsed();
            let mut state = self.lock();
            if state.needs_leader(now) {
                state.leader = Leadership::Running;
                return;
            }
            // A caller leads and handles what arrives, so spinning here would only compete with it.
            let has_leader = state.leader != Leadership::None;
            drop(state);
            if has_leader || now - start >= spin {
                break;
            }
            thread::yield_now();
        }
        let mut state = self.lock();
        loop {
            let now = clock.elapsed();
            if state.needs_leader(now) {
                state.leader = Leadership::Running;
                state.writer_thread = WriterThread::Awake;
                return;
            }
            // The deadline of a leading caller is not known yet; recheck instead of missing it.
            let wake_at = match state.leader {
                Leadership::None => state.deadline,
                Leadership::Running | Leadership::Parked => Some(now + LEADERSHIP_RECHECK),
            };
            state.writer_thread = wake_at.map_or(WriterThread::Parked, WriterThread::ParkedUntil);
            state = match wake_at {
                Some(wake_at) => {
                    let woken = self.leader_needed.wait_timeout(state, wake_at.saturating_sub(now));
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.leader_needed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Steps down as leader. Wakes the writer thread if work is left, or if `deadline` comes before
    /// its wake-up.
    pub(super) fn release_leadership(&self, deadline: Option<Duration>) {
        let mut state = self.lock();
        debug_assert!(state.leader != Leadership::None, "only the leader steps down");
        state.leader = Leadership::None;
        let deadline = deadline.filter(|_| !mutated!(DeadlineForgotten));
        state.deadline = deadline;
        let work_left = !state.is_empty() && !mutated!(LeadershipReleasedSilently);
        // A writer thread that wakes up early enough on its own is not signalled, which saves a
        // system call for each append of a single caller.
        let must_wake = match state.writer_thread {
            WriterThread::Awake => false,
            WriterThread::ParkedUntil(until) => {
                work_left || deadline.is_some_and(|deadline| deadline < until)
            }
            WriterThread::Parked => work_left || deadline.is_some(),
        };
        if must_wake {
            state.writer_thread = WriterThread::Awake;
            drop(state);
            self.leader_needed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.completions.is_empty() && !self.stop_requested
    }

    fn is_worth_waking(&self) -> bool {
        self.appends.len() >= self.wake_threshold.max(1)
            || !self.completions.is_empty()
            || self.stop_requested
    }

    fn needs_leader(&self, now: Duration) -> bool {
        let has_work = !self.is_empty() || self.deadline.is_some_and(|deadline| deadline <= now);
        self.leader == Leadership::None && has_work
    }

    /// Marks the writer thread as awake; returns whether it was parked and must be signalled.
    fn unpark_writer_thread(&mut self) -> bool {
        std::mem::replace(&mut self.writer_thread, WriterThread::Awake) != WriterThread::Awake
    }
}
