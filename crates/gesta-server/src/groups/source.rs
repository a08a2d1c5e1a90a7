//! The events of a group's source, from a place on, without end.
//!
//! Owns: the task that reads them, which holds at most one page that the group has not taken.
//! Invariant: places grow, and no event between two of them is left out.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use gesta_store::{
    Delivery, Filter, Ordinal, Position, ReadOrdinals, RecordedEvent, Revision, StoreError,
    StreamName, Subscribe,
};
use tokio::sync::mpsc;

use super::{
    configuration::GroupConfig,
    machine::{EventKey, GroupEvent, Strategy},
    name::{GroupSource, belongs_to_group_of_all},
    settings::StartFrom,
};
use crate::{
    node::Node,
    streams::{Found, SystemStream, last_ordinal, resolve},
    wire::{correlation_in, status},
};

/// A part of the source.
#[derive(Debug)]
pub(super) enum SourceItem {
    Event(GroupEvent<Arc<Found>>),
    /// There is no event for the group up to this place.
    Passed(u64),
    /// All events so far were sent.
    Live,
}

type SourceBatch = Result<Vec<SourceItem>, StoreError>;

/// Opens the source of a group after a place.
pub(super) fn open(
    node: &Node,
    config: &Arc<GroupConfig>,
    after: Option<u64>,
) -> mpsc::Receiver<SourceBatch> {
    let (items, batches) = mpsc::channel(1);
    let reader = SourceReader { node: node.clone(), config: Arc::clone(config), items };
    tokio::spawn(async move {
        let failed = reader.items.clone();
        let read = async {
            match &reader.config.id.source {
                GroupSource::All => reader.read_all(after).await,
                GroupSource::Stream(stream) => match SystemStream::named(stream) {
                    Some(system) => reader.read_system(&system, after).await,
                    None => reader.read_stream(stream, after).await,
                },
            }
        };
        tokio::select! {
            ended = read => if let Err(error) = ended {
                // The group may be gone, too.
                let _ = failed.send(Err(error)).await;
            },
            () = failed.closed() => {}
        }
    });
    batches
}

/// Returns the place before the first event of a new group.
pub(super) async fn before_first(
    node: &Node,
    source: &GroupSource,
    start: StartFrom,
) -> Result<Option<u64>, tonic::Status> {
    match start {
        StartFrom::Start => Ok(None),
        StartFrom::At(place) => Ok(place.checked_sub(1)),
        StartFrom::End => head(node, source).await.map_err(|error| status(&error)),
    }
}

/// Returns the last place of the source; `None` while it has no event.
pub(super) async fn head(node: &Node, source: &GroupSource) -> Result<Option<u64>, StoreError> {
    let store = node.store();
    match source {
        GroupSource::All => {
            let head = store.head().await?.position;
            Ok((head > Position::START).then(|| head.number()))
        }
        GroupSource::Stream(stream) => match SystemStream::named(stream) {
            Some(system) => Ok(last_ordinal(store, &system).await?.map(Ordinal::number)),
            None => Ok(store.describe_stream(stream).await?.head.map(Revision::number)),
        },
    }
}

struct SourceReader {
    node: Node,
    config: Arc<GroupConfig>,
    items: mpsc::Sender<SourceBatch>,
}

impl SourceReader {
    async fn read_stream(&self, stream: &StreamName, after: Option<u64>) -> Result<(), StoreError> {
        let store = self.node.store();
        // A start beyond the head waits for it: the group leaves out what comes before.
        let after = after.min(head(&self.node, &self.config.id.source).await?);
        let request = Subscribe::to_stream(stream.clone());
        let request = match after {
            Some(revision) => request.after(Revision::new(revision)),
            None => request,
        };
        let mut subscription = store.subscribe(request.into());
        while let Some(delivery) = subscription.next().await {
            match delivery? {
                Delivery::Events(events) => {
                    let mut items = Vec::with_capacity(events.len());
                    for event in events {
                        let place = event.revision.number();
                        items.push(self.item(place, self.found(event).await?));
                    }
                    self.send(items).await;
                }
                Delivery::CaughtUp(_) => self.send(vec![SourceItem::Live]).await,
                _ => {}
            }
        }
        Err(StoreError::closed())
    }

    async fn read_all(&self, after: Option<u64>) -> Result<(), StoreError> {
        let store = self.node.store();
        let head = head(&self.node, &self.config.id.source).await?;
        let after = after.min(head).map_or(Position::START, Position::new);
        let filter = match &self.config.filter {
            // It was evaluated before it was stored.
            Some(filter) => filter.filter().map_err(|refused| {
                StoreError::unreachable(format!("the filter is unusable: {}", refused.message()))
            })?,
            None => Filter::Everything,
        };
        let request = Subscribe::to_all().after(after).filter(filter);
        let mut subscription = store.subscribe(request.into());
        while let Some(delivery) = subscription.next().await {
            match delivery? {
                Delivery::Events(events) => {
                    let mut items = Vec::with_capacity(events.len());
                    for event in events {
                        let place = event.position.number();
                        // The consumers of a group need not be those who made it.
                        let is_left_out = belongs_to_group_of_all(&event.stream)
                            || self.node.access().is_closed_to_groups(&event.stream);
                        items.push(match is_left_out {
                            true => SourceItem::Passed(place),
                            false => self.item(place, self.found(event).await?),
                        });
                    }
                    self.send(items).await;
                }
                Delivery::Checkpoint(position) => {
                    self.send(vec![SourceItem::Passed(position.number())]).await;
                }
                Delivery::CaughtUp(position) => {
                    let passed = SourceItem::Passed(position.number());
                    self.send(vec![passed, SourceItem::Live]).await;
                }
                _ => {}
            }
        }
        Err(StoreError::closed())
    }

    /// Reads by ordinals; a subscription to the whole store tells when there are more.
    async fn read_system(
        &self,
        system: &SystemStream,
        after: Option<u64>,
    ) -> Result<(), StoreError> {
        let store = self.node.store();
        let mut last = after;
        // Events that are recorded from here on wake the loop below.
        let seen = store.head().await?.position;
        self.read_ordinals(system, &mut last, seen).await?;
        self.send(vec![SourceItem::Live]).await;
        let request = Subscribe::to_all().after(seen).filter(system.filter());
        let mut subscription = store.subscribe(request.into());
        while let Some(delivery) = subscription.next().await {
            if let Delivery::Events(events) = delivery?
                && let Some(newest) = events.last()
            {
                self.read_ordinals(system, &mut last, newest.position).await?;
            }
        }
        Err(StoreError::closed())
    }

    async fn read_ordinals(
        &self,
        system: &SystemStream,
        last: &mut Option<u64>,
        up_to: Position,
    ) -> Result<(), StoreError> {
        let store = self.node.store();
        let resolves = self.config.settings.resolve_links;
        let next = Ordinal::new(last.map_or(0, |last| last.saturating_add(1)));
        let mut pages =
            store.read_ordinals(ReadOrdinals::forwards(system.index.clone()).from(next));
        while let Some(page) = pages.next().await {
            let mut page = page?;
            let is_last = page.last().is_some_and(|event| event.event.position >= up_to);
            page.retain(|event| event.event.position <= up_to);
            let places: Vec<_> = page.iter().map(|event| event.ordinal.number()).collect();
            *last = places.last().copied().or(*last);
            let links = system.links(store, page, resolves).await?;
            let items = places.into_iter().zip(links);
            self.send(items.map(|(place, link)| self.item(place, link)).collect()).await;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    async fn found(&self, event: RecordedEvent) -> Result<Found, StoreError> {
        match self.config.settings.resolve_links {
            true => resolve(self.node.store(), event).await,
            false => Ok(Found::Event(event)),
        }
    }

    /// Makes an item of an event. A link whose target is hidden has nothing to process.
    fn item(&self, place: u64, found: Found) -> SourceItem {
        if let Found::Link { target: None, .. } = found {
            return SourceItem::Passed(place);
        }
        SourceItem::Event(group_event(EventKey::Source(place), found, &self.config))
    }

    async fn send(&self, items: Vec<SourceItem>) {
        // The task ends when the group has closed the channel.
        if !items.is_empty() {
            let _ = self.items.send(Ok(items)).await;
        }
    }
}

/// Makes an event of the group of what was read.
pub(super) fn group_event(
    key: EventKey,
    found: Found,
    config: &GroupConfig,
) -> GroupEvent<Arc<Found>> {
    let (id, event) = match &found {
        Found::Event(event) => (event.id, event),
        Found::Link { link, target } => (link.id, target.as_deref().unwrap_or(link)),
    };
    GroupEvent {
        key,
        id: id.as_uuid(),
        pin: pin(event, config.settings.strategy()),
        bytes: event.data.len() + event.metadata.len(),
        payload: Arc::new(found),
    }
}

fn pin(event: &RecordedEvent, strategy: Strategy) -> u64 {
    let conversation = match strategy {
        Strategy::PinnedByCorrelation => correlation(event),
        Strategy::DispatchToSingle | Strategy::RoundRobin | Strategy::Pinned => None,
    };
    let mut hasher = DefaultHasher::new();
    match conversation {
        Some(id) => id.hash(&mut hasher),
        None => event.stream.hash(&mut hasher),
    }
    hasher.finish()
}

/// Returns the conversation of an event, which other writers may have in the metadata only.
fn correlation(event: &RecordedEvent) -> Option<String> {
    match &event.correlation_id {
        Some(id) => Some(id.as_str().to_owned()),
        None => correlation_in(&event.metadata),
    }
}
