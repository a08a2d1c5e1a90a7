//! The leaders of group commit: the writer thread, and callers that lead for their own append.
//!
//! Invariants: only the thread that holds the leadership of the [`queue`](super::queue) touches the
//! commit loop; a leader that panics takes the commit loop with it, which answers all waiting
//! callers with an unknown outcome.
//!
//! Elsewhere: one poll of the commit loop ([`commit_loop`](super::commit_loop)).

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use gesta_store::StoreError;

use super::{
    commit_loop::{CommitLoop, EnginePoll},
    completion::{AppendResult, Waiter},
    queue::SubmitQueue,
};
use crate::{
    clock::Clock,
    mutations,
    sync::{Mutex, MutexGuard, thread},
};

/// Maximum time a caller keeps leading after its own append is durable. Handing leadership over
/// costs more than committing one more group.
const LEAD_FOR_OTHERS_MAX: Duration = Duration::from_millis(2);

/// The commit loop of a store with threads, run by one leader at a time.
#[derive(Debug)]
pub(crate) struct CommitLeader {
    /// `None` once it has ended. Never contended: leadership is taken first.
    commit_loop: Mutex<Option<CommitLoop>>,
    queue: Arc<SubmitQueue>,
    clock: Arc<dyn Clock>,
}

impl CommitLeader {
    /// Starts the writer thread, which leads whenever no caller does. When the commit loop has
    /// ended, it calls `at_end`, also after a panic.
    pub(crate) fn start(
        commit_loop: CommitLoop,
        at_end: impl FnOnce() + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (queue, clock) = (Arc::clone(commit_loop.queue()), commit_loop.clock());
        let leader = Arc::new(Self { commit_loop: Mutex::new(Some(commit_loop)), queue, clock });
        let enable_mutations = mutations::propagate();
        let writer = Arc::clone(&leader);
        let at_end = AtEnd(Some(at_end));
        thread::Builder::new().name("gesta-writer".to_owned()).spawn(move || {
            enable_mutations();
            let _at_end = at_end;
            writer.run_writer_thread();
        })?;
        Ok(leader)
    }

    fn run_writer_thread(&self) {
        let mut spin = Duration::ZERO;
        loop {
            // Leadership first, then the lock: so the lock is free.
            self.queue.lead_when_needed(&*self.clock, spin);
            let mut guard = LeaderGuard::new(self);
            loop {
                let Some(commit_loop) = guard.commit_loop() else { return };
                let poll = commit_loop.poll_while(|| true);
                if poll == EnginePoll::Closed {
                    return guard.end_commit_loop();
                }
                spin = commit_loop.spin_time();
                // Step down only when nothing is being gathered or written.
                if !commit_loop.is_busy() {
                    guard.last_poll = poll;
                    break;
                }
                self.park(poll, spin);
            }
        }
    }

    /// Leads until the caller's own append is answered. The caller was elected by
    /// [`SubmitQueue::enqueue`].
    pub(crate) fn lead_until(&self, waiter: &Waiter) -> AppendResult {
        let mut guard = LeaderGuard::new(self);
        let start = self.clock.elapsed();
        loop {
            let Some(commit_loop) = guard.commit_loop() else {
                let reason = "the store's engine has failed".to_owned();
                return Err(StoreError::Stopped { reason });
            };
            // Under load there is always more to commit; return to the caller after a while.
            let poll = commit_loop.poll_while(|| {
                !waiter.is_answered() || self.clock.elapsed() < start + LEAD_FOR_OTHERS_MAX
            });
            if let Some(result) = waiter.take() {
                guard.last_poll = poll;
                return result;
            }
            let spin = commit_loop.spin_time();
            self.park(poll, spin);
        }
    }

    fn park(&self, poll: EnginePoll, spin: Duration) {
        let at_most = match poll {
            EnginePoll::WakeAt(time) => Some(time.saturating_sub(self.clock.elapsed())),
            EnginePoll::Idle | EnginePoll::Closed => None,
        };
        self.queue.park_leader(&*self.clock, at_most, spin);
    }
}

/// Calls a function when it is dropped.
struct AtEnd<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        if let Some(at_end) = self.0.take() {
            at_end();
        }
    }
}

/// Exclusive access to the commit loop for the current leader. Dropping it steps down.
struct LeaderGuard<'a> {
    leader: &'a CommitLeader,
    commit_loop: Option<MutexGuard<'a, Option<CommitLoop>>>,
    /// Result of the last poll, which holds the next deadline.
    last_poll: EnginePoll,
}

impl<'a> LeaderGuard<'a> {
    fn new(leader: &'a CommitLeader) -> Self {
        let commit_loop = leader.commit_loop.lock().unwrap_or_else(PoisonError::into_inner);
        Self { leader, commit_loop: Some(commit_loop), last_poll: EnginePoll::Idle }
    }

    /// The commit loop, or `None` once it has ended.
    fn commit_loop(&mut self) -> Option<&mut CommitLoop> {
        self.commit_loop.as_mut()?.as_mut()
    }

    fn end_commit_loop(&mut self) {
        if let Some(commit_loop) = &mut self.commit_loop {
            **commit_loop = None;
        }
    }
}

impl Drop for LeaderGuard<'_> {
    fn drop(&mut self) {
        // A panic leaves the commit loop in an unknown state: end it, which answers all waiters.
        if thread::panicking() {
            self.end_commit_loop();
        }
        // Unlock before stepping down, so that the next leader never waits for the lock.
        self.commit_loop = None;
        let deadline = match self.last_poll {
            EnginePoll::WakeAt(time) => Some(time),
            EnginePoll::Idle | EnginePoll::Closed => None,
        };
        self.leader.queue.release_leadership(deadline);
    }
}
