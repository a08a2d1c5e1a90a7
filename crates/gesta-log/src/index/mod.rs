//! The inverted index: from a term to the ascending positions where it occurs, and from a position
//! to the record's place on disk.
//!
//! Owns: postings of streams, categories, event types, tags and first event ids; heads and
//! lifecycle of streams. Always holds: it contains exactly the published events; it is derived, and
//! the log alone can rebuild it. Not here: bytes of events, visibility in time, locks.
//! All of it is in memory, rebuilt at open; files of it will stand behind the same functions.

mod plan;
mod segments;
mod streams;

use std::collections::{BTreeMap, HashMap};

use gesta_store::{
    Category, Direction, EventId, EventQuery, EventType, Filter, Position, RecordedAt, Revision,
    StreamName, Tag,
};

pub(crate) use plan::Plan;
pub(crate) use segments::Location;
use segments::Segments;
use streams::Streams;
pub(crate) use streams::{Change, StreamEntry, Tip, lifecycle_change};

use crate::format::Seed;

/// A filter over more streams than this is evaluated on the events themselves.
const STREAMS_MERGED_MAX: usize = 64;

/// What the index keeps of one event.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: EventId,
    pub(crate) stream: StreamName,
    pub(crate) revision: Revision,
    pub(crate) position: Position,
    pub(crate) recorded_at: RecordedAt,
    /// Of the record, in its segment.
    pub(crate) offset: u64,
    pub(crate) event_type: EventType,
    pub(crate) tags: Vec<Tag>,
    /// Of an event in a metadata stream: what it says.
    pub(crate) metadata: Option<bytes::Bytes>,
}

/// The events of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Position,
    pub(crate) events: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    segments: Segments,
    streams: Streams,
    categories: BTreeMap<Category, Vec<u64>>,
    types: HashMap<EventType, Vec<u64>>,
    tags: HashMap<Tag, Vec<u64>>,
    appends: HashMap<EventId, Span>,
    head: Position,
    last_recorded_at: Option<RecordedAt>,
}

impl Index {
    /// Adds the events of one append, all in the same segment.
    pub(crate) fn insert(&mut self, segment: u64, seed: Seed, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let events = u32::try_from(entries.len()).expect("an append is within its limit");
        self.appends.entry(first.id).or_insert(Span { first: first.position, events });
        for entry in entries {
            self.insert_one(segment, seed, entry);
        }
    }

    fn insert_one(&mut self, segment: u64, seed: Seed, entry: &Entry) {
        let position = entry.position.number();
        self.segments.push(segment, seed, position, entry.offset);
        self.streams.push(&entry.stream, entry.revision, position);
        if let Some(category) = entry.stream.category() {
            self.categories.entry(category).or_default().push(position);
        }
        match self.types.get_mut(&entry.event_type) {
            Some(postings) => postings.push(position),
            None => drop(self.types.insert(entry.event_type.clone(), vec![position])),
        }
        for tag in &entry.tags {
            let postings = self.tags.entry(tag.clone()).or_default();
            if postings.last() != Some(&position) {
                postings.push(position);
            }
        }
        if let Some((stream, change)) = lifecycle_change(entry) {
            self.streams.change(stream, change);
        }
        self.head = entry.position;
        self.last_recorded_at = self.last_recorded_at.max(Some(entry.recorded_at));
    }

    /// The last published position.
    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// The latest recorded-at.
    pub(crate) fn last_recorded_at(&self) -> Option<RecordedAt> {
        self.last_recorded_at
    }

    /// Where a record is.
    pub(crate) fn locate(&self, position: Position) -> Option<Location> {
        self.segments.locate(position.number())
    }

    /// Everything that is known of a stream.
    pub(crate) fn stream(&self, name: &StreamName) -> Option<&StreamEntry> {
        self.streams.get(name)
    }

    /// Where a stream stands, for checking expectations.
    pub(crate) fn tip(&self, name: &StreamName) -> Tip {
        self.streams.get(name).map_or_else(Tip::default, StreamEntry::tip)
    }

    /// The append whose first event has this id.
    pub(crate) fn find_append(&self, first_event: EventId) -> Option<Span> {
        self.appends.get(&first_event).copied()
    }

    /// Names of streams with events, in byte order, from `prefix` and after `after`.
    pub(crate) fn stream_names<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a StreamName>,
    ) -> impl Iterator<Item = &'a StreamName> {
        self.streams.names(prefix, after)
    }

    /// Categories, in byte order, after `after`.
    pub(crate) fn categories(&self, after: Option<&Category>) -> impl Iterator<Item = &Category> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.categories.range::<Category, _>((from, Unbounded)).map(|(category, _)| category)
    }

    /// How to find what a filter lets through. Where the plan is not exact, each event must still
    /// be asked for.
    pub(crate) fn plan<'a>(&'a self, filter: &Filter) -> Plan<'a> {
        match filter {
            Filter::Everything => Plan::every(&self.segments),
            Filter::Streams(names) => {
                Plan::any(names.iter().map(|name| Plan::list(self.streams.postings(name))))
            }
            Filter::StreamPrefixes(prefixes) => self.plan_prefixes(prefixes),
            Filter::Categories(categories) => Plan::any(
                categories.iter().map(|category| Plan::list(of(self.categories.get(category)))),
            ),
            Filter::EventTypes(types) => self.plan_types(types),
            Filter::Query(query) => self.plan_query(query),
        }
    }

    fn plan_prefixes(&self, prefixes: &[String]) -> Plan<'_> {
        let names = prefixes.iter().flat_map(|prefix| self.streams.names(prefix, None));
        let lists: Vec<_> = names.take(STREAMS_MERGED_MAX + 1).collect();
        if lists.len() > STREAMS_MERGED_MAX {
            return Plan::every(&self.segments).inexact();
        }
        Plan::any(lists.into_iter().map(|name| Plan::list(self.streams.postings(name))))
    }

    fn plan_types(&self, types: &[EventType]) -> Plan<'_> {
        Plan::any(types.iter().map(|event_type| Plan::list(of(self.types.get(event_type)))))
    }

    fn plan_query(&self, query: &EventQuery) -> Plan<'_> {
        Plan::any(query.items().iter().map(|item| {
            let tags = item.tags().iter().map(|tag| Plan::list(of(self.tags.get(tag))));
            let types = (!item.types().is_empty()).then(|| self.plan_types(item.types()));
            Plan::all(tags.chain(types), &self.segments)
        }))
    }

    /// The first event after a position that matches a query.
    pub(crate) fn first_match(&self, query: &EventQuery, after: Position) -> Option<Position> {
        self.plan_query(query).seek(after.next(), Direction::Forwards)
    }
}

fn of(postings: Option<&Vec<u64>>) -> &[u64] {
    postings.map_or(&[], Vec::as_slice)
}
