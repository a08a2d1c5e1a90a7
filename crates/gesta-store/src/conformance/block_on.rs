//! Runs a future on the calling thread, without a runtime.
//!
//! The thread parks until the waker of the future is called. With a deadline, the wait ends in a
//! panic with a message, never in a hang; the deadline works under any executor, because a thread
//! of its own wakes the future.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

/// Runs a future to completion on the calling thread.
///
/// Blocks the thread. Futures that need a runtime, such as those of most network drivers, have to
/// enter it themselves.
///
/// ```
/// assert_eq!(gesta_store::conformance::block_on(async { 6 * 7 }), 42);
/// ```
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

/// Runs a future to completion on the calling thread, for tests that must not hang.
///
/// # Panics
///
/// If the future takes longer than `limit`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use gesta_store::conformance::block_on_within;
///
/// let answer = async { "in time" };
/// assert_eq!(block_on_within(Duration::from_secs(1), answer), "in time");
/// ```
#[track_caller]
pub fn block_on_within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    block_on(deadline(limit, future))
}

/// Waits for a future, and panics if it takes longer than `limit`.
pub(super) async fn deadline<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut alarm = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        // The thread of the alarm is started for futures that wait only.
        let alarm = alarm.get_or_insert_with(|| Alarm::start(limit));
        assert!(!alarm.rings(context.waker()), "no answer within {} ms", limit.as_millis());
        Poll::Pending
    })
    .await
}

/// A thread that wakes a future when its time is over. Ends when it is dropped.
struct Alarm(Arc<AlarmClock>);

#[derive(Default)]
struct AlarmClock {
    state: Mutex<AlarmState>,
    stopped: Condvar,
}

#[derive(Default)]
struct AlarmState {
    rings: bool,
    stopped: bool,
    waker: Option<Waker>,
}

impl Alarm {
    fn start(limit: Duration) -> Self {
        let clock = Arc::<AlarmClock>::default();
        let shared = Arc::clone(&clock);
        thread::spawn(move || {
            let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = |state: &mut AlarmState| !state.stopped;
            let waited = shared.stopped.wait_timeout_while(state, limit, waiting);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.rings = true;
            if let Some(waker) = state.waker.take() {
                drop(state);
                waker.wake();
            }
        });
        Self(clock)
    }

    /// Returns `true` if the time is over; otherwise the waker is woken when it is.
    fn rings(&self, waker: &Waker) -> bool {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waker = Some(waker.clone());
        state.rings
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        state.waker = None;
        self.0.stopped.notify_one();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn},
        panic::catch_unwind,
        sync::mpsc,
    };

    use super::*;

    #[test]
    fn a_wake_from_another_thread_is_heard() {
        let (wakers, parked) = mpsc::channel::<Waker>();
        let other = thread::spawn(move || parked.recv().expect("polled once").wake());
        let mut polls = 0;
        let answered = block_on(poll_fn(|context| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(polls);
            }
            wakers.send(context.waker().clone()).expect("the other thread waits");
            Poll::Pending
        }));
        assert!(answered > 1);
        other.join().expect("woke the future");
    }

    #[test]
    fn a_future_that_never_ends_is_given_up_with_a_message() {
        let given_up = catch_unwind(|| block_on_within(Duration::from_millis(1), pending::<()>()));
        let message = given_up.expect_err("there is no answer");
        assert_eq!(message.downcast_ref::<String>().expect("a text"), "no answer within 1 ms");
    }
}
