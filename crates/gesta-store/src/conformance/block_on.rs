//! Runs a future on the calling thread, without a runtime.
//!
//! The thread parks until the waker of the future is called. With a deadline, the wait ends in a
//! panic with a message, never in a hang.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
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
    drive(future, || {
        thread::park();
        true
    })
    .expect("waits without a deadline")
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
    // Measure from the first poll, which may take time itself.
    let began = now();
    let wait = || {
        // A thread may unpark for no reason, so measure again each time.
        let left = limit.saturating_sub(now().duration_since(began));
        thread::park_timeout(left);
        !left.is_zero()
    };
    match drive(future, wait) {
        Some(output) => output,
        None => panic!("no answer within {} ms", limit.as_millis()),
    }
}

/// Polls the future until it is ready or `wait` returns `false`.
fn drive<T>(future: impl Future<Output = T>, mut wait: impl FnMut() -> bool) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if !wait() {
            return None;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "bounds a test's wait; no outcome depends on it")]
fn now() -> Instant {
    Instant::now()
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
