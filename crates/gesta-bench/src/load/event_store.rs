//! The [`Engine`] interface over any [`EventStore`].

use std::{
    future::Future,
    ops::ControlFlow,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use gesta_log::LogStore;
use gesta_store::{
    Append, AppendCondition, Appended, Category, ContentType, Delivery, EventId, EventQuery,
    EventStore, EventType, ExpectedRevision, Filter, NewEvent, Pages, Position, QueryItem, ReadAll,
    ReadStream, Revision, StoreError, StreamName, Subscribe, Subscription, Tag,
    memory::MemoryStore,
};
use uuid::Uuid;

use super::{
    engine::{
        ABSENT_TAG, Demand, EVENT_TYPE, Engine, Interest, Offer, Part, Reader, Show, Subscriber,
        Writer,
    },
    workload::ids,
};

/// An event store as an engine. Must hold the last handle, since dropping it closes the store.
#[derive(Debug)]
pub struct StoreEngine<Store>(pub Store);

/// An event store with the fastest blocking operations it offers.
pub trait ThreadStore: EventStore {
    fn append_blocking(&self, append: Append, parked: &ThreadWaker)
    -> Result<Appended, StoreError>;
    fn scan(&self, show: Show<'_>) -> Result<u64>;
}

impl ThreadStore for LogStore {
    fn append_blocking(
        &self,
        append: Append,
        _parked: &ThreadWaker,
    ) -> Result<Appended, StoreError> {
        self.append_blocking(append)
    }

    fn scan(&self, show: Show<'_>) -> Result<u64> {
        Ok(self.scan(Position::START, |event| {
            show(event.data);
            ControlFlow::Continue(())
        })?)
    }
}

impl ThreadStore for MemoryStore {
    fn append_blocking(
        &self,
        append: Append,
        parked: &ThreadWaker,
    ) -> Result<Appended, StoreError> {
        parked.block_on(self.append(append))
    }

    fn scan(&self, show: Show<'_>) -> Result<u64> {
        show_all(self.read_all(ReadAll::forwards()), &ThreadWaker::current(), show)
    }
}

impl<Store: ThreadStore> Engine for StoreEngine<Store> {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        let event_type = EventType::new(EVENT_TYPE)?;
        Ok(Box::new(StoreWriter { store: &self.0, event_type, parked: ThreadWaker::current() }))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(StoreReader { store: &self.0, parked: ThreadWaker::current() }))
    }

    fn subscriber(&self, interest: Interest) -> Result<Box<dyn Subscriber>> {
        let head = ThreadWaker::current().block_on(self.0.head())?.position;
        let filter = match interest {
            Interest::Everything => Filter::Everything,
            Interest::NoEvent => {
                let absent = QueryItem::every().tagged([Tag::new(ABSENT_TAG)?]);
                Filter::Query(EventQuery::of(absent))
            }
        };
        let subscription = self.0.subscribe(Subscribe::to_all().after(head).filter(filter).into());
        Ok(Box::new(StoreSubscriber { subscription, parked: None }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        // A dropped log is closed in the background.
        gesta_log::finish_dropped_stores();
        Ok(())
    }
}

struct StoreWriter<'a, Store> {
    store: &'a Store,
    event_type: EventType,
    parked: ThreadWaker,
}

impl<Store: ThreadStore> Writer for StoreWriter<'_, Store> {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let tag = Tag::new(offer.tag)?;
        let event = |(id, payload): (u128, &[u8])| {
            NewEvent::new(
                EventId::from(Uuid::from_u128(id)),
                self.event_type.clone(),
                ContentType::OCTET_STREAM,
                Bytes::copy_from_slice(payload),
            )
            .tagged(vec![tag.clone()])
        };
        let ids = ids(offer.first_id, offer.payloads.count);
        let events: Vec<_> = ids.zip(offer.payloads.iter()).map(event).collect();
        let mut append = Append::to(StreamName::new(offer.stream)?, expected(offer.demand), events);
        append.condition = condition(offer.demand, &tag);
        let appended = self.store.append_blocking(append, &self.parked);
        let appended = appended.with_context(|| format!("cannot append to {}", offer.stream))?;
        Ok(appended.position.number())
    }
}

fn expected(demand: Demand) -> ExpectedRevision {
    match demand {
        Demand::Nothing | Demand::TagUnusedAfter(_) => ExpectedRevision::Any,
        Demand::StreamHas(events) => match events.checked_sub(1) {
            Some(last) => ExpectedRevision::Exact(Revision::new(last)),
            None => ExpectedRevision::NoStream,
        },
    }
}

fn condition(demand: Demand, tag: &Tag) -> Option<AppendCondition> {
    match demand {
        Demand::Nothing | Demand::StreamHas(_) => None,
        Demand::TagUnusedAfter(position) => Some(AppendCondition {
            none_matching: EventQuery::of(QueryItem::every().tagged([tag.clone()])),
            after: Position::new(position),
        }),
    }
}

struct StoreReader<'a, Store> {
    store: &'a Store,
    parked: ThreadWaker,
}

impl<Store: ThreadStore> Reader for StoreReader<'_, Store> {
    fn scan(&mut self, show: Show<'_>) -> Result<u64> {
        self.store.scan(show)
    }

    fn category(&mut self, category: &str, show: Show<'_>) -> Result<Option<u64>> {
        let filter = Filter::Categories(vec![Category::new(category)?]);
        let pages = self.store.read_all(ReadAll::forwards().filter(filter));
        show_all(pages, &self.parked, show).map(Some)
    }

    fn stream(&mut self, stream: &str, part: Part, show: Show<'_>) -> Result<u64> {
        let stream = StreamName::new(stream)?;
        let read = match part {
            Part::Whole => ReadStream::forwards(stream),
            Part::Last(events) => ReadStream::backwards(stream).limit(events),
        };
        show_all(self.store.read_stream(read), &self.parked, show)
    }
}

fn show_all(mut pages: Pages, parked: &ThreadWaker, show: Show<'_>) -> Result<u64> {
    let mut events = 0;
    while let Some(page) = parked.block_on(pages.next()) {
        let page = page?;
        page.iter().for_each(|event| show(&event.data));
        events += page.len() as u64;
    }
    Ok(events)
}

struct StoreSubscriber {
    subscription: Subscription,
    parked: Option<ThreadWaker>,
}

impl Subscriber for StoreSubscriber {
    fn next(&mut self, end: &AtomicBool, show: Show<'_>) -> Result<bool> {
        // The subscriber is created on one thread and polled on another.
        let parked = self.parked.get_or_insert_with(ThreadWaker::current);
        match parked.block_on_until(end, self.subscription.next()).flatten() {
            // A closed store ends the subscription.
            None | Some(Err(StoreError::Stopped { .. })) => Ok(false),
            Some(delivery) => {
                if let Delivery::Events(page) = delivery? {
                    page.iter().for_each(|event| show(&event.data));
                }
                Ok(true)
            }
        }
    }
}

/// Blocks the thread that created it on futures, with one waker for all of them.
#[derive(Debug)]
pub struct ThreadWaker(Waker);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

impl ThreadWaker {
    /// Creates a waker for the calling thread.
    pub fn current() -> Self {
        Self(Waker::from(Arc::new(Unpark(thread::current()))))
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.block_on_until(&AtomicBool::new(false), future).expect("nothing ends it")
    }

    /// Blocks until the future is ready, or returns `None` once `end` is set and the thread is
    /// unparked.
    fn block_on_until<T>(&self, end: &AtomicBool, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(&self.0);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
            if end.load(Ordering::Acquire) {
                return None;
            }
            thread::park();
        }
    }
}
