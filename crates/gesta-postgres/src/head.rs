//! The last committed position, as this process knows it.
//!
//! Owns: the value, and the wait for it to rise. It only rises, until the history of the server
//! changes: then it starts again, and what was learned from the server before is ignored. Not here:
//! the tasks that raise it ([`announcements`](crate::subscribe::announcements), and the committer
//! of appends).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, watch};

/// Reads the last committed position.
pub(crate) const HEAD: &str = "SELECT coalesce(max(e.position), 0) FROM {schema}.events e";

/// The last position that is known to be committed.
#[derive(Clone, Debug)]
pub(crate) struct KnownHead {
    seen: watch::Sender<SeenHead>,
    /// Another process says that it has appended.
    pub(crate) announced: Arc<Notify>,
    listening: Arc<AtomicBool>,
}

/// A head, and the history of the server that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenHead {
    /// Number of changes of the server's history.
    changes: u64,
    pub(crate) position: u64,
}

impl SeenHead {
    /// Returns `true` if both were seen in the same history of the server.
    pub(crate) fn is_of_history(self, other: Self) -> bool {
        self.changes == other.changes
    }
}

impl KnownHead {
    pub(crate) fn new() -> Self {
        Self {
            seen: watch::Sender::new(SeenHead::default()),
            announced: Arc::default(),
            listening: Arc::default(),
        }
    }

    pub(crate) fn get(&self) -> SeenHead {
        *self.seen.borrow()
    }

    /// Raises the head to a position that the server told after `before` was seen. Has no effect if
    /// the history changed in between.
    pub(crate) fn raise(&self, before: SeenHead, position: u64) {
        self.seen.send_if_modified(|known| {
            let rises = known.changes == before.changes && position > known.position;
            if rises {
                known.position = position;
            }
            rises
        });
    }

    /// Starts with the head of another history, which may be lower.
    pub(crate) fn restart(&self, position: u64) {
        self.seen.send_modify(|known| {
            *known = SeenHead { changes: known.changes + 1, position };
        });
    }

    /// Waits until the head is beyond one that was seen, or belongs to another history.
    pub(crate) async fn beyond(&self, seen: SeenHead) {
        let mut head = self.seen.subscribe();
        let is_beyond =
            |head: &SeenHead| head.changes != seen.changes || head.position > seen.position;
        // The sender lives as long as this value.
        drop(head.wait_for(is_beyond).await);
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.seen.receiver_count() > 0
    }

    pub(crate) fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }
}
