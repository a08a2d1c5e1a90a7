//! A store whose server dies at a chosen append of a projection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gesta_store::{
    Append, Appended, Capabilities, EventStore, Head, ListStreams, OrdinalPages, Pages, ReadAll,
    ReadOrdinals, ReadStream, StoreError, StoreFuture, StreamDescription, StreamName, Subscribe,
    Subscription, memory::MemoryStore,
};
use tokio::sync::watch;

use crate::client::PATIENCE;

/// The moment of the death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The append does not reach the store.
    Before,
    /// The append is recorded, and its answer lost.
    After,
}

/// The answer of the dying append, and of everything after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The server is gone: nothing works any more.
    Final(Moment),
    /// The outcome is unknown, and the store continues.
    Unknown(Moment),
}

/// A store in memory in front of which a server dies.
pub(crate) struct CrashingStore {
    inner: MemoryStore,
    death: Death,
    /// Appends with a checkpoint that go well before the death.
    left: AtomicU64,
    is_dead: AtomicBool,
    /// Number of appends with a checkpoint that were answered.
    answered: watch::Sender<u64>,
}

impl CrashingStore {
    pub(crate) fn new(inner: &MemoryStore, death: Death, left: u64) -> Arc<Self> {
        let left = AtomicU64::new(left);
        let (inner, is_dead) = (inner.clone(), AtomicBool::new(false));
        Arc::new(Self { inner, death, left, is_dead, answered: watch::Sender::new(0) })
    }

    /// Returns `true` if the chosen append has come.
    pub(crate) fn has_died(&self) -> bool {
        self.left.load(Ordering::SeqCst) == u64::MAX
    }

    /// Waits until this number of appends with a checkpoint were answered, or the server is dead.
    pub(crate) async fn answered(&self, number: u64) {
        let mut answered = self.answered.subscribe();
        let waited = answered.wait_for(|answered| *answered >= number || self.check().is_err());
        tokio::time::timeout(PATIENCE, waited).await.expect("an append comes in time").unwrap();
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.is_dead.load(Ordering::SeqCst) {
            true => Err(StoreError::closed()),
            false => Ok(()),
        }
    }

    /// Counts the append, and returns `true` if it is the chosen one.
    fn is_chosen(&self) -> bool {
        // The number passes zero once.
        self.left.fetch_sub(u64::from(!self.has_died()), Ordering::SeqCst) == 0
    }

    async fn append_checkpoint(&self, append: Append) -> Result<Appended, StoreError> {
        if !self.is_chosen() {
            return self.inner.append(append).await;
        }
        let (Death::Final(moment) | Death::Unknown(moment)) = self.death;
        if moment == Moment::After {
            self.inner.append(append).await?;
        }
        self.is_dead.store(matches!(self.death, Death::Final(_)), Ordering::SeqCst);
        Err(StoreError::unavailable("the connection broke"))
    }
}

impl EventStore for CrashingStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            self.check()?;
            let mut streams = append.streams.iter();
            if !streams.any(|part| part.stream.as_str().ends_with("-checkpoint")) {
                return self.inner.append(append).await;
            }
            let answer = self.append_checkpoint(append).await;
            self.answered.send_modify(|answered| *answered += 1);
            answer
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.check().map_or_else(Pages::failed, |()| self.inner.read_stream(read))
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.check().map_or_else(Pages::failed, |()| self.inner.read_all(read))
    }

    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        self.check().map_or_else(OrdinalPages::failed, |()| self.inner.read_ordinals(read))
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.check().map_or_else(Subscription::failed, |()| self.inner.subscribe(subscribe))
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let stream = stream.clone();
        Box::pin(async move {
            self.check()?;
            self.inner.describe_stream(&stream).await
        })
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.inner.list_streams(list)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        self.inner.head()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
