//! Any event store of the contract as an engine.

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
    draw::ids,
    engine::{
        ABSENT_TAG, Demand, EVENT_TYPE, Engine, Interest, Offer, Part, Reader, Show, Subscriber,
        Writer,
    },
};

/// A store whose last handle this is, so that dropping it closes the store.
#[derive(Debug)]
pub(crate) struct StoreEngine<Store>(pub(crate) Store);

/// A store, and the fastest ways of a thread into it and through it.
pub(crate) trait ThreadStore: EventStore {
    fn append_blocking(&self, append: Append, parked: &Parked) -> Result<Appended, StoreError>;
    fn scan(&self, show: Show<'_>) -> Result<u64>;
}

impl ThreadStore for LogStore {
    fn append_blocking(&self, append: Append, _parked: &Parked) -> Result<Appended, StoreError> {
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
    fn append_blocking(&self, append: Append, parked: &Parked) -> Result<Appended, StoreError> {
        parked.wait_for(self.append(append))
    }

    fn scan(&self, show: Show<'_>) -> Result<u64> {
        show_all(self.read_all(ReadAll::forwards()), &Parked::here(), show)
    }
}

impl<Store: ThreadStore> Engine for StoreEngine<Store> {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        let event_type = EventType::new(EVENT_TYPE)?;
        Ok(Box::new(StoreWriter { store: &self.0, event_type, parked: Parked::here() }))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(StoreReader { store: &self.0, parked: Parked::here() }))
    }

    fn subscriber(&self, interest: Interest) -> Result<Box<dyn Subscriber>> {
        let head = Parked::here().wait_for(self.0.head())?.position;
        let filter = match interest {
            Interest::Everything => Filter::Everything,
            Interest::NothingThatComes => {
                let absent = QueryItem::every().tagged([Tag::new(ABSENT_TAG)?]);
                Filter::Query(EventQuery::of(absent))
            }
        };
        let subscription = self.0.subscribe(Subscribe::to_all().after(head).filter(filter));
        Ok(Box::new(StoreSubscriber { subscription, parked: None }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }
}

struct StoreWriter<'a, Store> {
    store: &'a Store,
    event_type: EventType,
    parked: Parked,
}

impl<Store: ThreadStore> Writer for StoreWriter<'_, Store> {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let tag = Tag::new(offer.tag)?;
        let event = |(id, payload): (u128, &[u8])| NewEvent {
            tags: vec![tag.clone()],
            ..NewEvent::new(
                EventId::from(Uuid::from_u128(id)),
                self.event_type.clone(),
                ContentType::OCTET_STREAM,
                Bytes::copy_from_slice(payload),
            )
        };
        let ids = ids(offer.first_id, offer.payloads.count);
        let events: Vec<_> = ids.zip(offer.payloads.iter()).map(event).collect();
        let append = Append::to(StreamName::new(offer.stream)?, expected(offer.demand), events);
        let append = Append { condition: condition(offer.demand, &tag), ..append };
        let appended = self.store.append_blocking(append, &self.parked);
        Ok(appended.with_context(|| format!("an append to {}", offer.stream))?.position.number())
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
    parked: Parked,
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

fn show_all(mut pages: Pages, parked: &Parked, show: Show<'_>) -> Result<u64> {
    let mut events = 0;
    while let Some(page) = parked.wait_for(pages.next()) {
        let page = page?;
        page.iter().for_each(|event| show(&event.data));
        events += page.len() as u64;
    }
    Ok(events)
}

struct StoreSubscriber {
    subscription: Subscription,
    parked: Option<Parked>,
}

impl Subscriber for StoreSubscriber {
    fn next(&mut self, end: &AtomicBool, show: Show<'_>) -> Result<bool> {
        // A subscriber is made by one thread and read by another.
        let parked = self.parked.get_or_insert_with(Parked::here);
        match parked.wait_unless(end, self.subscription.next()).flatten() {
            // A store that is closed says so, which is the end as well.
            None | Some(Err(StoreError::Stopped { .. })) => Ok(false),
            Some(delivery) => {
                match delivery? {
                    Delivery::Events(page) => page.iter().for_each(|event| show(&event.data)),
                    Delivery::CaughtUp(_) | Delivery::Checkpoint(_) => {}
                }
                Ok(true)
            }
        }
    }
}

/// A thread that sleeps until what it waits for wakes it; one waker for all its waits.
#[derive(Debug)]
pub(crate) struct Parked(Waker);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

impl Parked {
    /// The calling thread, which alone may then wait.
    pub(crate) fn here() -> Self {
        Self(Waker::from(Arc::new(Unpark(thread::current()))))
    }

    pub(crate) fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.wait_unless(&AtomicBool::new(false), future).expect("nothing ends it")
    }

    /// The same, unless it is to end before; whoever says so unparks the thread.
    fn wait_unless<T>(&self, end: &AtomicBool, future: impl Future<Output = T>) -> Option<T> {
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
