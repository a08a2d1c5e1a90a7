//! A store in the memory of the process: for tests, for demonstrations, for the first hour.
//!
//! Owns: [`MemoryStore`]. Always holds: it keeps every clause of the contract, without optional
//! ones missing, so what passes on it passes on a durable store; its clones are one store.
//! Not here: durability. The end of the process is the end of the events.

mod log;
mod read;
mod subscription;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

use self::log::Log;
use crate::{
    Answer, Append, Appended, Capabilities, Category, EventId, EventStore, FindAppend, Head,
    Incarnation, Limits, ListCategories, ListStreams, Pages, ReadAll, ReadStream, RecordedAt,
    StreamDescription, StreamName, Subscribe, Subscription, Survives,
};

/// How many events a page of a read or of a subscription has at most.
const PAGE_EVENTS_MAX: usize = 256;

/// An event store that keeps everything in memory.
///
/// Cloning is cheap, and clones are the same store.
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

/// What clones, reads and subscriptions have in common.
struct Shared {
    log: Mutex<Log>,
    clock: Box<dyn Fn() -> RecordedAt + Send + Sync>,
    incarnation: Incarnation,
}

impl MemoryStore {
    /// An empty store that records by the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(system_time)
    }

    /// An empty store that records by this clock. The clock may stand still or fall; what is
    /// recorded never falls.
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
    /// store.append(Append::to(StreamName::new("order-1")?, ExpectedRevision::Any, [event])).await?;
    ///
    /// let events = store.read_all(ReadAll::forwards()).collect_events().await?;
    /// assert_eq!(events[0].recorded_at, RecordedAt::from_micros(7));
    /// # Ok::<(), gesta_store::StoreError>(())
    /// # }).expect("a memory store appends");
    /// ```
    pub fn with_clock(clock: impl Fn() -> RecordedAt + Send + Sync + 'static) -> Self {
        let shared = Shared {
            log: Mutex::default(),
            clock: Box::new(clock),
            incarnation: Incarnation::new(Uuid::new_v4()),
        };
        Self { shared: Arc::new(shared) }
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

impl Shared {
    /// The log is changed only after everything was judged, so a panic of another thread (in a
    /// clock, say) never leaves half an append behind.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> RecordedAt {
        (self.clock)()
    }
}

impl EventStore for MemoryStore {
    fn append(&self, append: Append) -> Answer<'_, Appended> {
        Box::pin(async move {
            append.check(&Limits::DEFAULT)?;
            let now = self.shared.now();
            let (appended, waiting) = self.shared.log().append(append, now)?;
            for waker in waiting {
                waker.wake();
            }
            Ok(appended)
        })
    }

    fn find_append(&self, first_event: EventId) -> Answer<'_, Option<Appended>> {
        Box::pin(async move { Ok(self.shared.log().find_append(first_event)) })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        read::stream(&self.shared, read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        read::all(&self.shared, read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        subscription::open(&self.shared, subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> Answer<'_, StreamDescription> {
        let stream = stream.clone();
        Box::pin(async move { Ok(self.shared.log().describe(&stream)) })
    }

    fn list_streams(&self, list: ListStreams) -> Answer<'_, Vec<StreamName>> {
        Box::pin(async move { Ok(self.shared.log().list_streams(&list)) })
    }

    fn list_categories(&self, list: ListCategories) -> Answer<'_, Vec<Category>> {
        Box::pin(async move { Ok(self.shared.log().list_categories(&list)) })
    }

    fn head(&self) -> Answer<'_, Head> {
        Box::pin(async move {
            let position = self.shared.log().head();
            Ok(Head { position, incarnation: self.shared.incarnation })
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            survives: Survives::Nothing,
            multi_stream_append: true,
            append_condition: true,
            find_append: FindAppend::ForEver,
            repeat_window_appends: u64::MAX,
            filtered_reads: true,
            positions_count_events: true,
            limits: Limits::DEFAULT,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock; tests bring their own")]
fn system_time() -> RecordedAt {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
