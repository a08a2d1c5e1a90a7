//! An event store in memory, for tests and demonstrations.
//!
//! Owns: [`MemoryStore`]. It supports every optional feature of the contract, so code that it
//! accepts may still be refused by a store with fewer capabilities. Not here: durability. The
//! events are lost when the process ends.

mod consumers;
mod joint;
mod log;
mod read;
mod shared;
mod subscription;

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

pub(crate) use self::joint::{JoinedPart, MemoryAppend};
use self::{consumers::Consumers, log::Log, shared::Shared};
use crate::{
    Append, Appended, Capabilities, CapabilitySet, Category, DatabaseName, Durability, EventId,
    EventStore, Head, Incarnation, InlineConsumer, Limits, ListCategories, ListStreams,
    OrdinalPages, Pages, ReadAll, ReadOrdinals, ReadStream, RecordedAt, StoreError, StoreFuture,
    StreamDescription, StreamName, Subscribe, Subscription,
};

/// Name of the database that all stores in memory are in.
pub(crate) const DATABASE: &str = "memory";

/// An event store in memory.
///
/// Clones are cheap handles to the same store. Calls complete without waiting, except for a mutex
/// that is held for one append or one page, and for consumers that take part in appends.
///
/// ```
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position, StreamName,
///     memory::MemoryStore,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::NoStream, [event]);
/// store.append(append).await?;
///
/// let same = store.clone();
/// assert_eq!(same.head().await?.position, Position::new(1));
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store appends");
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// The optional features: all.
    pub const CAPABILITIES: CapabilitySet = CapabilitySet::ALL;

    /// Creates an empty store that uses the system clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(system_time)
    }

    /// Creates an empty store with this clock. The clock may stand still or go back; recorded times
    /// never decrease.
    ///
    /// ```
    /// use gesta_store::{
    ///     Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll,
    ///     RecordedAt, StreamName, memory::MemoryStore,
    /// };
    ///
    /// # gesta_store::conformance::block_on(async {
    /// let store = MemoryStore::with_clock(|| RecordedAt::from_micros(7));
    /// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
    /// let append = Append::to(StreamName::new("order-1")?, ExpectedRevision::Any, [event]);
    /// store.append(append).await?;
    ///
    /// let events = store.read_all(ReadAll::forwards()).collect_events().await?;
    /// assert_eq!(events[0].recorded_at, RecordedAt::from_micros(7));
    /// # Ok::<(), gesta_store::StoreError>(())
    /// # }).expect("a memory store appends");
    /// ```
    pub fn with_clock(clock: impl Fn() -> RecordedAt + Send + Sync + 'static) -> Self {
        let shared = Shared {
            log: Mutex::default(),
            consumers: Consumers::default(),
            clock: Box::new(clock),
            incarnation: Incarnation::new(Uuid::new_v4()),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl MemoryStore {
    /// Answers a call from the log, or refuses it after the store was closed.
    fn answer<T>(&self, look: impl FnOnce(&Log) -> T) -> Result<T, StoreError> {
        let log = self.shared.log();
        log.check_open()?;
        Ok(look(&log))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.shared.log().head();
        f.debug_struct("MemoryStore").field("head", &head).finish_non_exhaustive()
    }
}

impl EventStore for MemoryStore {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            append.check(&Limits::DEFAULT)?;
            // Call the clock outside the lock: it is foreign code.
            let now = self.shared.now();
            let (appended, wakers) = joint::append(&self.shared, append, now).await?;
            // Wake outside the lock: a waker may poll, which takes the lock.
            for waker in wakers {
                waker.wake();
            }
            Ok(appended)
        })
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        Box::pin(async move { self.answer(|log| log.find_append(first_event)) })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        read::stream(&self.shared, read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        read::all(&self.shared, read)
    }

    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        read::ordinals(&self.shared, read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        subscription::open(&self.shared, subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let stream = stream.clone();
        Box::pin(async move { self.answer(|log| log.describe(&stream)) })
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        Box::pin(async move { self.answer(|log| log.list_streams(&list)) })
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        Box::pin(async move { self.answer(|log| log.list_categories(&list)) })
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        Box::pin(async move {
            let position = self.answer(Log::head)?;
            Ok(Head { position, incarnation: self.shared.incarnation })
        })
    }

    fn attach_inline(&self, consumer: Weak<dyn InlineConsumer>) -> Result<(), StoreError> {
        self.shared.log().check_open()?;
        self.shared.consumers.attach(consumer);
        Ok(())
    }

    /// All of memory is one: any [`MemoryReadModels`](crate::MemoryReadModels) can take part.
    fn database(&self) -> Option<DatabaseName> {
        Some(DatabaseName::new(DATABASE))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Self::CAPABILITIES, Durability::Volatile)
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let wakers = self.shared.log().close();
            // Subscriptions end when they are polled.
            for waker in wakers {
                waker.wake();
            }
            Ok(())
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock; tests bring their own")]
fn system_time() -> RecordedAt {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
