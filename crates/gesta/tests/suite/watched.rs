//! A memory store that records reads, and can block appends to one stream.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use gesta::store::{
    Append, Appended, Capabilities, Category, EventId, EventStore, Filter, Head, ListCategories,
    ListStreams, NewEvent, Pages, Position, ReadAll, ReadFrom, ReadStream, StoreFuture,
    StreamDescription, StreamName, Subscribe, SubscribeFrom, SubscribeTo, Subscription,
    memory::MemoryStore,
};
use tokio::sync::Notify;

#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) store: Arc<MemoryStore>,
    /// The streams that were read.
    pub(crate) streams: Arc<Mutex<Vec<String>>>,
    /// True once a category was read from its beginning.
    pub(crate) read_a_category: Arc<AtomicBool>,
    /// Starting points of subscriptions.
    pub(crate) subscribed: Arc<Mutex<Vec<Position>>>,
    /// The stream with blocked appends.
    slow: Option<&'static str>,
    go_on: Arc<Notify>,
}

impl Watched {
    pub(crate) fn over(store: Arc<MemoryStore>) -> Self {
        Self {
            store,
            streams: Arc::default(),
            read_a_category: Arc::default(),
            subscribed: Arc::default(),
            slow: None,
            go_on: Arc::default(),
        }
    }

    pub(crate) fn slow_at(self, stream: &'static str) -> Self {
        Self { slow: Some(stream), ..self }
    }

    pub(crate) fn go_on(&self) {
        self.go_on.notify_one();
    }
}

impl EventStore for Watched {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            let is_slow =
                |part: &gesta::store::StreamAppend| Some(part.stream.as_str()) == self.slow;
            if append.streams.iter().any(is_slow) {
                self.go_on.notified().await;
            }
            self.store.append(append).await
        })
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_append(first_event)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.streams.lock().unwrap().push(read.stream.as_str().to_owned());
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        let from_the_beginning = match read.from {
            ReadFrom::At(position) => position <= Position::new(1),
            _ => true,
        };
        if matches!(read.filter, Filter::Categories(_)) && from_the_beginning {
            self.read_a_category.store(true, Ordering::SeqCst);
        }
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        if let SubscribeTo::All { from, .. } = &subscribe.to {
            let after = match from {
                SubscribeFrom::After(position) => *position,
                _ => Position::START,
            };
            self.subscribed.lock().unwrap().push(after);
        }
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
        self.store.head()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

/// Copies a store: keeps selected events with their ids and order, behind one event that shifts all
/// positions.
pub(crate) async fn moved(
    from: &dyn EventStore,
    keep: impl Fn(&StreamName) -> bool,
) -> Arc<MemoryStore> {
    let to = Arc::new(MemoryStore::new());
    let first = NewEvent::json(
        EventId::random(),
        gesta::store::EventType::new("note-written").unwrap(),
        "{}",
    );
    append(&to, StreamName::new("note-1").unwrap(), first).await;
    for event in from.read_all(ReadAll::forwards()).collect_events().await.unwrap() {
        if event.stream.is_system() || !keep(&event.stream) {
            continue;
        }
        let copy = NewEvent::from(&event);
        append(&to, event.stream, copy).await;
    }
    to
}

async fn append(store: &MemoryStore, stream: StreamName, event: NewEvent) {
    let append = Append::to(stream, gesta::store::ExpectedRevision::Any, [event]);
    store.append(append).await.unwrap();
}
