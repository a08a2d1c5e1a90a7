//! Any event store of the contract as an engine.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use gesta_store::{
    Append, AppendCondition, ContentType, EventId, EventQuery, EventStore, EventType,
    ExpectedRevision, NewEvent, Position, QueryItem, Revision, StreamName, Tag,
};
use uuid::Uuid;

use super::{
    draw::ids,
    engine::{Demand, EVENT_TYPE, Engine, Offer, Writer},
};

/// A store whose last handle this is, so that dropping it closes the store.
#[derive(Debug)]
pub(crate) struct StoreEngine<Store>(pub(crate) Store);

impl<Store: EventStore> Engine for StoreEngine<Store> {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        let event_type = EventType::new(EVENT_TYPE)?;
        Ok(Box::new(StoreWriter { store: &self.0, event_type, parked: Parked::here() }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }
}

struct StoreWriter<'a> {
    store: &'a dyn EventStore,
    event_type: EventType,
    parked: Parked,
}

impl Writer for StoreWriter<'_> {
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
        let appended = self.parked.wait_for(self.store.append(append));
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
        let mut future = pin!(future);
        let mut context = Context::from_waker(&self.0);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            thread::park();
        }
    }
}
