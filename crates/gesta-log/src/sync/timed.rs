//! Condition variables with time, which `shuttle` does not have: its timed waits never end by
//! themselves.
//!
//! Owns: the time of a schedule. It stands still but for a moment with each look at the clock, so
//! that whoever looks again and again gets somewhere, and jumps when a timed wait ends. Always
//! holds: a wait ends early only when whoever plays the schedule says so ([`end_first_wait`]), and
//! then it is as late as it was to wait. Not here: when that is.

use std::{
    cell::RefCell,
    sync::{Arc, LockResult, PoisonError},
    time::Duration,
};

use super::MutexGuard;

/// What a look at the clock takes.
const LOOK: Duration = Duration::from_micros(40);

thread_local! {
    /// All threads of a schedule are one of the system's.
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

/// Another schedule begins.
pub(crate) fn begin() {
    TIME.take();
}

/// What time it is, for a clock.
pub(crate) fn look() -> Duration {
    TIME.with_borrow_mut(|time| {
        time.now += LOOK;
        time.now
    })
}

/// Lets the wait that ends first end now, and says whether there is one.
pub(crate) fn end_first_wait() -> bool {
    let first = TIME.with_borrow_mut(|time| {
        let first = time.waits.iter().min_by_key(|wait| wait.until)?;
        time.now = time.now.max(first.until);
        Some(Arc::clone(&first.woken_by))
    });
    // Nobody may be asleep on it yet; then the wait is still the first one the next time.
    first.inspect(|condvar| condvar.notify_all()).is_some()
}

/// As that of the standard library.
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

    /// Says with the guard whether it was too long.
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

    /// Says with the guard whether it was too long.
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

/// Enters a wait, until it is dropped.
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
