//! The last committed position, as this process knows it.
//!
//! Owns: the value, and the wait for it to rise. Not here: the tasks that raise it
//! ([`announcements`](crate::subscribe::announcements), and the committer of appends).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, watch};

/// The last position that is known to be committed. It only rises.
#[derive(Clone, Debug)]
pub(crate) struct KnownHead {
    position: watch::Sender<u64>,
    /// Another process says that it has appended.
    pub(crate) announced: Arc<Notify>,
    listening: Arc<AtomicBool>,
}

impl KnownHead {
    pub(crate) fn new() -> Self {
        Self {
            position: watch::Sender::new(0),
            announced: Arc::default(),
            listening: Arc::default(),
        }
    }

    pub(crate) fn get(&self) -> u64 {
        *self.position.borrow()
    }

    pub(crate) fn raise(&self, position: u64) {
        self.position.send_if_modified(|known| {
            let rises = position > *known;
            *known = position.max(*known);
            rises
        });
    }

    /// Waits until the head is beyond a position.
    pub(crate) async fn beyond(&self, position: u64) {
        let mut head = self.position.subscribe();
        // The sender lives as long as this value.
        drop(head.wait_for(|head| *head > position).await);
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.position.receiver_count() > 0
    }

    pub(crate) fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }
}
