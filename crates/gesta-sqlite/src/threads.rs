//! Threads for SQLite's work, which blocks: a small executor of futures.
//!
//! Owns: [`Threads`], and [`Bound`], a value that stays on them. A read model's writer, the
//! catalogue and the snapshots have one thread each; queries share a few.
//!
//! Invariants:
//! - A future that was handed over is polled on these threads only, and dropped there once it has
//!   ended, panicked or was abandoned by its caller.
//! - A pending future occupies no thread.
//! - A panic ends its future, not its thread.
//! - Threads start with the first work and end when idle.
//!
//! Not here: connections, and the decision which work goes to which threads (`store`).

use std::{
    any::Any,
    cell::Cell,
    collections::VecDeque,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use futures_channel::oneshot;
use gesta_store::DatabaseError;

/// Time after which an idle thread ends.
const IDLE_MAX: Duration = Duration::from_secs(10);

thread_local! {
    static IS_DATABASE_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` on the threads of this module, where statements may block.
pub(crate) fn is_database_thread() -> bool {
    IS_DATABASE_THREAD.get()
}

/// An executor with a bounded number of threads. Dropping it ends the threads after their work.
pub(crate) struct Threads {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    threads_max: usize,
    state: Mutex<State>,
    /// Notified when work is queued, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Task>>,
    threads: usize,
    idle: usize,
    /// Futures that are queued, running or pending.
    unfinished: usize,
    /// Callers that wait until none is unfinished.
    waiting: Vec<oneshot::Sender<()>>,
    is_closed: bool,
}

impl Threads {
    /// Creates an executor. Its threads have this name and start when there is work.
    pub(crate) fn new(name: &'static str, threads_max: usize) -> Self {
        assert!(threads_max > 0, "work needs a thread");
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { name, threads_max, state, changed }) }
    }

    /// Runs a future on these threads, or in place if the caller is on a database thread already.
    ///
    /// If the returned future is dropped, the work is dropped on its thread, before its next poll.
    ///
    /// # Errors
    /// [`DatabaseError::Rejected`] when the work panics. [`DatabaseError::Unavailable`] when no
    /// thread can be started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        if is_database_thread() {
            return Ok(work.await);
        }
        let (mut reply, answer) = oneshot::channel();
        self.spawn(async move {
            let mut work = pin!(work);
            let outcome = poll_fn(|context| {
                if reply.poll_canceled(context).is_ready() {
                    return Poll::Ready(None);
                }
                // Unwind safety: the work is not polled again after a panic.
                match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                    Ok(polled) => polled.map(|value| Some(Ok(value))),
                    Err(panic) => Poll::Ready(Some(Err(panic_message(panic.as_ref())))),
                }
            });
            if let Some(outcome) = outcome.await {
                // A caller that has just gone leaves the result to be dropped here.
                let _ = reply.send(outcome);
            }
        });
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(message)) => {
                Err(DatabaseError::rejected(format!("work on a read model panicked: {message}")))
            }
            Err(oneshot::Canceled) => Err(DatabaseError::unavailable(format!(
                "no thread {} can be started; raise the limit of threads of the process",
                self.shared.name
            ))),
        }
    }

    /// Runs a future on these threads without an answer.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let unfinished = Unfinished::count(&self.shared);
        let work = Mutex::new(Some((Box::pin(work) as BoxedWork, unfinished)));
        let shared = Arc::clone(&self.shared);
        Task { shared, work, is_queued: AtomicBool::new(false) }.queue();
    }

    /// Waits until no work is unfinished.
    pub(crate) async fn until_idle(&self) {
        let (done, idle) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if state.unfinished == 0 {
                return;
            }
            state.waiting.push(done);
        }
        // The sender is never dropped before it is used: the count falls to zero.
        let _ = idle.await;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.changed.notify_all();
    }
}

/// A value that is used and dropped on database threads, wherever its owner is.
pub(crate) struct Bound<T: Send + 'static> {
    /// `None` only while it is given away.
    value: Option<T>,
    threads: Arc<Threads>,
}

impl<T: Send + 'static> Bound<T> {
    pub(crate) fn new(value: T, threads: Arc<Threads>) -> Self {
        Self { value: Some(value), threads }
    }

    /// Returns the value, for callers that may block.
    pub(crate) fn get(&self) -> &T {
        self.value.as_ref().expect("a value is given away with its owner")
    }

    /// Runs work with the value. Returns both.
    pub(crate) async fn run<R: Send + 'static>(
        self,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<(Self, R), DatabaseError> {
        let threads = Arc::clone(&self.threads);
        let run = async move {
            let outcome = work(self.get());
            (self, outcome)
        };
        threads.run(run).await
    }

    /// Runs the last work with the value, which is dropped before the work is answered.
    pub(crate) async fn finish<R: Send + 'static>(
        mut self,
        work: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Result<R, DatabaseError> {
        let threads = Arc::clone(&self.threads);
        let run = async move {
            let outcome = work(self.get());
            drop(self.value.take());
            outcome
        };
        threads.run(run).await
    }
}

impl<T: Send + 'static> Drop for Bound<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        if !is_database_thread() {
            self.threads.spawn(async move { drop(value) });
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code of callers runs under this lock, so a panic cannot leave it inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, task: Arc<Task>) {
        let mut state = self.state();
        state.ready.push_back(task);
        // Each idle thread takes one task. More tasks than those need more threads.
        if state.ready.len() <= state.idle || state.threads == self.threads_max {
            drop(state);
            self.changed.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        self.start_thread();
    }

    fn start_thread(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            IS_DATABASE_THREAD.set(true);
            while let Some(task) = shared.next() {
                task.run();
            }
        });
        if started.is_ok() {
            return;
        }
        let mut state = self.state();
        state.threads -= 1;
        // Another thread takes the work over, unless there is none: dropping it then answers the
        // callers with an error.
        let left =
            if state.threads == 0 { std::mem::take(&mut state.ready) } else { VecDeque::new() };
        drop(state);
        left.iter().for_each(|task| task.discard());
    }

    /// Waits for work. Returns `None` when the thread should end.
    fn next(&self) -> Option<Arc<Task>> {
        let mut state = self.state();
        loop {
            if let Some(task) = state.ready.pop_front() {
                return Some(task);
            }
            if state.is_closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let waited = self.changed.wait_timeout(state, IDLE_MAX);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.ready.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

type BoxedWork = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that was handed over.
struct Task {
    shared: Arc<Shared>,
    /// `None` once it has ended.
    work: Mutex<Option<(BoxedWork, Unfinished)>>,
    is_queued: AtomicBool,
}

impl Task {
    fn queue(self) {
        Arc::new(self).wake();
    }

    fn run(self: &Arc<Self>) {
        // Before the poll, so that a wake-up during it queues the task again.
        self.is_queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(self));
        // A caller's destructor may panic outside of the work's own `catch_unwind`.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut slot = self.work();
            let Some((work, _)) = slot.as_mut() else { return };
            if work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *slot = None;
            }
        }));
        if polled.is_err() {
            self.discard();
        }
    }

    /// Drops the work. The caller gets an error.
    fn discard(&self) {
        let work = self.work().take();
        // A second panic would end the thread.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
    }

    fn work(&self) -> MutexGuard<'_, Option<(BoxedWork, Unfinished)>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(&self.shared);
            shared.push(self);
        }
    }
}

/// Counts a future until it is dropped.
struct Unfinished(Arc<Shared>);

impl Unfinished {
    fn count(shared: &Arc<Shared>) -> Self {
        shared.state().unfinished += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.unfinished -= 1;
        let waiting =
            if state.unfinished == 0 { std::mem::take(&mut state.waiting) } else { Vec::new() };
        drop(state);
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}
