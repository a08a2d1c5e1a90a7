//! The queue of appends that wait for the next batch.
//!
//! Bounded in bytes. A full queue refuses an append, so nothing of it is sent. Closing is a message
//! of the queue: appends before it are finished, later ones are refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::Either;
use gesta_store::{Append, Appended, Overload, StoreError};
use tokio::sync::{mpsc, oneshot};

/// Maximum number of bytes in the queue.
const QUEUE_BYTES_MAX: usize = 128 << 20;
/// Overhead of an append and of an event in the queue, in bytes.
const ENTRY_BYTES: usize = 128;

/// An append that waits for its answer.
#[derive(Debug)]
pub(crate) struct QueuedAppend {
    pub(crate) append: Append,
    pub(crate) bytes: usize,
    /// `None` once it is answered.
    answer: Option<oneshot::Sender<Result<Appended, StoreError>>>,
    queued_bytes: Arc<AtomicUsize>,
}

impl QueuedAppend {
    /// Answers the append. The caller may be gone.
    pub(crate) fn answer(mut self, outcome: Result<Appended, StoreError>) {
        if let Some(answer) = self.answer.take() {
            drop(answer.send(outcome));
        }
    }
}

/// An entry of the queue.
#[derive(Debug)]
pub(crate) enum Queued {
    Append(Box<QueuedAppend>),
    Close,
}

/// The sending end of the queue.
#[derive(Debug)]
pub(crate) struct AppendQueue {
    sender: mpsc::UnboundedSender<Queued>,
    queued_bytes: Arc<AtomicUsize>,
    closed: AtomicBool,
}

impl AppendQueue {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, queued_bytes: Arc::default(), closed: AtomicBool::new(false) }, receiver)
    }

    /// Queues an append, and returns a future of its answer.
    pub(crate) fn enqueue(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, StoreError>> + Send + 'static {
        match self.try_enqueue(append) {
            Ok(answer) => Either::Left(async move {
                // The task ended between the queue and the answer: it may have sent the append.
                let lost = || StoreError::unavailable("the store ended during the append");
                answer.await.unwrap_or_else(|_| Err(lost()))
            }),
            Err(error) => Either::Right(std::future::ready(Err(error))),
        }
    }

    fn try_enqueue(
        &self,
        append: Append,
    ) -> Result<oneshot::Receiver<Result<Appended, StoreError>>, StoreError> {
        self.check_open()?;
        let bytes = ENTRY_BYTES
            + append.events().map(|event| event.content_bytes() + ENTRY_BYTES).sum::<usize>();
        let queued_bytes = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let queued_bytes_left = Arc::clone(&self.queued_bytes);
        // Dropping it returns its bytes.
        let queued =
            QueuedAppend { append, bytes, answer: Some(answer), queued_bytes: queued_bytes_left };
        if queued_bytes > 0 && queued_bytes + bytes > QUEUE_BYTES_MAX {
            let max = QUEUE_BYTES_MAX;
            return Err(StoreError::Overloaded(Overload::Queue { queued_bytes, max }));
        }
        let sent = self.sender.send(Queued::Append(Box::new(queued)));
        sent.map_err(|_| StoreError::closed())?;
        Ok(answered)
    }

    /// Refuses calls of a closed store.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    /// Ends the queue after the appends that are in it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // The task may have ended already.
        drop(self.sender.send(Queued::Close));
    }
}

impl Drop for QueuedAppend {
    fn drop(&mut self) {
        self.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
