//! Fjall, with a keyspace each for events, streams and tags, and one batch with `fdatasync` per
//! append. Positions and revisions come from memory, which favours it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};

use gesta_bench::load::{
    engine::{Demand, EVENT_TYPE, Engine, Offer, Part, Reader, Show, Writer},
    workload::ids,
};

pub(crate) struct Fjall {
    database: Database,
    events: Keyspace,
    streams: Keyspace,
    tags: Keyspace,
    heads: Mutex<Heads>,
}

#[derive(Default)]
struct Heads {
    position: u64,
    streams: HashMap<String, u64>,
}

impl Fjall {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let database = Database::builder(directory).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let (events, streams, tags) =
            (keyspace("events")?, keyspace("streams")?, keyspace("tags")?);
        // A store that is opened again is only read, so heads are needed for an empty one only.
        Ok(Self { database, events, streams, tags, heads: Mutex::default() })
    }

    /// Returns whether an event after this position has a tag.
    fn is_tagged_after(&self, tag: &str, position: u64) -> bool {
        let (from, to) = (key(tag, position + 1), key(tag, u64::MAX));
        self.tags.range(from..=to).next().is_some()
    }
}

impl Engine for Fjall {
    fn writer(&self) -> Result<Box<dyn Writer + '_>> {
        Ok(Box::new(FjallWriter(self)))
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(FjallReader(self)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

struct FjallWriter<'a>(&'a Fjall);

impl Writer for FjallWriter<'_> {
    fn append(&mut self, offer: &Offer<'_>) -> Result<u64> {
        let Fjall { database, events, streams, tags, heads } = self.0;
        // It commits one batch at a time anyway, and positions must be in the order of commits.
        let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = heads.streams.get(offer.stream).copied().unwrap_or(0);
        match offer.demand {
            Demand::Nothing => {}
            Demand::StreamHas(events) => ensure!(events == revision, "a conflict"),
            Demand::TagUnusedAfter(position) => {
                ensure!(!self.0.is_tagged_after(offer.tag, position), "a conflict");
            }
        }
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        let mut position = heads.position;
        let ids = ids(offer.first_id, offer.payloads.count);
        for ((revision, id), payload) in (revision..).zip(ids).zip(offer.payloads.iter()) {
            position += 1;
            batch.insert(events, position.to_be_bytes(), value(offer, revision, id, payload));
            batch.insert(streams, key(offer.stream, revision), position.to_be_bytes());
            batch.insert(tags, key(offer.tag, position), []);
        }
        batch.commit()?;
        heads.position = position;
        heads.streams.insert(offer.stream.to_owned(), revision + offer.payloads.count as u64);
        Ok(position)
    }
}

fn key(name: &str, number: u64) -> Vec<u8> {
    [name.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

fn value(offer: &Offer<'_>, revision: u64, id: u128, payload: &[u8]) -> Vec<u8> {
    let names = [EVENT_TYPE, offer.stream, offer.tag].join("\0");
    [&id.to_be_bytes()[..], &revision.to_be_bytes(), names.as_bytes(), &[0], payload].concat()
}

/// Offset of the data: after an id, a revision and three texts that end with a zero byte.
fn data(value: &[u8]) -> Result<&[u8]> {
    let texts = value.get(24..).context("a value is too short")?;
    let mut zeros = texts.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let last = zeros.nth(2).context("a value has three texts")?;
    Ok(texts.get(last + 1..).unwrap_or_default())
}

struct FjallReader<'a>(&'a Fjall);

impl Reader for FjallReader<'_> {
    fn scan(&mut self, show: Show<'_>) -> Result<u64> {
        let mut events = 0;
        for event in self.0.events.iter() {
            show(data(&event.value()?)?);
            events += 1;
        }
        Ok(events)
    }

    fn category(&mut self, _category: &str, _show: Show<'_>) -> Result<Option<u64>> {
        Ok(None)
    }

    fn stream(&mut self, stream: &str, part: Part, show: Show<'_>) -> Result<u64> {
        let places = self.0.streams.range(key(stream, 0)..=key(stream, u64::MAX));
        match part {
            Part::Whole => self.show_all(places, show),
            Part::Last(events) => self.show_all(places.rev().take(usize::try_from(events)?), show),
        }
    }
}

impl FjallReader<'_> {
    fn show_all(&self, places: impl Iterator<Item = Guard>, show: Show<'_>) -> Result<u64> {
        let mut events = 0;
        for place in places {
            let event = self.0.events.get(place.value()?)?.context("a place has its event")?;
            show(data(&event)?);
            events += 1;
        }
        Ok(events)
    }
}
