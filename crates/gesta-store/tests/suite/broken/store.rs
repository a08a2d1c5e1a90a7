//! A memory store with one fault.
//!
//! Owns: [`FaultyStore`], which passes every call through a hook, and the shapes that hooks share.
//! A hook sees the call and the store, but not the test.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_core::Stream;
use gesta_store::{
    Append, Appended, Capabilities, Category, DeleteStream, Delivery, EventId, EventStore,
    ExpectedRevision, Filter, Head, InlineConsumer, ListCategories, ListStreams, OrdinalPages,
    Pages, ReadAll, ReadOrdinals, ReadStream, RecordedEvent, Revision, SetStreamMetadata,
    StoreError, StoreFuture, StreamAppend, StreamDescription, StreamName, Subscribe, Subscription,
    TombstoneStream, conformance::block_on, memory::MemoryStore,
};

/// A replacement for a method of the store.
pub(crate) type Hook<A, R> = Box<dyn Fn(&MemoryStore, A) -> R + Send + Sync>;
pub(crate) type Outcome<T> = Result<T, StoreError>;

/// A store whose hooks are correct unless replaced.
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    pub(crate) append: Hook<Append, Outcome<Appended>>,
    pub(crate) find_append: Hook<EventId, Outcome<Option<Appended>>>,
    pub(crate) find_events: Hook<(StreamName, Revision, Vec<EventId>), Outcome<Option<Appended>>>,
    pub(crate) read_stream: Hook<ReadStream, Pages>,
    pub(crate) read_all: Hook<ReadAll, Pages>,
    pub(crate) subscribe: Hook<Subscribe, Subscription>,
    pub(crate) describe: Hook<StreamName, Outcome<StreamDescription>>,
    pub(crate) list_streams: Hook<ListStreams, Outcome<Vec<StreamName>>>,
    pub(crate) list_categories: Hook<ListCategories, Outcome<Vec<Category>>>,
    pub(crate) head: Hook<(), Outcome<Head>>,
    pub(crate) capabilities: Hook<(), Capabilities>,
    pub(crate) set_metadata: Hook<SetStreamMetadata, Outcome<Appended>>,
    pub(crate) delete: Hook<DeleteStream, Outcome<Appended>>,
    pub(crate) tombstone: Hook<TombstoneStream, Outcome<Appended>>,
    pub(crate) read_ordinals: Hook<ReadOrdinals, OrdinalPages>,
    pub(crate) attach_inline: Hook<Weak<dyn InlineConsumer>, Outcome<()>>,
    pub(crate) close: Hook<(), Outcome<()>>,
    /// Calls the hooks of a closed store, too. Otherwise it answers correctly.
    pub(crate) breaks_closing: bool,
    /// Makes an append take two polls, and is set when one is dropped between them.
    pub(crate) dropped: Option<Arc<AtomicBool>>,
}

impl FaultyStore {
    /// Creates a store without a fault.
    pub(crate) fn correct() -> Self {
        Self {
            inner: MemoryStore::new(),
            append: Box::new(|store, append| block_on(store.append(append))),
            find_append: Box::new(|store, id| block_on(store.find_append(id))),
            find_events: Box::new(|store, (stream, first, ids)| {
                block_on(store.find_events(&stream, first, ids))
            }),
            read_stream: Box::new(|store, read| store.read_stream(read)),
            read_all: Box::new(|store, read| store.read_all(read)),
            subscribe: Box::new(|store, subscribe| store.subscribe(subscribe)),
            describe: Box::new(|store, stream| block_on(store.describe_stream(&stream))),
            list_streams: Box::new(|store, list| block_on(store.list_streams(list))),
            list_categories: Box::new(|store, list| block_on(store.list_categories(list))),
            head: Box::new(|store, ()| block_on(store.head())),
            capabilities: Box::new(|store, ()| store.capabilities()),
            set_metadata: Box::new(|store, change| block_on(store.set_stream_metadata(change))),
            delete: Box::new(|store, delete| block_on(store.delete_stream(delete))),
            tombstone: Box::new(|store, end| block_on(store.tombstone_stream(end))),
            read_ordinals: Box::new(|store, read| store.read_ordinals(read)),
            attach_inline: Box::new(|store, consumer| store.attach_inline(consumer)),
            close: Box::new(|store, ()| block_on(store.close())),
            breaks_closing: false,
            dropped: None,
        }
    }
}

impl FaultyStore {
    /// Returns the closed store, which answers instead of the hooks.
    fn closed(&self) -> Option<&MemoryStore> {
        let closed = matches!(block_on(self.inner.head()), Err(StoreError::Stopped { .. }));
        (closed && !self.breaks_closing).then_some(&self.inner)
    }
}

fn done<T: Send + 'static>(outcome: Outcome<T>) -> StoreFuture<'static, T> {
    Box::pin(std::future::ready(outcome))
}

impl EventStore for FaultyStore {
    fn append(&self, append: Append) -> StoreFuture<'_, Appended> {
        Box::pin(async move {
            if let Some(dropped) = &self.dropped {
                let mut way = PendingAppend { dropped: Arc::clone(dropped), done: false };
                yield_once().await;
                way.done = true;
            }
            match self.closed() {
                Some(closed) => closed.append(append).await,
                None => (self.append)(&self.inner, append),
            }
        })
    }

    fn find_append(&self, first_event: EventId) -> StoreFuture<'_, Option<Appended>> {
        done((self.find_append)(&self.inner, first_event))
    }

    fn find_events(
        &self,
        stream: &StreamName,
        first: Revision,
        ids: Vec<EventId>,
    ) -> StoreFuture<'_, Option<Appended>> {
        done((self.find_events)(&self.inner, (stream.clone(), first, ids)))
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        match self.closed() {
            Some(closed) => closed.read_stream(read),
            None => (self.read_stream)(&self.inner, read),
        }
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        match self.closed() {
            Some(closed) => closed.read_all(read),
            None => (self.read_all)(&self.inner, read),
        }
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        match self.closed() {
            Some(closed) => closed.subscribe(subscribe),
            None => (self.subscribe)(&self.inner, subscribe),
        }
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        match self.closed() {
            Some(closed) => closed.describe_stream(stream),
            None => done((self.describe)(&self.inner, stream.clone())),
        }
    }

    fn list_streams(&self, list: ListStreams) -> StoreFuture<'_, Vec<StreamName>> {
        done((self.list_streams)(&self.inner, list))
    }

    fn list_categories(&self, list: ListCategories) -> StoreFuture<'_, Vec<Category>> {
        done((self.list_categories)(&self.inner, list))
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        match self.closed() {
            Some(closed) => closed.head(),
            None => done((self.head)(&self.inner, ())),
        }
    }

    fn capabilities(&self) -> Capabilities {
        (self.capabilities)(&self.inner, ())
    }

    fn set_stream_metadata(&self, change: SetStreamMetadata) -> StoreFuture<'_, Appended> {
        done((self.set_metadata)(&self.inner, change))
    }

    fn delete_stream(&self, delete: DeleteStream) -> StoreFuture<'_, Appended> {
        done((self.delete)(&self.inner, delete))
    }

    fn tombstone_stream(&self, tombstone: TombstoneStream) -> StoreFuture<'_, Appended> {
        done((self.tombstone)(&self.inner, tombstone))
    }

    fn read_ordinals(&self, read: ReadOrdinals) -> OrdinalPages {
        (self.read_ordinals)(&self.inner, read)
    }

    fn attach_inline(&self, consumer: Weak<dyn InlineConsumer>) -> Outcome<()> {
        (self.attach_inline)(&self.inner, consumer)
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        done((self.close)(&self.inner, ()))
    }
}

/// Sets the flag if it is dropped before the append is done.
struct PendingAppend {
    dropped: Arc<AtomicBool>,
    done: bool,
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        self.dropped.fetch_or(!self.done, Ordering::Relaxed);
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Changes all events of a read at once and returns them as one page.
pub(crate) fn changed<F>(pages: Pages, change: F) -> Pages
where
    F: FnOnce(Vec<RecordedEvent>) -> Vec<RecordedEvent>,
{
    let page = match block_on(pages.collect_events()) {
        Ok(events) => change(events),
        Err(error) => return Pages::failed(error),
    };
    Pages::of((!page.is_empty()).then_some(Ok(page)).into_iter())
}

/// Changes the events of a read one by one.
pub(crate) fn each(pages: Pages, change: impl Fn(&mut RecordedEvent)) -> Pages {
    changed(pages, |mut events| {
        events.iter_mut().for_each(change);
        events
    })
}

/// Maps every delivery of a subscription to any number of others.
pub(crate) fn delivering<F>(inner: Subscription, turn: F) -> Subscription
where
    F: FnMut(Delivery) -> Vec<Delivery> + Send + Unpin + 'static,
{
    Subscription::new(MappedDeliveries { inner, turn, waiting: VecDeque::new() })
}

struct MappedDeliveries<F> {
    inner: Subscription,
    turn: F,
    waiting: VecDeque<Delivery>,
}

impl<F: FnMut(Delivery) -> Vec<Delivery> + Unpin> Stream for MappedDeliveries<F> {
    type Item = Outcome<Delivery>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(delivery) = this.waiting.pop_front() {
                return Poll::Ready(Some(Ok(delivery)));
            }
            match Pin::new(&mut this.inner).poll_next(context) {
                Poll::Ready(Some(Ok(delivery))) => this.waiting.extend((this.turn)(delivery)),
                other => return other,
            }
        }
    }
}

/// Changes the events of a delivery. Drops a delivery that becomes empty.
pub(crate) fn on_events<F>(delivery: Delivery, change: F) -> Vec<Delivery>
where
    F: FnOnce(Vec<RecordedEvent>) -> Vec<RecordedEvent>,
{
    match delivery {
        Delivery::Events(page) => {
            let page = change(page);
            if page.is_empty() { vec![] } else { vec![Delivery::Events(page)] }
        }
        other => vec![other],
    }
}

/// Appends without expectations.
pub(crate) fn forced(store: &MemoryStore, append: Append) -> Outcome<Appended> {
    block_on(store.append(expecting_any(append)))
}

pub(crate) fn expecting_any(append: Append) -> Append {
    with_streams(append, |part| StreamAppend::new(part.stream, ExpectedRevision::Any, part.events))
}

/// Replaces the event ids by new ones.
pub(crate) fn renamed(append: Append) -> Append {
    with_streams(append, |mut part| {
        part.events.iter_mut().for_each(|event| event.id = EventId::random());
        part
    })
}

/// Changes the part of an append for each stream.
pub(crate) fn with_streams(
    mut append: Append,
    change: impl FnMut(StreamAppend) -> StreamAppend,
) -> Append {
    append.streams = append.streams.into_iter().map(change).collect();
    append
}

/// Returns the result of an append that recorded nothing.
pub(crate) fn pretended(store: &MemoryStore) -> Outcome<Appended> {
    let position = block_on(store.head())?.position;
    Ok(Appended::new(position, vec![]))
}

pub(crate) fn described(store: &MemoryStore, stream: &StreamName) -> StreamDescription {
    block_on(store.describe_stream(stream)).expect("a memory store describes")
}

/// Finds the append with the same first event id.
pub(crate) fn found(store: &MemoryStore, append: &Append) -> Option<Appended> {
    let first = append.events().next()?.id;
    block_on(store.find_append(first)).expect("a memory store finds")
}

/// Returns the only part of an append to one stream.
pub(crate) fn single(append: &Append) -> Option<&StreamAppend> {
    match append.streams.as_slice() {
        [part] if !part.events.is_empty() => Some(part),
        _ => None,
    }
}

/// Returns `true` if the filter selects the event.
pub(crate) fn selects(filter: &Filter, event: &RecordedEvent) -> bool {
    filter.matches(event).expect("the pattern is simple")
}
