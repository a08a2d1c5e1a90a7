//! Items of the events' table: their keys and attributes.
//!
//! | partition key | sort key | contents |
//! | --- | --- | --- |
//! | `store` | `-` | format and id of the store |
//! | `mark` | `-` | position up to which everything is visible |
//! | `log` | position | a batch of appends |
//! | `stream#NAME` | revision | an event |
//! | `id#EVENT` | name of its stream | the append that begins with this event |
//! | `names`, `categories` | name | a stream, a category |
//! | `described` | position | a metadata event or a tombstone |
//! | `part#ID` | number | a part of a large event |
//! | `leases` | name | a lease (`leases.rs`) |

use std::collections::HashSet;

use bytes::Bytes;
use gesta_store::{
    Category, EventId, Position, RecordedAt, Revision, StreamMetadata, StreamName, TombstoneStream,
};
use uuid::Uuid;

use super::codec::{
    Content, LoggedAppend, LoggedEvent, Parts, decode_batch, decode_content, decode_event,
    encode_batch, encode_event,
};
use crate::{
    errors::CallError,
    item::{Attributes as _, Item, SK, binary, damaged, key, number, sorted, text},
};

pub(super) const LOG: &str = "log";
pub(super) const MARK: &str = "mark";
pub(super) const STORE: &str = "store";
pub(super) const NAMES: &str = "names";
pub(super) const CATEGORIES: &str = "categories";
pub(super) const DESCRIBED: &str = "described";

/// Next position after the mark.
pub(super) const NEXT: &str = "nx";
/// Recorded time, in microseconds since the epoch.
pub(super) const TIME: &str = "tm";
/// Id of a batch, or of the store.
pub(super) const ID: &str = "uid";
pub(super) const POSITION: &str = "pos";
const COUNT: &str = "n";
const BODY: &str = "b";
const STREAM: &str = "s";
const REVISION: &str = "rv";
const IS_TOMBSTONE: &str = "end";
const BATCH: &str = "lg";

/// A batch of appends, at consecutive positions.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) id: Uuid,
    pub(super) first: u64,
    pub(super) recorded_at: RecordedAt,
    pub(super) appends: Vec<LoggedAppend>,
}

/// An event of a batch with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) stream: StreamName,
    pub(super) revision: Revision,
    pub(super) position: Position,
    pub(super) recorded_at: RecordedAt,
    pub(super) event: LoggedEvent,
}

/// A metadata event or a tombstone, as the index of described streams has it.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) stream: StreamName,
    pub(super) revision: Revision,
    pub(super) position: u64,
    /// `None` for a tombstone.
    pub(super) metadata: Option<StreamMetadata>,
}

impl Batch {
    pub(super) fn events(&self) -> u64 {
        self.appends.iter().map(LoggedAppend::events).sum()
    }

    /// Position of the batch that follows.
    pub(super) fn next(&self) -> u64 {
        self.first + self.events()
    }

    pub(super) fn item(&self) -> Item {
        let mut item = key(LOG, &sorted(self.first));
        item.insert(ID.to_owned(), text(self.id.to_string()));
        item.insert(COUNT.to_owned(), number(self.events()));
        item.insert(TIME.to_owned(), number(self.recorded_at.micros()));
        item.insert(BODY.to_owned(), binary(encode_batch(&self.appends)));
        item
    }

    pub(super) fn parse(item: &Item) -> Result<Self, CallError> {
        let id = item.text(ID)?.parse().map_err(|_| damaged(item, ID))?;
        let first = item.text(SK)?.parse().map_err(|_| damaged(item, SK))?;
        let recorded_at = RecordedAt::from_micros(item.number(TIME)?);
        let appends = decode_batch(item.bytes(BODY)?).map_err(|_| damaged(item, BODY))?;
        let batch = Self { id, first, recorded_at, appends };
        if batch.events() != item.number(COUNT)? {
            return Err(damaged(item, COUNT));
        }
        Ok(batch)
    }

    /// The events with their places, by position.
    pub(super) fn placed(&self) -> Vec<Placed> {
        let mut position = self.first;
        let mut placed = Vec::new();
        for part in self.appends.iter().flat_map(|append| &append.parts) {
            for (nth, event) in part.events.iter().enumerate() {
                placed.push(Placed {
                    stream: part.stream.clone(),
                    revision: Revision::new(part.first.number() + nth as u64),
                    position: Position::new(position),
                    recorded_at: self.recorded_at,
                    event: event.clone(),
                });
                position += 1;
            }
        }
        placed
    }

    /// The appends with their first positions.
    pub(super) fn placed_appends(&self) -> impl Iterator<Item = (u64, &LoggedAppend)> {
        let mut position = self.first;
        self.appends.iter().map(move |append| {
            let first = position;
            position += append.events();
            (first, append)
        })
    }

    /// The categories of the streams that begin.
    pub(super) fn categories(&self) -> HashSet<Category> {
        let parts = self.appends.iter().flat_map(|append| &append.parts);
        let new = parts.filter(|part| part.first == Revision::FIRST);
        new.filter_map(|part| part.stream.category()).collect()
    }

    /// The entries of the index, without those of categories.
    pub(super) fn entries(&self) -> Result<Vec<Item>, CallError> {
        let mut entries = Vec::new();
        for placed in self.placed() {
            entries.push(placed.entry());
            if placed.revision == Revision::FIRST {
                let mut name = key(NAMES, placed.stream.as_str());
                name.insert(POSITION.to_owned(), number(placed.position.number()));
                entries.push(name);
            }
            entries.extend(Description::of(&placed)?.map(|description| description.entry()));
        }
        for (first, append) in self.placed_appends() {
            let Some(part) = append.parts.first() else { continue };
            let Some(event) = part.events.first() else { continue };
            let mut entry = key(&id_partition(event.id), part.stream.as_str());
            entry.insert(BATCH.to_owned(), number(self.first));
            entry.insert(POSITION.to_owned(), number(first));
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// The entry of a category. Each first event of a stream has one; they are the same.
pub(super) fn category_entry(category: &Category) -> Item {
    key(CATEGORIES, category.as_str())
}

/// The partition of a stream's events.
pub(super) fn stream_partition(stream: &StreamName) -> String {
    format!("stream#{stream}")
}

/// The partition of the appends that begin with an event.
pub(super) fn id_partition(id: EventId) -> String {
    format!("id#{id}")
}

/// The partition of a large event's parts.
pub(super) fn part_partition(parts: Parts) -> String {
    format!("part#{}", parts.id)
}

/// The position of the batch that an entry of an id leads to, and that of its append.
pub(super) fn place_of_append(entry: &Item) -> Result<(u64, u64), CallError> {
    Ok((entry.number(BATCH)?, entry.number(POSITION)?))
}

pub(super) fn part_item(parts: Parts, number: u32, bytes: &[u8]) -> Item {
    let mut item = key(&part_partition(parts), &sorted(u64::from(number)));
    item.insert(BODY.to_owned(), binary(bytes));
    item
}

pub(super) fn part_bytes(item: &Item) -> Result<Bytes, CallError> {
    item.bytes(BODY)
}

impl Placed {
    fn entry(&self) -> Item {
        let mut entry = key(&stream_partition(&self.stream), &sorted(self.revision.number()));
        entry.insert(POSITION.to_owned(), number(self.position.number()));
        entry.insert(TIME.to_owned(), number(self.recorded_at.micros()));
        let mut body = Vec::new();
        encode_event(&mut body, &self.event);
        entry.insert(BODY.to_owned(), binary(body));
        entry
    }

    /// Reads the entry of a stream.
    pub(super) fn parse(stream: &StreamName, entry: &Item) -> Result<Self, CallError> {
        let revision = entry.text(SK)?.parse().map_err(|_| damaged(entry, SK))?;
        let event = decode_event(&mut entry.bytes(BODY)?).map_err(|_| damaged(entry, BODY))?;
        Ok(Self {
            stream: stream.clone(),
            revision: Revision::new(revision),
            position: Position::new(entry.number(POSITION)?),
            recorded_at: RecordedAt::from_micros(entry.number(TIME)?),
            event,
        })
    }
}

impl Description {
    /// Returns the description that an event gives, if its stream describes another one.
    fn of(placed: &Placed) -> Result<Option<Self>, CallError> {
        let Some(stream) = placed.stream.described_stream() else { return Ok(None) };
        // Metadata are small: the limit of the contract is below that of parts.
        let Content::Inline(content) = &placed.event.content else { return Ok(None) };
        let malformed = || CallError::Damaged(format!("the event at {}", placed.position));
        let event = decode_content(placed.event.id, content.clone()).map_err(|_| malformed())?;
        let metadata = match event.event_type.as_str() {
            TombstoneStream::EVENT_TYPE => None,
            StreamMetadata::EVENT_TYPE => {
                Some(StreamMetadata::from_json(&event.data).map_err(|_| malformed())?)
            }
            _ => return Ok(None),
        };
        let (revision, position) = (placed.revision, placed.position.number());
        Ok(Some(Self { stream, revision, position, metadata }))
    }

    /// The descriptions of a batch, by position.
    pub(super) fn all_of(batch: &Batch) -> Result<Vec<Self>, CallError> {
        let of = batch.placed().into_iter().map(|placed| Self::of(&placed));
        Ok(of.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    fn entry(&self) -> Item {
        let mut entry = key(DESCRIBED, &sorted(self.position));
        entry.insert(STREAM.to_owned(), text(self.stream.as_str()));
        entry.insert(REVISION.to_owned(), number(self.revision.number()));
        match &self.metadata {
            Some(metadata) => entry.insert(BODY.to_owned(), binary(metadata.to_json())),
            None => entry.insert(IS_TOMBSTONE.to_owned(), number(1)),
        };
        entry
    }

    pub(super) fn parse(entry: &Item) -> Result<Self, CallError> {
        let stream = StreamName::stored(entry.text(STREAM)?);
        let metadata = match entry.opt_number(IS_TOMBSTONE)? {
            Some(_) => None,
            None => {
                let metadata = StreamMetadata::from_json(&entry.bytes(BODY)?);
                Some(metadata.map_err(|_| damaged(entry, BODY))?)
            }
        };
        Ok(Self {
            stream: stream.map_err(|_| damaged(entry, STREAM))?,
            revision: Revision::new(entry.number(REVISION)?),
            position: entry.text(SK)?.parse().map_err(|_| damaged(entry, SK))?,
            metadata,
        })
    }
}
