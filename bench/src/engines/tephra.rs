//! Tephra, embedded, with its defaults and its single writer.
//!
//! It has no streams, categories or event ids. A stream is represented by a second tag, and ids are
//! dropped. Events are read in place, without a copy.

use std::{path::Path, sync::atomic::AtomicBool};

use anyhow::{Context as _, Result, bail};
use tephra::{
    AppendCondition, Event, EventType, Position, Query, QueryItem, SegmentConfig, SegmentSet,
    Subscription, Tag, Tags, WriteCoordinator, WriteHandle, WriterConfig, read::Reads,
};

use gesta_bench::load::engine::{
    ABSENT_TAG, Demand, EVENT_TYPE, Engine, Interest, Offer, Part, Reader, Show, Subscriber, Writer,
};

/// Value of its own documentation and server.
const SEGMENT_BYTES: usize = 256 << 20;

pub(crate) struct Tephra {
    coordinator: WriteCoordinator,
    handle: WriteHandle,
}

impl Tephra {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let set = SegmentSet::open(directory, SegmentConfig::new(SEGMENT_BYTES))?;
        let (coordinator, handle) = WriteCoordinator::start(set, WriterConfig::default())?;
        Ok(Self { coordinator, handle })
    }
}

impl Engine for Tephra {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        let event_type = EventType::new(EVENT_TYPE)?;
        Ok(Box::new(TephraWriter { handle: self.handle.clone(), event_type }))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(TephraReader(&self.handle)))
    }

    fn subscriber(&self, interest: Interest) -> Result<Box<dyn Subscriber>> {
        let query = match interest {
            Interest::Everything => Query::all(),
            Interest::NoEvent => tagged(ABSENT_TAG)?,
        };
        Ok(Box::new(TephraSubscriber(self.handle.subscribe(query, self.handle.head()))))
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self.handle);
        drop(self.coordinator.shutdown());
        Ok(())
    }
}

struct TephraWriter {
    handle: WriteHandle,
    event_type: EventType,
}

impl Writer for TephraWriter {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let tags = Tags::new([Tag::new(offer.stream)?, Tag::new(offer.tag)?])?;
        let events = offer.payloads.iter();
        let events: Result<Vec<_>, _> =
            events.map(|payload| Event::new(&self.event_type, &tags, payload)).collect();
        let appended = self.handle.append(events?, condition(offer)?);
        Ok(appended.with_context(|| format!("cannot append to {}", offer.stream))?.last.get())
    }
}

fn condition(offer: &Offer<'_>) -> Result<Option<AppendCondition>> {
    let after = match offer.demand {
        Demand::Nothing => return Ok(None),
        Demand::TagUnusedAfter(position) => Position::new(position),
        Demand::StreamHas(_) => bail!("tephra has no revisions"),
    };
    Ok(Some(AppendCondition::new(tagged(offer.tag)?).after(after)))
}

fn tagged(tag: &str) -> Result<Query> {
    Ok(Query::item(QueryItem::with_tags(Tags::new([Tag::new(tag)?])?)))
}

struct TephraReader<'a>(&'a WriteHandle);

impl Reader for TephraReader<'_> {
    fn scan(&mut self, show: Show<'_>) -> Result<u64> {
        show_all(self.0.read(&Query::all(), Position::ZERO, None), show)
    }

    fn category(&mut self, _category: &str, _show: Show<'_>) -> Result<Option<u64>> {
        Ok(None)
    }

    fn stream(&mut self, stream: &str, part: Part, show: Show<'_>) -> Result<u64> {
        let query = tagged(stream)?;
        let reads = match part {
            Part::Whole => self.0.read(&query, Position::ZERO, None),
            Part::Last(events) => self.0.read_back(&query, Position::new(u64::MAX), Some(events)),
        };
        show_all(reads, show)
    }
}

fn show_all(mut reads: Reads, show: Show<'_>) -> Result<u64> {
    let mut events = 0;
    while let Some(read) = reads.next() {
        show(read?.event.data());
        events += 1;
    }
    Ok(events)
}

struct TephraSubscriber(Subscription);

impl Subscriber for TephraSubscriber {
    fn next(&mut self, _end: &AtomicBool, show: Show<'_>) -> Result<bool> {
        let Some(batch) = self.0.next_batch() else { return Ok(false) };
        batch?.iter().for_each(|(_, event)| show(event.data()));
        Ok(true)
    }
}
