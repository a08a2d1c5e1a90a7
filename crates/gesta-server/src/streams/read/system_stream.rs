//! Streams of links that the index answers: no link is stored.
//!
//! Owns: the names. `$ce-order` has the events of the category `order`, `$et-order-placed` those of
//! a type, `$bc-ID` those of a correlation id. `$idx-ce-` and `$idx-et-` name the same events as a
//! filter of the whole store does. `$streams` has the first event of each stream, and
//! `$category-order` names the streams of a category. Not here: reads of them.

use std::collections::HashMap;

use gesta_store::{
    Category, ContentType, CorrelationId, EventId, EventStore, EventType, Filter, NewEvent,
    Ordinal, OrdinalEvent, OrdinalIndex, RecordedEvent, Revision, StoreError, StreamDescription,
    StreamName, StreamState,
};
use tonic::Status;

use super::{links::LINK_TYPE, messages::Found};
use crate::{node::wall_now, wire::refused};

/// Type of an event that names a stream.
const REFERENCE_TYPE: &str = "$@";

/// A stream of the index.
#[derive(Clone, Debug)]
pub(crate) struct SystemStream {
    pub(crate) name: StreamName,
    pub(crate) index: OrdinalIndex,
}

impl SystemStream {
    /// Returns the stream of the index with this name, or `None` if the name is of another kind.
    pub(crate) fn named(name: &StreamName) -> Option<Self> {
        let text = name.as_str();
        let of = |prefix| text.strip_prefix(prefix);
        let index = if let Some(category) = of("$ce-").or_else(|| of("$idx-ce-")) {
            OrdinalIndex::Category(Category::new(category).ok()?)
        } else if let Some(event_type) = of("$et-").or_else(|| of("$idx-et-")) {
            OrdinalIndex::EventType(EventType::stored(event_type).ok()?)
        } else if let Some(category) = of("$category-") {
            OrdinalIndex::StreamsOf(Category::new(category).ok()?)
        } else if text == "$streams" {
            OrdinalIndex::Streams
        } else {
            OrdinalIndex::Correlation(CorrelationId::stored(of("$bc-")?).ok()?)
        };
        Some(Self { name: name.clone(), index })
    }

    /// Returns a filter of the whole store that selects the events of the stream, and possibly
    /// others.
    pub(crate) fn filter(&self) -> Filter {
        match &self.index {
            OrdinalIndex::Category(category) => Filter::Categories(vec![category.clone()]),
            OrdinalIndex::EventType(event_type) => Filter::EventTypes(vec![event_type.clone()]),
            OrdinalIndex::Correlation(id) => Filter::Correlation(id.clone()),
            OrdinalIndex::Streams => Filter::Everything,
            OrdinalIndex::StreamsOf(category) => Filter::Categories(vec![category.clone()]),
            // Names make those above only.
            _ => unreachable!("an index without a name"),
        }
    }

    /// Returns the links to events, with their targets as far as a read of their streams shows
    /// them.
    pub(crate) async fn links(
        &self,
        store: &dyn EventStore,
        events: Vec<OrdinalEvent>,
        resolves: bool,
    ) -> Result<Vec<Found>, StoreError> {
        let mut streams = Streams::default();
        let mut links = Vec::with_capacity(events.len());
        for OrdinalEvent { ordinal, event, .. } in events {
            let link = self.link(ordinal, &event);
            links.push(match resolves {
                // A reference names a stream and has no target.
                _ if self.has_references() => Found::Event(link),
                false => Found::Event(link),
                true => {
                    let is_visible = streams.show(store, &event).await?;
                    Found::Link { link, target: is_visible.then(|| Box::new(event)) }
                }
            });
        }
        Ok(links)
    }

    /// Returns `true` if the stream names streams and not events.
    fn has_references(&self) -> bool {
        matches!(self.index, OrdinalIndex::StreamsOf(_))
    }

    fn link(&self, ordinal: Ordinal, event: &RecordedEvent) -> RecordedEvent {
        let id = EventId::derived_from(self.name.as_str(), ordinal.number());
        let (event_type, data) = match self.has_references() {
            true => (REFERENCE_TYPE, event.stream.as_str().to_owned()),
            false => (LINK_TYPE, format!("{}@{}", event.revision, event.stream)),
        };
        let event_type = EventType::new(event_type).expect("the type of links is a valid name");
        let link = NewEvent::new(id, event_type, ContentType::OCTET_STREAM, data);
        let revision = Revision::new(ordinal.number());
        RecordedEvent::new(link, self.name.clone(), revision, event.position, event.recorded_at)
    }
}

/// Descriptions of the streams of one page, which tell what is hidden.
#[derive(Default)]
struct Streams(HashMap<StreamName, StreamDescription>);

impl Streams {
    async fn show(
        &mut self,
        store: &dyn EventStore,
        event: &RecordedEvent,
    ) -> Result<bool, StoreError> {
        let described = match self.0.get(&event.stream) {
            Some(described) => described,
            None => {
                let described = store.describe_stream(&event.stream).await?;
                self.0.entry(event.stream.clone()).or_insert(described)
            }
        };
        let head = described.head.unwrap_or(event.revision);
        Ok(described.state == StreamState::Live
            && described.metadata.is_visible(event, head, wall_now()))
    }
}

/// Returns the filter that the name of a secondary index stands for.
pub(super) fn index_filter(name: &str) -> Result<Filter, Status> {
    let stream = StreamName::stored(name).ok();
    match stream.as_ref().and_then(SystemStream::named) {
        Some(system) => Ok(system.filter()),
        None => Err(refused(format!("there is no index `{name}`"))),
    }
}
