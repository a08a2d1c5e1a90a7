//! The queue of spans before the thread that sends them.
//!
//! Invariant: a call never waits for a collector. Spans that do not fit into the queue are dropped
//! and counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use super::finished_span::FinishedSpan;

/// Maximum number of spans that wait.
const QUEUE_MAX: usize = 8_192;

/// The sending half of the queue. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct SpanQueue {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(super) enum Message {
    Span(Box<FinishedSpan>),
    /// Wakes the thread, so that it sees that the end was asked for.
    Finish,
}

impl SpanQueue {
    /// Creates a queue, with the half of the thread.
    pub(super) fn new() -> (Self, Receiver<Message>) {
        let (messages, received) = sync_channel(QUEUE_MAX);
        (Self { messages, dropped: Arc::default() }, received)
    }

    pub(super) fn push(&self, span: FinishedSpan) {
        match self.messages.try_send(Message::Span(Box::new(span))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Wakes the thread. One whose queue is full does not wait for a message.
    pub(super) fn wake(&self) {
        drop(self.messages.try_send(Message::Finish));
    }

    /// Returns the number of dropped spans, which is shared.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

impl Message {
    pub(super) fn span(self) -> Option<FinishedSpan> {
        match self {
            Self::Span(span) => Some(*span),
            Self::Finish => None,
        }
    }
}
