//! Condition variables with timeouts and a virtual clock, for schedules of `shuttle`, whose own
//! timed waits never time out.
//!
//! The clock advances a little with each reading, so that polling loops make progress, and jumps to
//! the deadline of a wait that times out. A wait times out only when the scheduler decides so, by
//! [`end_first_wait`].

use std::{
    cell::RefCell,
    sync::{Arc, LockResult, PoisonError},
    time::Duration,
};

use super::MutexGuard;

/// Advance of the clock with each reading.
const LOOK: Duration = Duration::from_micros(40);

thread_local! {
    /// All threads of a schedule run on one thread of the system.
    static TIME: RefCell<Time> = RefCell::default();
}

#[derive(Debug, Default)]
struct Time {
    now: Duration,
    waits: Vec<Wait>,
    begun: u64,
}

/// A timed wait that has not returned.
#[derive(Debug)]
struct Wait {
    number: u64,
    until: Duration,
    woken_by: Arc<shuttle::sync::Condvar>,
}

/// Resets the clock for the next schedule.
pub(crate) fn begin() {
    TIME.take();
}

/// Reads the clock.
pub(crate) fn look() -> Duration {
    TIME.with_borrow_mut(|time| {
        time.now += LOOK;
        time.now
    })
}

/// Ends the wait with the earliest deadline. Returns whether there is one.
pub(crate) fn end_first_wait() -> bool {
    let first = TIME.with_borrow_mut(|time| {
        let first = time.waits.iter().min_by_key(|wait| wait.until)?;
        time.now = time.now.max(first.until);
        Some(Arc::clone(&first.woken_by))
    });
    // Its thread may not be parked yet; then the wait is still the first one at the next call.
    first.inspect(|condvar| condvar.notify_all()).is_some()
}

/// A condition variable with the interface of the standard library's.
#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

impl Condvar {
    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    pub(crate) fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait_while(guard, condition)
    }

    /// Returns the guard and whether the wait timed out.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        time: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let wait = Waiting::begin(&self.0, time);
        let woken = self.0.wait(guard);
        let late = wait.is_late();
        woken
            .map(|guard| (guard, late))
            .map_err(|error| PoisonError::new((error.into_inner(), late)))
    }

    /// Returns the guard and whether the wait timed out.
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let wait = Waiting::begin(&self.0, time);
        while condition(&mut guard) {
            if wait.is_late() {
                return Ok((guard, true));
            }
            guard = self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, false))
    }
}

/// A registered wait; dropping it removes the registration.
struct Waiting {
    number: u64,
    until: Duration,
}

impl Waiting {
    fn begin(condvar: &Arc<shuttle::sync::Condvar>, time_left: Duration) -> Self {
        TIME.with_borrow_mut(|time| {
            time.begun += 1;
            let (number, until) = (time.begun, time.now + time_left);
            time.waits.push(Wait { number, until, woken_by: Arc::clone(condvar) });
            Self { number, until }
        })
    }

    fn is_late(&self) -> bool {
        TIME.with_borrow(|time| time.now >= self.until)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        TIME.with_borrow_mut(|time| time.waits.retain(|wait| wait.number != self.number));
    }
}
