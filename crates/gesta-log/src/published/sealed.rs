//! The queue of sealed segments whose index is still in memory only.

use std::{collections::VecDeque, sync::PoisonError, time::Duration};

use crate::{
    index::CoveredSegment,
    mutations::mutated,
    sync::{Condvar, Mutex, MutexGuard},
};

/// Pause of the compactor after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Sealed segments in order, from the committer to the compactor.
#[derive(Debug, Default)]
pub(crate) struct SealedQueue {
    state: Mutex<SealedSegments>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct SealedSegments {
    waiting: VecDeque<CoveredSegment>,
    closing: bool,
}

impl SealedQueue {
    pub(crate) fn push(&self, segment: CoveredSegment) {
        self.lock().waiting.push_back(segment);
        self.arrived.notify_one();
    }

    /// Wakes the compactor for the last time: no segment will follow.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        if !mutated!(CompactorNotWokenOnClose) {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Blocks until there is a segment, or the queue is closed.
    pub(crate) fn wait(&self) {
        let nothing = |state: &mut SealedSegments| state.waiting.is_empty() && !state.closing;
        drop(self.arrived.wait_while(self.lock(), nothing));
    }

    /// Blocks for [`RETRY_AFTER`], or until the queue is closed.
    pub(crate) fn pause(&self) {
        let open = |state: &mut SealedSegments| !state.closing;
        drop(self.arrived.wait_timeout_while(self.lock(), RETRY_AFTER, open));
    }

    /// The oldest segment. It stays queued until [`pop`](Self::pop): a failed flush is retried.
    pub(crate) fn front(&self) -> Option<CoveredSegment> {
        self.lock().waiting.front().copied()
    }

    pub(crate) fn pop(&self) {
        self.lock().waiting.pop_front();
    }

    fn lock(&self) -> MutexGuard<'_, SealedSegments> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
