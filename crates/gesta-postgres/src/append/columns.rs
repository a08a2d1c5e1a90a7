//! A batch as the arguments of the function `append`.
//!
//! Each argument is an array, so that the server inserts all rows in one statement. Streams, types
//! and categories are listed once, and referred to by their index, from 1.
//!
//! - [`alone`]: the arguments of a batch of one append.

pub(super) mod alone;

use std::collections::HashMap;

use gesta_store::{
    Append, ContentType, EventQuery, ExpectedRevision, NewEvent, StoreError, StreamAppend,
    StreamMetadata, StreamName, TombstoneStream,
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::queue::QueuedAppend;
use crate::{
    connection::Value,
    number::{index_to_sql, to_sql},
};

/// The statement that appends a batch.
pub(super) const APPEND: &str = "SELECT * FROM {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9, \
    $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, \
    $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, \
    $42, $43)";

/// Number of names whose numbers are remembered. More begin anew.
const NUMBERS_MAX: usize = 10_000;

/// The arguments of one batch.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    streams: Names<'a>,
    stream_categories: Vec<i32>,
    types: Names<'a>,
    categories: Names<'a>,
    append_parts: Vec<i32>,
    first_ids: Vec<Option<Uuid>>,
    first_streams: Vec<i32>,
    after_positions: Vec<Option<i64>>,
    parts: Parts,
    events: Events<'a>,
    tags: Tags<'a>,
    conditions: Conditions<'a>,
    effects: Effects<'a>,
    /// The timeline of the server that the client knows.
    timeline: Option<String>,
    /// Numbers of the types and categories, 0 for those that are not known.
    type_numbers: Vec<i32>,
    category_numbers: Vec<i32>,
}

/// Names, each once.
#[derive(Debug, Default)]
struct Names<'a> {
    texts: Vec<&'a str>,
    indexes: HashMap<&'a str, i32>,
}

#[derive(Debug, Default)]
struct Parts {
    streams: Vec<i32>,
    /// The streams whose tombstone forbids the part.
    subjects: Vec<i32>,
    expected: Vec<i32>,
    exact: Vec<i64>,
    counts: Vec<i32>,
}

#[derive(Debug, Default)]
struct Events<'a> {
    parts: Vec<i32>,
    /// Place in the part, from 0.
    nths: Vec<i32>,
    sizes: Vec<i32>,
    ids: Vec<Uuid>,
    types: Vec<i32>,
    versions: Vec<i32>,
    contents: Vec<Option<&'a str>>,
    correlations: Vec<Option<&'a str>>,
    causations: Vec<Option<&'a str>>,
    tags: Vec<Option<Vec<u8>>>,
    metadata: Vec<Option<&'a [u8]>>,
    data: Vec<&'a [u8]>,
}

/// Tags of events, each once for an event.
#[derive(Debug, Default)]
struct Tags<'a> {
    parts: Vec<i32>,
    nths: Vec<i32>,
    names: Vec<&'a str>,
}

/// Items of conditions. The types and tags of an item end at its `ends`.
#[derive(Debug, Default)]
struct Conditions<'a> {
    appends: Vec<i32>,
    /// The tag of an item that has one tag and no types.
    lone_tags: Vec<Option<&'a str>>,
    types: Vec<&'a str>,
    type_ends: Vec<i32>,
    tags: Vec<&'a str>,
    tag_ends: Vec<i32>,
}

/// Changes of metadata, one for each stream that is described.
#[derive(Debug, Default)]
struct Effects<'a> {
    streams: Vec<i32>,
    metadata: Vec<Option<&'a [u8]>>,
    truncations: Vec<Option<i64>>,
    counts: Vec<Option<i64>>,
    ages: Vec<Option<i64>>,
    tombstones: Vec<bool>,
}

/// Numbers that the server has given to names. They never change in one history of the server.
#[derive(Debug, Default)]
pub(crate) struct KnownNumbers {
    types: HashMap<String, i32>,
    categories: HashMap<String, i32>,
}

/// Numbers that the server gave to the names of a batch: `None` if all were known.
#[derive(Debug, Default)]
pub(super) struct GivenNumbers {
    pub(super) types: Option<Vec<i32>>,
    pub(super) categories: Option<Vec<i32>>,
}

impl KnownNumbers {
    /// Learns from the answer to a batch.
    pub(super) fn learn(&mut self, columns: &Columns<'_>, given: GivenNumbers) {
        let learned = [
            (&mut self.types, &columns.types, given.types),
            (&mut self.categories, &columns.categories, given.categories),
        ];
        for (known, names, numbers) in learned {
            if known.len() > NUMBERS_MAX {
                known.clear();
            }
            let names = names.texts.iter().map(|name| (*name).to_owned());
            known.extend(names.zip(numbers.unwrap_or_default()));
        }
    }
}

impl<'a> Names<'a> {
    fn numbers(&self, known: &HashMap<String, i32>) -> Vec<i32> {
        self.texts.iter().map(|name| known.get(*name).copied().unwrap_or(0)).collect()
    }

    fn index(&mut self, text: &'a str) -> i32 {
        let next = index_to_sql(self.texts.len());
        *self.indexes.entry(text).or_insert_with(|| {
            self.texts.push(text);
            next
        })
    }
}

impl<'a> Columns<'a> {
    /// Arranges the appends of a batch.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rejected`] if metadata cannot be read, which `Append::check` excludes.
    pub(super) fn of(batch: &'a [QueuedAppend]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for queued in batch {
            columns.add(&queued.append)?;
        }
        columns.append_parts.push(index_to_sql(columns.parts.streams.len()));
        columns.events.leave_out_absent();
        Ok(columns)
    }

    /// Adds what the client knows of the server.
    pub(super) fn know(&mut self, timeline: Option<String>, known: &KnownNumbers) {
        self.timeline = timeline;
        self.type_numbers = self.types.numbers(&known.types);
        self.category_numbers = self.categories.numbers(&known.categories);
    }

    fn add(&mut self, append: &'a Append) -> Result<(), StoreError> {
        self.append_parts.push(index_to_sql(self.parts.streams.len()));
        let mut left = append.events().count();
        let first = append.streams.iter().find(|part| !part.events.is_empty());
        let first_event = first.and_then(|part| part.events.first());
        self.first_ids.push(first_event.map(|event| event.id.as_uuid()));
        let first_stream = first.map_or(0, |part| self.stream(&part.stream));
        self.first_streams.push(first_stream);
        self.after_positions
            .push(append.condition.as_ref().map(|condition| to_sql(condition.after.number())));
        if let Some(condition) = &append.condition {
            let nth = index_to_sql(self.first_ids.len() - 1);
            self.conditions.add(nth, &condition.none_matching);
        }
        for part in &append.streams {
            self.add_part(part);
            for (nth, event) in part.events.iter().enumerate() {
                // The first event of the append knows the size of it.
                let size = std::mem::take(&mut left);
                self.add_event(nth, size, event);
            }
            self.add_effects(part)?;
        }
        Ok(())
    }

    fn stream(&mut self, name: &'a StreamName) -> i32 {
        let index = self.streams.index(name.as_str());
        if self.streams.texts.len() > self.stream_categories.len() {
            // The category is a part of the name; `category()` says whether it is one.
            let category = name.category().and_then(|_| name.as_str().split_once('-'));
            let category = category.map_or(0, |(category, _)| self.categories.index(category));
            self.stream_categories.push(category);
        }
        index
    }

    /// Returns the index of the stream that a metadata stream describes.
    fn described(&mut self, name: &'a StreamName) -> Option<i32> {
        name.described_stream()?;
        let text = name.as_str().get(2..)?;
        let index = self.streams.index(text);
        if self.streams.texts.len() > self.stream_categories.len() {
            // It gets no event by this entry, or an entry of its own gave it a category before.
            let category = match text.split_once('-') {
                Some((category, _)) if !category.is_empty() && !text.starts_with('$') => {
                    self.categories.index(category)
                }
                Some(_) | None => 0,
            };
            self.stream_categories.push(category);
        }
        Some(index)
    }

    fn add_part(&mut self, part: &'a StreamAppend) {
        let stream = self.stream(&part.stream);
        let subject = self.described(&part.stream).unwrap_or(stream);
        let (expected, exact) = match part.expected {
            ExpectedRevision::Any => (0, 0),
            ExpectedRevision::NoStream => (1, 0),
            ExpectedRevision::StreamExists => (2, 0),
            ExpectedRevision::Exact(revision) => (3, to_sql(revision.number())),
        };
        self.parts.streams.push(stream);
        self.parts.subjects.push(subject);
        self.parts.expected.push(expected);
        self.parts.exact.push(exact);
        self.parts.counts.push(i32::try_from(part.events.len()).unwrap_or(i32::MAX));
    }

    fn add_event(&mut self, nth: usize, size: usize, event: &'a NewEvent) {
        let part = index_to_sql(self.parts.streams.len() - 1);
        let nth = i32::try_from(nth).unwrap_or(i32::MAX);
        let events = &mut self.events;
        events.parts.push(part);
        events.nths.push(nth);
        events.sizes.push(i32::try_from(size).unwrap_or(i32::MAX));
        events.ids.push(event.id.as_uuid());
        events.types.push(self.types.index(event.event_type.as_str()));
        events.versions.push(i32::from(event.schema_version));
        let content = event.content_type.as_str();
        events.contents.push(Some(content).filter(|_| event.content_type != ContentType::JSON));
        events.correlations.push(event.correlation_id.as_ref().map(|id| id.as_str()));
        events.causations.push(event.causation_id.as_ref().map(|id| id.as_str()));
        events.tags.push(joined_tags(event));
        events.metadata.push(Some(&*event.metadata).filter(|metadata| !metadata.is_empty()));
        events.data.push(&event.data);
        for (at, tag) in event.tags.iter().enumerate() {
            // A tag may be given twice; the index has it once.
            if event.tags.iter().take(at).any(|earlier| earlier == tag) {
                continue;
            }
            self.tags.parts.push(part);
            self.tags.nths.push(nth);
            self.tags.names.push(tag.as_str());
        }
    }

    /// The last metadata of the part take effect, and a tombstone.
    fn add_effects(&mut self, part: &'a StreamAppend) -> Result<(), StoreError> {
        if part.events.is_empty() {
            return Ok(());
        }
        let Some(stream) = self.described(&part.stream) else { return Ok(()) };
        let is = |event: &&NewEvent, kind: &str| event.event_type.as_str() == kind;
        let set = part.events.iter().rev().find(|event| is(event, StreamMetadata::EVENT_TYPE));
        let tombstone = part.events.iter().any(|event| is(&event, TombstoneStream::EVENT_TYPE));
        let metadata = set.map(|event| StreamMetadata::from_json(&event.data)).transpose()?;
        let metadata = metadata.unwrap_or_default();
        let effects = &mut self.effects;
        effects.streams.push(stream);
        effects.metadata.push(set.map(|event| &*event.data));
        let truncation = metadata.truncate_before.map(|before| to_sql(before.number()));
        effects.truncations.push(truncation);
        effects.counts.push(metadata.max_count.map(|count| to_sql(count.get())));
        let age_micros = |age: std::time::Duration| i64::try_from(age.as_micros());
        effects.ages.push(metadata.max_age.map(|age| age_micros(age).unwrap_or(i64::MAX)));
        effects.tombstones.push(tombstone);
        Ok(())
    }

    /// Returns the arguments, in the order of the function's parameters.
    pub(super) fn values(&self) -> [Value<'_>; 43] {
        let (parts, events) = (&self.parts, &self.events);
        let (tags, conditions, effects) = (&self.tags, &self.conditions, &self.effects);
        [
            (&self.streams.texts, Type::TEXT_ARRAY),
            (&self.stream_categories, Type::INT4_ARRAY),
            (&self.types.texts, Type::TEXT_ARRAY),
            (&self.categories.texts, Type::TEXT_ARRAY),
            (&self.append_parts, Type::INT4_ARRAY),
            (&self.first_ids, Type::UUID_ARRAY),
            (&self.first_streams, Type::INT4_ARRAY),
            (&self.after_positions, Type::INT8_ARRAY),
            (&parts.streams, Type::INT4_ARRAY),
            (&parts.subjects, Type::INT4_ARRAY),
            (&parts.expected, Type::INT4_ARRAY),
            (&parts.exact, Type::INT8_ARRAY),
            (&parts.counts, Type::INT4_ARRAY),
            (&events.parts, Type::INT4_ARRAY),
            (&events.nths, Type::INT4_ARRAY),
            (&events.sizes, Type::INT4_ARRAY),
            (&events.ids, Type::UUID_ARRAY),
            (&events.types, Type::INT4_ARRAY),
            (&events.versions, Type::INT4_ARRAY),
            (&events.contents, Type::TEXT_ARRAY),
            (&events.correlations, Type::TEXT_ARRAY),
            (&events.causations, Type::TEXT_ARRAY),
            (&events.tags, Type::BYTEA_ARRAY),
            (&events.metadata, Type::BYTEA_ARRAY),
            (&events.data, Type::BYTEA_ARRAY),
            (&tags.parts, Type::INT4_ARRAY),
            (&tags.nths, Type::INT4_ARRAY),
            (&tags.names, Type::TEXT_ARRAY),
            (&conditions.appends, Type::INT4_ARRAY),
            (&conditions.lone_tags, Type::TEXT_ARRAY),
            (&conditions.types, Type::TEXT_ARRAY),
            (&conditions.type_ends, Type::INT4_ARRAY),
            (&conditions.tags, Type::TEXT_ARRAY),
            (&conditions.tag_ends, Type::INT4_ARRAY),
            (&effects.streams, Type::INT4_ARRAY),
            (&effects.metadata, Type::BYTEA_ARRAY),
            (&effects.truncations, Type::INT8_ARRAY),
            (&effects.counts, Type::INT8_ARRAY),
            (&effects.ages, Type::INT8_ARRAY),
            (&effects.tombstones, Type::BOOL_ARRAY),
            (&self.timeline, Type::TEXT),
            (&self.type_numbers, Type::INT4_ARRAY),
            (&self.category_numbers, Type::INT4_ARRAY),
        ]
    }
}

impl Events<'_> {
    /// Empties the columns of which no event has a value. The server reads NULL beyond their end.
    fn leave_out_absent(&mut self) {
        fn empty<T>(column: &mut Vec<Option<T>>) {
            if column.iter().all(Option::is_none) {
                column.clear();
            }
        }
        empty(&mut self.contents);
        empty(&mut self.correlations);
        empty(&mut self.causations);
        empty(&mut self.tags);
        empty(&mut self.metadata);
    }
}

impl<'a> Conditions<'a> {
    fn add(&mut self, append: i32, query: &'a EventQuery) {
        let end = |texts: &[&str]| i32::try_from(texts.len()).unwrap_or(i32::MAX);
        for item in query.items() {
            self.appends.push(append);
            self.lone_tags.push(match (item.types(), item.tags()) {
                ([], [tag]) => Some(tag.as_str()),
                _ => None,
            });
            self.types.extend(item.types().iter().map(|event_type| event_type.as_str()));
            self.type_ends.push(end(&self.types));
            self.tags.extend(item.tags().iter().map(|tag| tag.as_str()));
            self.tag_ends.push(end(&self.tags));
        }
    }
}

/// Tags as they are stored with the event: separated by zero bytes, which no tag has.
fn joined_tags(event: &NewEvent) -> Option<Vec<u8>> {
    let texts: Vec<&[u8]> = event.tags.iter().map(|tag| tag.as_str().as_bytes()).collect();
    if texts.is_empty() { None } else { Some(texts.join(&0)) }
}
