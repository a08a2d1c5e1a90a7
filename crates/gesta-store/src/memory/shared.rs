//! The state that the clones of a store, its reads and its subscriptions share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{consumers::Consumers, log::Log};
use crate::{Incarnation, RecordedAt};

/// Maximum number of events in a page of a read or a subscription.
pub(super) const PAGE_EVENTS_MAX: usize = 256;

/// State shared by clones, reads and subscriptions.
pub(super) struct Shared {
    pub(super) log: Mutex<Log>,
    pub(super) consumers: Consumers,
    pub(super) clock: Box<dyn Fn() -> RecordedAt + Send + Sync>,
    pub(super) incarnation: Incarnation,
}

impl Shared {
    /// Ignores poisoning: the log changes only after all checks, so a panic in another thread
    /// cannot leave half an append behind.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> RecordedAt {
        (self.clock)()
    }
}
