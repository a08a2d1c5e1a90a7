//! A memory store with scripted faults and interleavings.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_core::Stream;
use gesta::store::{
    Append, Appended, Capabilities, Category, EventId, EventStore, Head, ListCategories,
    ListStreams, Pages, ReadAll, ReadStream, RecordedEvent, StoreError, StoreFuture, StreamAppend,
    StreamDescription, StreamName, Subscribe, Subscription, memory::MemoryStore,
};

/// An incident at an append, before it reaches the memory store.
pub(crate) enum Scene {
    /// Awaits something else first.
    First(Meanwhile),
    /// Fails the append.
    Fail(StoreError),
    /// Performs the append, but loses its answer.
    LoseAnswer,
    /// Never answers.
    Hang,
}

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A memory store that plays one scripted incident at each append.
#[derive(Clone)]
pub(crate) struct Scripted {
    store: Arc<MemoryStore>,
    script: Arc<Mutex<VecDeque<Scene>>>,
    before_heads: Arc<Mutex<VecDeque<Meanwhile>>>,
    after_find: Arc<Mutex<Option<Meanwhile>>>,
    /// The error of the next lookup of an append.
    pub(crate) fail_find: Arc<Mutex<Option<StoreError>>>,
    /// Number of lookups of an append.
    pub(crate) finds: Arc<AtomicUsize>,
    /// Reads of the whole store never answer.
    pub(crate) reads_hang: Arc<AtomicBool>,
}

/// Pages that never come.
struct Never;

impl Stream for Never {
    type Item = Result<Vec<RecordedEvent>, StoreError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            script: Arc::default(),
            before_heads: Arc::default(),
            after_find: Arc::default(),
            fail_find: Arc::default(),
            finds: Arc::default(),
            reads_hang: Arc::default(),
        }
    }

    /// Awaits a future before the next read of the head; futures queue up.
    pub(crate) fn before_head(&self, first: impl Future<Output = ()> + Send + 'static) {
        self.before_heads.lock().unwrap().push_back(Box::pin(first));
    }

    /// Awaits a future after the next lookup of an append, before its answer.
    pub(crate) fn after_find(&self, then: impl Future<Output = ()> + Send + 'static) {
        *self.after_find.lock().unwrap() = Some(Box::pin(then));
    }

    pub(crate) fn next(&self, scene: Scene) {
        self.script.lock().unwrap().push_back(scene);
    }

    pub(crate) fn next_first(&self, first: impl Future<Output = ()> + Send + 'static) {
        self.next(Scene::First(Box::pin(first)));
    }

    /// Performs the next scene. A process manager writes its journal when it is due, so an append
    /// to a journal takes no scene.
    async fn play(&self, append: Append) -> Result<Appended, StoreError> {
        let is_journal = |one: &StreamAppend| one.stream.as_str().contains("processes:journal-");
        if append.streams.iter().any(is_journal) {
            return self.store.append(append).await;
        }
        let scene = self.script.lock().unwrap().pop_front();
        match scene {
            None => {}
            Some(Scene::First(first)) => first.await,
            Some(Scene::Fail(error)) => return Err(error),
            Some(Scene::Hang) => pending().await,
            Some(Scene::LoseAnswer) => {
                self.store.append(append).await?;
                return Err(StoreError::unavailable("the answer was lost"));
            }
        }
        self.store.append(append).await
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl EventStore for Scripted {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(self.play(append))
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        Box::pin(async move {
            if let Some(error) = self.fail_find.lock().unwrap().take() {
                return Err(error);
            }
            self.finds.fetch_add(1, Ordering::Relaxed);
            let found = self.store.find_append(first_event).await;
            let then = self.after_find.lock().unwrap().take();
            if let Some(then) = then {
                then.await;
            }
            found
        })
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        if self.reads_hang.load(Ordering::SeqCst) {
            return Pages::new(Never);
        }
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        self.store.list_streams(list)
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        self.store.list_categories(list)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        Box::pin(async move {
            let first = self.before_heads.lock().unwrap().pop_front();
            if let Some(first) = first {
                first.await;
            }
            self.store.head().await
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}
