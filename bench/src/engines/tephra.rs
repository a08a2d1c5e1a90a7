//! Tephra, embedded: its log, its one writer, its defaults.
//!
//! It has no streams and no ids of events: a stream is a tag beside the tag, and an id is not kept.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tephra::{
    AppendCondition, Event, EventType, Position, Query, QueryItem, SegmentConfig, SegmentSet, Tag,
    Tags, WriteCoordinator, WriteHandle, WriterConfig,
};

use crate::load::engine::{Demand, EVENT_TYPE, Engine, Offer, Writer};

/// What its own documentation and its server take.
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
        Ok(appended.with_context(|| format!("an append to {}", offer.stream))?.last.get())
    }
}

fn condition(offer: &Offer<'_>) -> Result<Option<AppendCondition>> {
    let after = match offer.demand {
        Demand::Nothing => return Ok(None),
        Demand::TagUnusedAfter(position) => Position::new(position),
        Demand::StreamHas(_) => bail!("tephra has no revisions"),
    };
    let query = Query::item(QueryItem::with_tags(Tags::new([Tag::new(offer.tag)?])?));
    Ok(Some(AppendCondition::new(query).after(after)))
}
