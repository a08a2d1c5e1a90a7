//! Delivery of results to the callers of appends.
//!
//! A future waits on a oneshot channel, a blocked thread on a condition variable that it shares
//! with the other followers of its group. Waking a thread costs far more than everything else about
//! an answer: one `notify_all` wakes all followers of a group, and futures that were answered
//! help to answer the rest.
//!
//! Invariant: each append is answered exactly once, even if the committer ends before.
//!
//! Elsewhere: the content of an answer ([`committer`](super::committer)).

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use futures_channel::oneshot;
use gesta_store::{Appended, StoreError};

use crate::{
    mutations::mutated,
    sync::{Condvar, Mutex, MutexGuard},
};

/// The result of an append.
pub(crate) type AppendResult = Result<Appended, StoreError>;

/// Number of futures that one call of [`Completions::drain_some`] answers.
const DRAINED_AT_ONCE_MAX: usize = 4;
/// Number of wait queues in rotation. More than groups that are outstanding at the same time, so
/// that few threads are woken for another group's answers.
const WAIT_QUEUES: usize = 8;

/// The destination of an append's result.
#[derive(Debug)]
pub(crate) enum Responder {
    Future(oneshot::Sender<AppendResult>),
    Thread(CompletionSlot),
}

/// The committer's end of a blocked thread's answer.
#[derive(Debug)]
pub(crate) struct CompletionSlot {
    cell: Arc<ResultCell>,
    filled: bool,
    /// The queue on which the thread waits, or `None` if it leads and polls instead.
    wait_queue: Option<Arc<WaitQueue>>,
}

#[derive(Debug, Default)]
struct ResultCell(Mutex<Option<AppendResult>>);

/// The caller's end of its answer.
#[derive(Debug)]
pub(crate) struct Waiter(Arc<ResultCell>);

/// The condition variable that the followers of one group share.
#[derive(Debug, Default)]
pub(crate) struct WaitQueue {
    lock: Mutex<()>,
    answered: Condvar,
}

impl Responder {
    /// Creates a responder for a blocked thread, and the waiter that the thread keeps.
    pub(crate) fn to_thread() -> (Self, Waiter) {
        let cell = Arc::new(ResultCell::default());
        let slot = CompletionSlot { cell: Arc::clone(&cell), filled: false, wait_queue: None };
        (Self::Thread(slot), Waiter(cell))
    }

    /// Sets the queue through which a following thread is woken. Futures ignore it.
    pub(super) fn wake_through(&mut self, wait_queue: &Arc<WaitQueue>) {
        if let Self::Thread(slot) = self {
            slot.wait_queue = Some(Arc::clone(wait_queue));
        }
    }
}

impl CompletionSlot {
    /// Stores the result. The returned queue is still to be woken.
    fn fill(&mut self, result: AppendResult) -> Option<&Arc<WaitQueue>> {
        *self.cell.lock() = Some(result);
        self.filled = true;
        self.wait_queue.as_ref()
    }
}

impl Drop for CompletionSlot {
    /// Answers an append that the committer dropped, so that no thread waits forever.
    fn drop(&mut self) {
        if !self.filled {
            let lost = Err(StoreError::unavailable("the writer ended before it answered"));
            if let Some(wait_queue) = self.fill(lost) {
                wait_queue.wake_all();
            }
        }
    }
}

impl ResultCell {
    fn lock(&self) -> MutexGuard<'_, Option<AppendResult>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Takes the result, if there is one.
    pub(super) fn take(&self) -> Option<AppendResult> {
        self.0.lock().take()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Blocks until the append is answered.
    pub(crate) fn wait(&self, wait_queue: &WaitQueue) -> AppendResult {
        // Hold the queue's lock from the check to the wait, or a wake-up in between is lost.
        let mut guard = wait_queue.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = self.take() {
                return result;
            }
            guard = wait_queue.answered.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl WaitQueue {
    fn wake_all(&self) {
        // Acquire and release the lock: a waiter that checked before its result was stored is now
        // parked and sees the notification.
        if !mutated!(WaitersWokenTooEarly) {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.answered.notify_all();
    }
}

/// Wait queues in rotation, one for each group that is being gathered.
#[derive(Debug)]
pub(super) struct WaitQueues {
    queues: [Arc<WaitQueue>; WAIT_QUEUES],
    current: usize,
}

impl Default for WaitQueues {
    fn default() -> Self {
        Self { queues: std::array::from_fn(|_| Arc::default()), current: 0 }
    }
}

impl WaitQueues {
    /// The queue for appends that are enqueued now.
    pub(super) fn current(&self) -> &Arc<WaitQueue> {
        let [first, ..] = &self.queues;
        self.queues.get(self.current).unwrap_or(first)
    }

    /// Switches to the next queue, once the appends of this one were drained.
    pub(super) fn rotate(&mut self) {
        self.current = (self.current + 1) % WAIT_QUEUES;
    }
}

/// Results on their way to callers.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    futures: Mutex<VecDeque<(oneshot::Sender<AppendResult>, AppendResult)>>,
}

impl Completions {
    /// Answers threads at once; futures are answered by [`drain_some`](Self::drain_some).
    pub(super) fn push(&self, results: Vec<(Responder, AppendResult)>) {
        // Store all results first, then wake each queue once: its threads share a group.
        let mut to_wake: Vec<Arc<WaitQueue>> = Vec::new();
        let mut futures = None;
        for (responder, result) in results {
            match responder {
                Responder::Future(sender) => {
                    futures.get_or_insert_with(|| self.lock()).push_back((sender, result));
                }
                Responder::Thread(mut slot) => {
                    if let Some(wait_queue) = slot.fill(result)
                        && !to_wake.iter().any(|known| Arc::ptr_eq(known, wait_queue))
                    {
                        to_wake.push(Arc::clone(wait_queue));
                    }
                }
            }
        }
        drop(futures);
        if mutated!(WaitersNotWoken) {
            to_wake.clear();
        }
        to_wake.iter().for_each(|wait_queue| wait_queue.wake_all());
    }

    /// Answers a few futures; returns whether there was any.
    ///
    /// The leader calls it between steps, and each answered future does, so that the work of waking
    /// is shared.
    pub(crate) fn drain_some(&self) -> bool {
        let mut drained: [Option<_>; DRAINED_AT_ONCE_MAX] = Default::default();
        {
            // Send outside the lock: a wake-up is long.
            let mut futures = self.lock();
            drained.iter_mut().for_each(|slot| *slot = futures.pop_front());
        }
        let mut any = false;
        for (sender, result) in drained.into_iter().flatten() {
            // A caller that dropped its future gets no result; the append happened all the same.
            drop(sender.send(result));
            any = true;
        }
        any
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(oneshot::Sender<AppendResult>, AppendResult)>> {
        self.futures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
