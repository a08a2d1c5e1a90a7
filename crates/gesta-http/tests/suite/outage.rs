//! Answers while the store stops answering.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gesta::{
    Gesta,
    store::{
        Append, Appended, Capabilities, EventId, EventStore, Head, Pages, ReadAll, ReadStream,
        StoreError, StoreFuture, StreamDescription, StreamName, Subscribe, Subscription,
        memory::MemoryStore,
    },
};
use gesta_http::GestaState;

use crate::{api, asked, send};

/// A store that appends, and may not answer where its head is.
#[derive(Default)]
struct Headless {
    store: MemoryStore,
    is_away: AtomicBool,
}

impl EventStore for Headless {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        self.store.append(append)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        self.store.read_stream(read)
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        self.store.read_all(read)
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        self.store.subscribe(subscribe)
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        self.store.describe_stream(stream)
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        if self.is_away.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::unreachable("no answer")) });
        }
        self.store.head()
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        self.store.find_append(first_event)
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}

#[tokio::test]
async fn a_change_that_was_recorded_is_answered_as_such_without_its_entity_tag() {
    let store = Arc::new(Headless::default());
    let gesta = Gesta::on(Arc::<Headless>::clone(&store)).open().await.unwrap();
    let router = api().router(GestaState::new(gesta));
    store.is_away.store(true, Ordering::SeqCst);
    let (status, headers, changed) = send(router, asked("POST", "/doors/7/open")).await;
    assert_eq!((status, &changed["revision"]), (200, &0.into()));
    assert!(!headers.contains_key("etag"), "{headers:?}");
}
