//! How answers reach those who asked.
//!
//! Owns: both ways to wait for an answer, and the waking. Waking whoever waits costs far more than
//! everything else about an answer. So threads that wait for the same batch of appends sleep on
//! one bell, which wakes all of them by one call; and futures that were answered help to wake
//! the rest. Always holds: everybody who asked gets exactly one answer, even if the engine ends
//! before it has one. Not here: what the answer is ([`writer`](crate::writer)).

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use futures_channel::oneshot;
use gesta_store::{Appended, StoreError};

use crate::{
    planted::{self, Bug},
    sync::{Condvar, Mutex, MutexGuard},
};

/// The answer to an append.
pub(crate) type Answered = Result<Appended, StoreError>;

/// Futures that are answered before something else is looked at.
const DELIVERED_AT_ONCE_MAX: usize = 4;
/// Batches whose threads sleep apart. More than are ever on their way at the same time, so that
/// few are woken for another batch's answers.
const BELLS: usize = 8;

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Reply {
    /// To a future.
    Future(oneshot::Sender<Answered>),
    /// To a thread.
    Thread(Place),
}

/// Where an answer to a thread goes.
#[derive(Debug)]
pub(crate) struct Place {
    slot: Arc<Slot>,
    filled: bool,
    /// Whom to wake for it; nobody, if the thread drives the engine itself.
    bell: Option<Arc<Bell>>,
}

#[derive(Debug, Default)]
struct Slot(Mutex<Option<Answered>>);

/// What a thread waits by.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Slot>);

/// What the threads of one batch sleep on.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    held: Mutex<()>,
    rung: Condvar,
}

impl Reply {
    /// For a thread: the place of the answer, and what to wait by.
    pub(crate) fn to_thread() -> (Self, Waiting) {
        let slot = Arc::new(Slot::default());
        let place = Place { slot: Arc::clone(&slot), filled: false, bell: None };
        (Self::Thread(place), Waiting(slot))
    }

    /// Which bell a thread sleeps on; it does not drive the engine.
    pub(crate) fn wakes_by(&mut self, bell: &Arc<Bell>) {
        if let Self::Thread(place) = self {
            place.bell = Some(Arc::clone(bell));
        }
    }
}

impl Place {
    /// Puts the answer there. Who sleeps is woken by the bell, which is still to be rung.
    fn fill(&mut self, answer: Answered) -> Option<&Arc<Bell>> {
        *self.slot.lock() = Some(answer);
        self.filled = true;
        self.bell.as_ref()
    }
}

impl Drop for Place {
    /// Nobody waits in vain.
    fn drop(&mut self) {
        if !self.filled {
            let lost = Err(StoreError::unavailable("the writer ended before it answered"));
            if let Some(bell) = self.fill(lost) {
                bell.ring();
            }
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Answered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The answer, if it is there.
    pub(crate) fn answer(&self) -> Option<Answered> {
        self.0.lock().take()
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Sleeps until it is there.
    pub(crate) fn wait(&self, bell: &Bell) -> Answered {
        let mut held = bell.held.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(answer) = self.answer() {
                return answer;
            }
            held = bell.rung.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Bell {
    /// Wakes everybody who sleeps on it.
    fn ring(&self) {
        // Whoever looked before its answer was there sleeps by now.
        if !planted::is(Bug::BellRungTooEarly) {
            drop(self.held.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.rung.notify_all();
    }
}

/// The bells, batch after batch.
#[derive(Debug)]
pub(crate) struct Bells {
    bells: [Arc<Bell>; BELLS],
    present: usize,
}

impl Default for Bells {
    fn default() -> Self {
        Self { bells: std::array::from_fn(|_| Arc::default()), present: 0 }
    }
}

impl Bells {
    /// For whoever is queued now.
    pub(crate) fn present(&self) -> &Arc<Bell> {
        let [first, ..] = &self.bells;
        self.bells.get(self.present).unwrap_or(first)
    }

    /// What was queued is a batch.
    pub(crate) fn next(&mut self) {
        self.present = (self.present + 1) % BELLS;
    }
}

/// An answer and to whom it goes.
type Delivery = (Reply, Answered);

/// Answers on their way.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    futures: Mutex<VecDeque<(oneshot::Sender<Answered>, Answered)>>,
}

impl Deliveries {
    /// Gives threads their answers; those of futures wait for [`help`](Self::help).
    pub(crate) fn push(&self, deliveries: Vec<Delivery>) {
        let mut bells: Vec<Arc<Bell>> = Vec::new();
        let mut futures = None;
        for (reply, answer) in deliveries {
            match reply {
                Reply::Future(sender) => {
                    futures.get_or_insert_with(|| self.lock()).push_back((sender, answer));
                }
                Reply::Thread(mut place) => {
                    if let Some(bell) = place.fill(answer)
                        && !bells.iter().any(|known| Arc::ptr_eq(known, bell))
                    {
                        bells.push(Arc::clone(bell));
                    }
                }
            }
        }
        drop(futures);
        if planted::is(Bug::BellForgotten) {
            bells.clear();
        }
        bells.iter().for_each(|bell| bell.ring());
    }

    /// Answers some futures; says whether there was any.
    pub(crate) fn help(&self) -> bool {
        let mut taken: [Option<_>; DELIVERED_AT_ONCE_MAX] = Default::default();
        {
            let mut waiting = self.lock();
            taken.iter_mut().for_each(|place| *place = waiting.pop_front());
        }
        let mut helped = false;
        for (sender, answer) in taken.into_iter().flatten() {
            // Whoever asked may be gone; the append happened all the same.
            drop(sender.send(answer));
            helped = true;
        }
        helped
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(oneshot::Sender<Answered>, Answered)>> {
        self.futures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
