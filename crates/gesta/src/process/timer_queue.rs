//! The pending timers of one manager, by time.
//!
//! Shared by the manager, which fires them, and by whoever counts those that are overdue. A count
//! holds the lock for as long as it takes to pass the overdue timers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::{RecordedAt, StreamName};

use super::history::EffectId;

/// A timer with the stream of its instance.
type QueuedTimer = (RecordedAt, StreamName, EffectId);

/// Pending timers, the earliest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimerQueue(Arc<Mutex<BTreeSet<QueuedTimer>>>);

impl TimerQueue {
    pub(super) fn extend(&self, timers: impl Iterator<Item = QueuedTimer>) {
        self.lock().extend(timers);
    }

    pub(super) fn remove(&self, timer: &QueuedTimer) {
        self.lock().remove(timer);
    }

    /// Takes the earliest timer, if it is due.
    pub(super) fn take_due(&self, now: RecordedAt) -> Option<QueuedTimer> {
        let mut timers = self.lock();
        if timers.first().is_none_or(|(due, ..)| *due > now) {
            return None;
        }
        timers.pop_first()
    }

    /// Returns the time of the earliest timer.
    pub(super) fn next(&self) -> Option<RecordedAt> {
        self.lock().first().map(|(due, ..)| *due)
    }

    /// Returns the earliest timers, at most so many.
    pub(super) fn first(&self, limit: usize) -> Vec<QueuedTimer> {
        self.lock().iter().take(limit).cloned().collect()
    }

    /// Returns the number of timers that were due by a time.
    pub(crate) fn due_by(&self, time: RecordedAt) -> usize {
        self.lock().iter().take_while(|(due, ..)| *due <= time).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<QueuedTimer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
