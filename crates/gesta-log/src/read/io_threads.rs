//! The threads that read for futures: the second half of a read that memory cannot answer.
//!
//! A future first runs its read [without waiting](crate::disk::waiting::without_waiting) on the
//! thread that polls it. If a byte is missing, the whole read is repeated here, where it may wait,
//! and the answer wakes the task.
//!
//! Invariants:
//! - At most [`IO_THREADS_MAX`] threads, started when they are needed first.
//! - After [`IoThreads::close`], a thread ends as soon as nothing is queued. A read that outlives
//!   the store still gets its answer.
//! - A panic in a read ends that read alone.
//!
//! Not here: the decision what to read; writes, which the [`commit`](crate::commit) loop submits.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use futures_channel::oneshot;
use gesta_store::StoreError;

use crate::{
    mutations,
    sync::{Condvar, Mutex, MutexGuard, thread},
};

/// Maximum number of threads of one store. Devices answer several reads at a time; more threads
/// would take the processors from the application.
const IO_THREADS_MAX: usize = 4;

/// Work for an I/O thread. It delivers its answer itself.
type Work = Box<dyn FnOnce() + Send>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct IoThreads {
    state: Mutex<IoQueue>,
    work_arrived: Condvar,
    thread_ended: Condvar,
}

#[derive(Default)]
struct IoQueue {
    work: VecDeque<Work>,
    threads: usize,
    idle: usize,
    closing: bool,
}

impl fmt::Debug for IoQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, threads, idle, closing } = self;
        let mut queue = f.debug_struct("IoQueue");
        queue.field("work", &work.len()).field("threads", threads).field("idle", idle);
        queue.field("closing", closing).finish()
    }
}

impl IoThreads {
    /// Queues work for a thread that may wait. Does not wait itself.
    pub(crate) fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> IoAnswer<T> {
        let (sender, receiver) = oneshot::channel();
        let work: Work = Box::new(move || drop(sender.send(work())));
        let mut state = self.lock();
        state.work.push_back(work);
        // Idle threads that were notified already may not have woken up yet.
        if state.idle >= state.work.len() || state.threads >= IO_THREADS_MAX {
            drop(state);
            self.work_arrived.notify_one();
            return IoAnswer(Ok(receiver));
        }
        state.threads += 1;
        let Err(error) = self.start_thread() else { return IoAnswer(Ok(receiver)) };
        state.threads -= 1;
        if state.threads > 0 {
            // A thread that exists gets to it.
            return IoAnswer(Ok(receiver));
        }
        let refused = state.work.pop_back();
        drop(state);
        drop(refused);
        IoAnswer(Err(Some(error)))
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let enable_mutations = mutations::propagate();
        let threads = Arc::clone(self);
        let run = move || {
            enable_mutations();
            threads.run_thread();
        };
        thread::Builder::new().name("gesta-read".to_owned()).spawn(run).map(drop)
    }

    fn run_thread(&self) {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.work.pop_front() {
                drop(state);
                // Its sender is dropped with it, which is the answer.
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    tracing::error!("a read panicked; the store is otherwise not affected");
                }
                state = self.lock();
                continue;
            }
            if state.closing {
                break;
            }
            state.idle += 1;
            state = self.work_arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        state.threads -= 1;
        drop(state);
        self.thread_ended.notify_all();
    }

    /// Ends the threads once nothing is queued. Does not wait for them.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.work_arrived.notify_all();
    }

    /// Waits until all threads have ended. For threads that may wait, after [`close`](Self::close).
    pub(crate) fn join(&self) {
        let running = |state: &mut IoQueue| state.threads > 0;
        drop(self.thread_ended.wait_while(self.lock(), running));
    }

    fn lock(&self) -> MutexGuard<'_, IoQueue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer of work on an I/O thread, or the reason why there is no thread for it.
#[derive(Debug)]
pub(crate) struct IoAnswer<T>(Result<oneshot::Receiver<T>, Option<io::Error>>);

impl<T> Future for IoAnswer<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let receiver = match &mut self.0 {
            Ok(receiver) => receiver,
            Err(error) => {
                let source = error.take();
                return Poll::Ready(Err(StoreError::Unavailable {
                    reason: "the store cannot start a thread to read".to_owned(),
                    source: source.map(|source| Arc::new(source) as _),
                }));
            }
        };
        let panicked = |_| StoreError::unavailable("the read panicked; see the log");
        Pin::new(receiver).poll(cx).map(|answer| answer.map_err(panicked))
    }
}

#[cfg(test)]
#[cfg(not(gesta_shuttle))]
mod tests {
    use std::sync::mpsc;

    use gesta_store::conformance::block_on;

    use super::*;

    #[test]
    fn work_waits_for_no_other_work_while_there_are_threads_and_then_queues() {
        let threads = Arc::new(IoThreads::default());
        let gates: Vec<_> = (0..IO_THREADS_MAX).map(|_| mpsc::channel::<()>()).collect();
        let (senders, receivers): (Vec<_>, Vec<_>) = gates.into_iter().unzip();
        let held: Vec<_> =
            receivers.into_iter().map(|gate| threads.run(move || gate.recv().is_ok())).collect();
        let queued = threads.run(|| 7);
        assert_eq!(threads.lock().threads, IO_THREADS_MAX);
        for sender in senders {
            sender.send(()).unwrap();
        }
        assert_eq!(block_on(queued).unwrap(), 7);
        for answer in held {
            assert!(block_on(answer).unwrap());
        }
        threads.close();
        threads.join();
        assert_eq!(block_on(threads.run(|| 8)).unwrap(), 8, "a read may outlive the store");
        threads.join();
    }

    #[test]
    fn a_panic_ends_its_own_read_alone() {
        let threads = Arc::new(IoThreads::default());
        let panicked = threads.run(|| panic!("on purpose"));
        let panicked: Result<(), StoreError> = block_on(panicked);
        assert!(panicked.is_err());
        assert_eq!(block_on(threads.run(|| 1)).unwrap(), 1);
        threads.close();
        threads.join();
    }
}
