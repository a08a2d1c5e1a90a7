//! A clock that tests move.

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, oneshot},
    task::yield_now,
};

use crate::{Clock, Sleep};

/// A clock that stands still until a test moves it. Clones share the time.
///
/// Timers, timeouts and waits of the application sleep until the test moves the clock. The pause
/// before a retry does not ([`Clock::pause`]): it yields once, so that competing commands make
/// progress without the test.
///
/// ```
/// use std::time::Duration;
/// use gesta::{Clock, testing::VirtualClock};
///
/// # gesta::store::conformance::block_on(async {
/// let clock = VirtualClock::new();
/// let start = clock.now();
/// let hour = Duration::from_secs(3_600);
/// let slept = clock.sleep(hour);
/// clock.until_asleep(hour).await;
/// clock.advance(hour);
/// slept.await;
/// assert_eq!(clock.now(), start + hour);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<ClockState>,
    fell_asleep: Notify,
}

#[derive(Debug)]
struct ClockState {
    now: SystemTime,
    asleep: Vec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    until: SystemTime,
    wake: oneshot::Sender<()>,
}

impl Default for ClockState {
    /// 2001-09-09T01:46:40Z, a time whose seconds are easy to recognize.
    fn default() -> Self {
        Self { now: UNIX_EPOCH + Duration::from_secs(1_000_000_000), asleep: Vec::new() }
    }
}

impl VirtualClock {
    /// Creates a clock at a fixed time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time and wakes due sleepers in the order of their deadlines.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state();
        state.now += duration;
        let now = state.now;
        // Take the sleepers out first, and wake them without holding the lock.
        let mut awake: Vec<Sleeper> =
            state.asleep.extract_if(.., |sleeper| sleeper.until <= now).collect();
        drop(state);
        awake.sort_by_key(|sleeper| sleeper.until);
        for sleeper in awake {
            // Fails if the sleeper was dropped, which needs no wake-up.
            let _ = sleeper.wake.send(());
        }
    }

    /// Returns the earliest deadline of the sleepers, or `None` without any.
    #[must_use]
    pub fn next_wake(&self) -> Option<SystemTime> {
        let mut state = self.state();
        state.asleep.retain(|sleeper| !sleeper.wake.is_closed());
        state.asleep.iter().map(|sleeper| sleeper.until).min()
    }

    /// Waits until a sleeper has a deadline within a duration. Choose it shorter than the timeouts
    /// in use, since these sleep as well.
    pub async fn until_asleep(&self, for_at_most: Duration) {
        loop {
            let fell_asleep = self.shared.fell_asleep.notified();
            let latest = self.now() + for_at_most;
            if self.next_wake().is_some_and(|wake| wake <= latest) {
                return;
            }
            fell_asleep.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, ClockState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> SystemTime {
        self.state().now
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let until = self.now() + duration;
        self.sleep_until(until)
    }

    fn pause(&self, _: Duration) -> Sleep {
        Box::pin(yield_now())
    }

    fn sleep_until(&self, until: SystemTime) -> Sleep {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state();
        if until <= state.now {
            return Box::pin(ready(()));
        }
        state.asleep.push(Sleeper { until, wake });
        drop(state);
        self.shared.fell_asleep.notify_waiters();
        Box::pin(async move {
            // The clock was dropped, so the time never advances.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
