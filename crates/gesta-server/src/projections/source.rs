//! The events that a projection handles, found in the store.
//!
//! Owns: the translation of a script's selection to a filter of the whole store, links, and
//! deletions of streams. Invariants:
//! - Events come in the order of the store, whatever streams they are of.
//! - Streams of projections are never among all events, or a projection would feed itself with its
//!   checkpoints. Events of other system streams go to handlers of their type only.
//!
//! Not here: handlers.

use bytes::Bytes;
use gesta_scripts::{Definition, Partitions, Selection};
use gesta_store::{
    Category, EventStore, EventType, Filter, Position, ReadAll, ReadStream, RecordedEvent,
    Revision, StoreError, StreamMetadata, StreamName, TombstoneStream,
};

use super::names::PREFIX;
use crate::streams::{LINK_TYPE, linked_place, visible_event};

/// Maximum number of events that are looked at for one with a handler.
const LOOKED_AT_MAX: u64 = 1_000;
/// Key of the note by which a store tells a deletion from a truncation.
const DELETED_BEFORE: &str = "$deletedBefore";

/// Something that a handler is called for.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// Place of the event, or of the link by which it was found.
    pub(super) position: Position,
    pub(super) event: RecordedEvent,
    /// Metadata of the link.
    pub(super) link_metadata: Option<Bytes>,
    pub(super) deletion: Option<Deletion>,
    /// Empty for the state that has no partition.
    pub(super) partition: String,
}

/// A deletion of a stream, told by an event of its metadata.
#[derive(Clone, Debug)]
pub(super) struct Deletion {
    pub(super) stream: StreamName,
    pub(super) is_tombstone: bool,
}

/// The selection of a script.
#[derive(Debug)]
pub(super) struct Source {
    definition: Definition,
    streams: Vec<String>,
    categories: Vec<String>,
    types: Vec<String>,
    is_all: bool,
}

impl Source {
    /// An error is the reason why events cannot be selected so.
    pub(super) fn of(definition: &Definition) -> Result<Self, String> {
        let (mut streams, mut categories, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_all = false;
        match definition.selection() {
            Selection::All => is_all = true,
            Selection::Categories(names) => categories = names.to_vec(),
            Selection::Streams(names) => {
                // Streams that the index answers have no events of their own.
                for name in names {
                    let of = |first, second| {
                        name.strip_prefix(first).or_else(|| name.strip_prefix(second))
                    };
                    if let Some(category) = of("$ce-", "$idx-ce-") {
                        categories.push(category.to_owned());
                    } else if let Some(event_type) = of("$et-", "$idx-et-") {
                        types.push(event_type.to_owned());
                    } else if of("$bc-", "$category-").is_some() || name == "$streams" {
                        return Err(format!(
                            "a projection cannot read `{name}`, which has no events of its own; \
                             use fromAll or fromCategory"
                        ));
                    } else {
                        streams.push(name.clone());
                    }
                }
            }
        }
        Ok(Self { definition: definition.clone(), streams, categories, types, is_all })
    }

    /// Returns a filter that leaves out nothing that is selected.
    pub(super) fn filter(&self) -> Filter {
        let kinds = [&self.streams, &self.categories, &self.types];
        let is_mixed = kinds.iter().filter(|names| !names.is_empty()).count() != 1;
        if self.definition.handles_deleted {
            return self.filter_with_metadata();
        }
        let filter = match () {
            () if self.is_all => self.filter_of_types(),
            () if is_mixed => None,
            () if !self.streams.is_empty() => {
                all(&self.streams, |name| StreamName::stored(name).ok()).map(Filter::Streams)
            }
            () if !self.categories.is_empty() => {
                all(&self.categories, |name| Category::new(name).ok()).map(Filter::Categories)
            }
            () => all(&self.types, |name| EventType::stored(name).ok()).map(Filter::EventTypes),
        };
        filter.unwrap_or_default()
    }

    /// A script with handlers of types only needs those types. Their links are of another type.
    fn filter_of_types(&self) -> Option<Filter> {
        let definition = &self.definition;
        if definition.handles_any || definition.includes_links || definition.handlers.is_empty() {
            return None;
        }
        all(&definition.handlers, |name| EventType::stored(name).ok()).map(Filter::EventTypes)
    }

    /// A deletion is an event of the stream's metadata.
    fn filter_with_metadata(&self) -> Filter {
        if self.is_all || !self.types.is_empty() {
            return Filter::Everything;
        }
        let prefixes = self.streams.iter().cloned();
        let categories = self.categories.iter().map(|category| format!("{category}-"));
        let prefixes = prefixes.chain(categories);
        Filter::StreamPrefixes(prefixes.flat_map(|name| [format!("$${name}"), name]).collect())
    }

    /// Returns `true` if handlers are called for no event after a position. Many events that the
    /// filter selects and handlers leave out count as one that they do not.
    pub(super) async fn is_exhausted(
        &self,
        store: &dyn EventStore,
        after: Position,
    ) -> Result<bool, StoreError> {
        let next = Position::new(after.number().saturating_add(1));
        let read = ReadAll::forwards().from(next).filter(self.filter()).limit(LOOKED_AT_MAX);
        let mut looked_at = 0;
        let mut pages = store.read_all(read);
        while let Some(page) = pages.next().await {
            let page = page?;
            looked_at += page.len() as u64;
            if !self.inputs(store, page).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(looked_at < LOOKED_AT_MAX)
    }

    /// Returns what handlers are called for, in the order of the page.
    pub(super) async fn inputs(
        &self,
        store: &dyn EventStore,
        page: Vec<RecordedEvent>,
    ) -> Result<Vec<Input>, StoreError> {
        let mut inputs = Vec::with_capacity(page.len());
        for event in page {
            inputs.extend(self.input(store, event).await?);
        }
        Ok(inputs)
    }

    async fn input(
        &self,
        store: &dyn EventStore,
        found: RecordedEvent,
    ) -> Result<Option<Input>, StoreError> {
        let position = found.position;
        if self.definition.handles_deleted
            && let Some(described) = found.stream.described_stream()
            && self.selects(described.as_str(), None)
        {
            let deletion = deletion(store, &found, described).await?;
            return Ok(deletion.map(|deletion| {
                let partition = deletion.stream.as_str().to_owned();
                let deletion = Some(deletion);
                Input { position, event: found, link_metadata: None, deletion, partition }
            }));
        }
        if !self.selects(found.stream.as_str(), Some(found.event_type.as_str())) {
            return Ok(None);
        }
        let (event, link_metadata) = match self.follow(store, found).await? {
            Some(followed) => followed,
            None => return Ok(None),
        };
        if !self.definition.handles(event.event_type.as_str()) {
            return Ok(None);
        }
        let partition = match self.definition.partitions {
            Partitions::ByStream => event.stream.as_str().to_owned(),
            // The script says it.
            Partitions::ByKey | Partitions::None => String::new(),
        };
        Ok(Some(Input { position, event, link_metadata, deletion: None, partition }))
    }

    /// Returns the target of a link, or `None` for a link that is left out. Other events are
    /// returned as they are.
    async fn follow(
        &self,
        store: &dyn EventStore,
        found: RecordedEvent,
    ) -> Result<Option<(RecordedEvent, Option<Bytes>)>, StoreError> {
        if found.event_type.as_str() != LINK_TYPE {
            return Ok(Some((found, None)));
        }
        // A stream that is named is meant with its links.
        let is_named = self.streams.iter().any(|name| name == found.stream.as_str());
        if !is_named && !self.definition.includes_links {
            return Ok(None);
        }
        let Some((stream, revision)) = linked_place(&found.data) else { return Ok(None) };
        let target = visible_event(store, stream, revision).await?;
        Ok(target.map(|target| (target, Some(found.metadata))))
    }

    fn selects(&self, stream: &str, event_type: Option<&str>) -> bool {
        if self.is_all {
            let has_handler =
                |event_type| event_type == LINK_TYPE || self.definition.has_handler(event_type);
            return match stream.starts_with('$') {
                true => !stream.starts_with(PREFIX) && event_type.is_some_and(has_handler),
                false => true,
            };
        }
        let category = stream.split_once('-').map(|(category, _)| category);
        self.streams.iter().any(|name| name == stream)
            || category.is_some_and(|category| self.categories.iter().any(|name| name == category))
            || event_type.is_some_and(|found| self.types.iter().any(|name| name == found))
    }
}

fn all<Name>(names: &[String], parse: impl Fn(&str) -> Option<Name>) -> Option<Vec<Name>> {
    names.iter().map(|name| parse(name)).collect()
}

/// Returns the deletion that an event of a stream's metadata makes, or `None`.
async fn deletion(
    store: &dyn EventStore,
    found: &RecordedEvent,
    stream: StreamName,
) -> Result<Option<Deletion>, StoreError> {
    match found.event_type.as_str() {
        TombstoneStream::EVENT_TYPE => Ok(Some(Deletion { stream, is_tombstone: true })),
        StreamMetadata::EVENT_TYPE => {
            let Some(deleted) = deleted_before(found) else { return Ok(None) };
            // Later metadata carry the note of an earlier deletion on.
            let earlier = match found.revision.previous() {
                None => None,
                Some(revision) => {
                    let read = ReadStream::backwards(found.stream.clone()).from(revision).limit(1);
                    let earlier = store.read_stream(read).collect_events().await;
                    match earlier {
                        Ok(earlier) => earlier.first().and_then(deleted_before),
                        Err(StoreError::Deleted { .. }) => None,
                        Err(error) => return Err(error),
                    }
                }
            };
            let is_new = earlier.is_none_or(|earlier| deleted > earlier);
            Ok(is_new.then_some(Deletion { stream, is_tombstone: false }))
        }
        _ => Ok(None),
    }
}

/// Returns the revision before which metadata delete events.
fn deleted_before(metadata: &RecordedEvent) -> Option<u64> {
    let note: serde_json::Value = serde_json::from_slice(&metadata.metadata).unwrap_or_default();
    let noted = note.get(DELETED_BEFORE).and_then(serde_json::Value::as_u64);
    // Clients delete by truncation before the largest revision.
    let truncated = StreamMetadata::from_json(&metadata.data).ok()?.truncate_before;
    let truncated = truncated.map(Revision::number).filter(|before| *before >= i64::MAX as u64);
    noted.filter(|before| *before > 0).or(truncated)
}
