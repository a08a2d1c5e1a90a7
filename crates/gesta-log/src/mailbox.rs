//! What callers and the disk leave for whoever drives the engine, and who that is.
//!
//! Owns: the queue in front of the writer, and the driver's seat. One thread drives at a time: the
//! engine's own, or one that appends and found the seat free. The latter writes its append itself,
//! so that nobody has to be woken for it, and leaves once it has its answer. Always holds: whatever
//! arrives while the seat is free wakes the engine's thread, unless it takes the seat itself;
//! nobody leaves the seat with something undone that the engine's thread does not learn of.
//! Not here: what a driver does ([`drive`](crate::drive)).

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use gesta_store::{Overload, StoreError};

use crate::{
    answers::{Bell, Bells},
    clock::Clock,
    planted::{self, Bug},
    sync::{Condvar, Mutex, MutexGuard, thread},
    writer::{Request, Task},
};

/// When the engine's thread looks again that wanted to take a taken seat. Sooner than what is due
/// after an append (`Options::close_after`), so that nobody has to wake it who appends and leaves.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Letters>,
    /// For the driver.
    arrived: Condvar,
    /// For the engine's thread while it does not drive.
    needed: Condvar,
}

#[derive(Debug, Default)]
struct Letters {
    requests: Vec<Request>,
    completions: Vec<(Task, io::Result<()>)>,
    queued_bytes: usize,
    stop: bool,
    ended: bool,
    bells: Bells,
    /// How many requests are worth waking the driver for.
    wanted: usize,
    /// Whether the driver has to be woken.
    asleep: bool,
    /// Whether the seat is taken.
    driven: bool,
    /// When somebody has to drive although nothing arrived.
    due: Option<Duration>,
    /// Until when the engine's thread sleeps, if it does; without end, if that is none.
    idle: Option<Option<Duration>>,
}

/// What became of an offer.
pub(crate) enum Offered {
    /// The caller sits in the driver's seat.
    Drive,
    /// Somebody else will drive; who wants to sleep until the answer sleeps on this.
    Wait(Arc<Bell>),
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) requests: Vec<Request>,
    pub(crate) completions: Vec<(Task, io::Result<()>)>,
    pub(crate) stop: bool,
}

impl Mailbox {
    /// Queues an append, unless there is no room or nobody to take it. Takes the seat where it is
    /// free and the caller would.
    pub(crate) fn offer(
        &self,
        mut request: Request,
        bytes_max: usize,
        would_drive: bool,
    ) -> Result<Offered, StoreError> {
        let mut letters = self.lock();
        if letters.ended || letters.stop {
            return Err(StoreError::Stopped { reason: "it was closed".to_owned() });
        }
        let queued_bytes = letters.queued_bytes + request.offer.bytes();
        if queued_bytes > bytes_max && letters.queued_bytes > 0 {
            let queued_bytes = letters.queued_bytes;
            return Err(StoreError::Overloaded(Overload::Queue { queued_bytes, max: bytes_max }));
        }
        letters.queued_bytes = queued_bytes;
        if would_drive && !letters.driven {
            letters.driven = true;
            letters.requests.push(request);
            return Ok(Offered::Drive);
        }
        let bell = Arc::clone(letters.bells.present());
        request.reply.wakes_by(&bell);
        letters.requests.push(request);
        self.wake(letters);
        Ok(Offered::Wait(bell))
    }

    pub(crate) fn stop(&self) {
        let mut letters = self.lock();
        letters.stop = true;
        self.wake(letters);
    }

    /// The engine is gone: gives back what nobody will take.
    pub(crate) fn end(&self) -> Vec<Request> {
        let mut letters = self.lock();
        letters.ended = true;
        std::mem::take(&mut letters.requests)
    }

    pub(crate) fn complete(&self, task: Task, result: io::Result<()>) {
        let mut letters = self.lock();
        letters.completions.push((task, result));
        self.wake(letters);
    }

    pub(crate) fn receive(&self) -> Received {
        let mut letters = self.lock();
        if !letters.requests.is_empty() {
            letters.bells.next();
        }
        Received {
            requests: std::mem::take(&mut letters.requests),
            completions: std::mem::take(&mut letters.completions),
            stop: std::mem::take(&mut letters.stop),
        }
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.lock().queued_bytes -= bytes;
    }

    /// Whether nothing has arrived; if so, says what is worth waking the driver for.
    pub(crate) fn is_empty(&self, wanted: usize) -> bool {
        let mut letters = self.lock();
        letters.wanted = wanted;
        letters.is_empty()
    }

    /// Wakes whoever has to see what arrived, if it is worth it.
    fn wake(&self, mut letters: MutexGuard<'_, Letters>) {
        if letters.driven {
            if letters.asleep && letters.are_enough() {
                letters.asleep = planted::is(Bug::DriverNotWoken);
                drop(letters);
                self.arrived.notify_one();
            }
        } else if !planted::is(Bug::ThreadNotWoken) && letters.idle.take().is_some() {
            drop(letters);
            self.needed.notify_one();
        }
    }

    /// For the driver: waits until there is something worth waking for, or for so long. Looks again
    /// and again for `awake` before it sleeps: a client that appends again at once is back by
    /// then, and being woken takes longer than its whole append.
    pub(crate) fn wait(&self, clock: &dyn Clock, at_most: Option<Duration>, awake: Duration) {
        let begun = clock.elapsed();
        let awake = at_most.map_or(awake, |time| time.min(awake));
        loop {
            if self.lock().are_enough() {
                return;
            }
            if clock.elapsed() - begun >= awake {
                break;
            }
            thread::yield_now();
        }
        let left = at_most.map(|time| time.saturating_sub(clock.elapsed() - begun));
        if left == Some(Duration::ZERO) {
            return;
        }
        let mut letters = self.lock();
        letters.asleep = planted::is(Bug::SleepWithoutALook) || !letters.are_enough();
        let asleep = |letters: &mut Letters| letters.asleep;
        let mut letters = match left {
            Some(time) => {
                let woken = self.arrived.wait_timeout_while(letters, time, asleep);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let woken = self.arrived.wait_while(letters, asleep);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
        letters.asleep = false;
    }

    /// For the engine's thread: waits until it has to drive, and takes the seat. Looks again and
    /// again for `awake` before it sleeps.
    pub(crate) fn wait_for_seat(&self, clock: &dyn Clock, awake: Duration) {
        let begun = clock.elapsed();
        loop {
            let now = clock.elapsed();
            let mut letters = self.lock();
            if letters.needs_driver(now) {
                letters.driven = true;
                return;
            }
            let others_drive = letters.driven;
            drop(letters);
            if others_drive || now - begun >= awake {
                break;
            }
            thread::yield_now();
        }
        let mut letters = self.lock();
        loop {
            let now = clock.elapsed();
            if letters.needs_driver(now) {
                letters.driven = true;
                letters.idle = None;
                return;
            }
            let until = if letters.driven { Some(now + LOOK_AGAIN) } else { letters.due };
            letters.idle = Some(until);
            letters = match until {
                Some(until) => {
                    let woken = self.needed.wait_timeout(letters, until.saturating_sub(now));
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.needed.wait(letters).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// For the driver: leaves the seat. The engine's thread learns what is left to do, and when
    /// something is due.
    pub(crate) fn leave_seat(&self, due: Option<Duration>) {
        let mut letters = self.lock();
        letters.driven = false;
        let due = due.filter(|_| !planted::is(Bug::DueTimeForgotten));
        letters.due = due;
        let late =
            |until: Option<Duration>| due.is_some_and(|due| until.is_none_or(|until| due < until));
        let needed = !letters.is_empty() && !planted::is(Bug::SeatLeftInSilence);
        if letters.idle.is_some_and(|until| needed || late(until)) {
            letters.idle = None;
            drop(letters);
            self.needed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letters {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.completions.is_empty() && !self.stop
    }

    fn are_enough(&self) -> bool {
        self.requests.len() >= self.wanted.max(1) || !self.completions.is_empty() || self.stop
    }

    /// Whether somebody has to drive, and nobody does.
    fn needs_driver(&self, now: Duration) -> bool {
        !self.driven && (!self.is_empty() || self.due.is_some_and(|due| due <= now))
    }
}
