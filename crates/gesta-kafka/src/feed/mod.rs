//! The feed: what a relay has published, as a store that can be read and not appended to.
//!
//! Invariants: events come in the order of their positions in the original store, each once,
//! whatever the number of partitions and however often the relay has repeated them. The head is
//! the last checkpoint of the relay: events after it are not shown, although their records may be
//! there.
//!
//! So a projection runs on a feed as on its store, with the same checkpoints in the transaction of
//! its rows. Not here: deletions and metadata of streams, which a relay does not publish.

mod backwards;
mod error;
mod follower;
mod lanes;
mod place;
mod search;
mod threads;

use std::fmt;

use gesta_store::{
    Append, Appended, Capabilities, Capability, CapabilitySet, Direction, Durability, EventStore,
    Filter, Head, Page, Pages, Position, ReadAll, ReadFrom, ReadStream, StoreError, StoreFuture,
    StreamDescription, StreamName, StreamState, Subscribe, SubscribeFrom, SubscribeTo,
    Subscription,
};

use self::{place::FeedPlace, threads::Begin};
use crate::{InvalidUrl, KafkaUrl, cluster::Cluster};

/// Features of a feed. Filters are evaluated here, after a record was read.
const SUPPORTED: CapabilitySet = CapabilitySet::of(&[
    Capability::GlobalOrder,
    Capability::StreamFilter,
    Capability::StreamPrefixFilter,
    Capability::CategoryFilter,
    Capability::EventTypeFilter,
    Capability::EventTypePrefixFilter,
    Capability::CorrelationFilter,
    Capability::CausationFilter,
]);

/// The events that a [`Relay`](crate::Relay) has published, in the order of their positions.
///
/// An [`EventStore`] for projections and other readers; `Gesta::on` takes it with
/// `idempotency_optional`. Appends are refused with [`StoreError::ReadOnly`]. A read of one stream
/// reads all topics from their start, so aggregates belong on the store itself.
///
/// Each read and subscription has a thread and a consumer of its own, which joins no group. A
/// consumer that sees uncommitted records is not used, so events of an aborted transaction never
/// appear.
///
/// # Examples
///
/// ```
/// use gesta_kafka::KafkaFeed;
/// use gesta_store::{Capability, EventStore};
///
/// let feed = KafkaFeed::at(&"kafka://127.0.0.1:9092/shop".parse()?)?;
/// assert!(feed.capabilities().has(Capability::GlobalOrder));
/// # Ok::<(), gesta_kafka::InvalidUrl>(())
/// ```
#[derive(Clone)]
pub struct KafkaFeed {
    place: FeedPlace,
}

impl KafkaFeed {
    /// Returns the feed of the relay that the URL names. Connects to nothing yet: a cluster that is
    /// away is an error of the reads.
    ///
    /// # Errors
    ///
    /// [`InvalidUrl`] if the URL names no relay, or has options.
    pub fn at(url: &KafkaUrl) -> Result<Self, InvalidUrl> {
        url.check_options(&[])?;
        let relay = url.relay().ok_or_else(|| {
            InvalidUrl::because("the name of the relay is missing; write kafka://HOST:PORT/RELAY")
        })?;
        Ok(Self { place: FeedPlace { cluster: Cluster::of(url), relay: relay.to_owned() } })
    }
}

impl fmt::Debug for KafkaFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaFeed({}/{})", self.place.cluster, self.place.relay)
    }
}

impl EventStore for KafkaFeed {
    fn append(&self, _: Append) -> StoreFuture<'_, Appended> {
        let reason = format!(
            "{self:?} has what relay {} publishes; append to the store of the relay",
            self.place.relay
        );
        Box::pin(async { Err(StoreError::ReadOnly { reason }) })
    }

    fn place(&self) -> String {
        format!("{}/{}", self.place.cluster, self.place.relay)
    }

    fn read_stream(&self, read: ReadStream) -> Pages {
        if let Err(error) = self.capabilities().check(read.capabilities()) {
            return Pages::failed(error);
        }
        let place = self.place.clone();
        Pages::new(threads::streamed(move |sender| {
            let events = stream_events(place, &read.stream)?;
            let events = range_of(events, &read);
            if !events.is_empty() {
                // The receiver may be gone.
                drop(sender.blocking_send(Ok(events)));
            }
            Ok(())
        }))
    }

    fn read_all(&self, read: ReadAll) -> Pages {
        if let Err(error) = self.capabilities().check(read.capabilities()) {
            return Pages::failed(error);
        }
        if read.limit == 0 {
            return Pages::of(std::iter::empty());
        }
        let place = self.place.clone();
        Pages::new(threads::streamed(move |sender| threads::read(place, &read, sender)))
    }

    fn subscribe(&self, subscribe: Subscribe) -> Subscription {
        if let Err(error) = self.capabilities().check(subscribe.capabilities()) {
            return Subscription::failed(error);
        }
        let SubscribeTo::All { from, filter, .. } = subscribe.to else {
            return Subscription::failed(error::refused(format!(
                "{self:?} has no subscriptions to one stream; subscribe to all with a filter"
            )));
        };
        let after = match from {
            SubscribeFrom::After(position) => position,
            _ => Position::START,
        };
        let begin = Begin { after, incarnation: subscribe.incarnation };
        let place = self.place.clone();
        Subscription::new(threads::streamed(move |sender| {
            threads::subscribe(place, begin, &filter, sender)
        }))
    }

    fn describe_stream(&self, stream: &StreamName) -> StoreFuture<'_, StreamDescription> {
        let (place, stream) = (self.place.clone(), stream.clone());
        Box::pin(threads::answered(move || {
            let head = stream_events(place, &stream)?.last().map(|event| event.revision);
            let state = if head.is_some() { StreamState::Live } else { StreamState::Missing };
            Ok(StreamDescription::new(state).head(head))
        }))
    }

    fn head(&self) -> StoreFuture<'_, Head> {
        let place = self.place.clone();
        Box::pin(threads::answered(move || {
            let last = place.last_checkpoint()?.checkpoint;
            Ok(Head { position: last.position, incarnation: last.incarnation })
        }))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(SUPPORTED, Durability::Buffered)
    }
}

/// Returns all events of one stream.
fn stream_events(place: FeedPlace, stream: &StreamName) -> Result<Page, StoreError> {
    let filter = Filter::Streams(vec![stream.clone()]);
    let mut all = Vec::new();
    threads::forwards(place, Position::START, &mut |page: Page| {
        all.extend(threads::selected(page, &filter)?);
        Ok(true)
    })?;
    Ok(all)
}

/// Returns the events of a stream that a read asks for, in its direction.
fn range_of(mut events: Page, read: &ReadStream) -> Page {
    match (read.direction, read.from) {
        (Direction::Forwards, ReadFrom::End) | (Direction::Backwards, ReadFrom::Start) => {
            events.clear();
        }
        (Direction::Forwards, ReadFrom::At(first)) => {
            events.retain(|event| event.revision >= first);
        }
        (Direction::Backwards, ReadFrom::At(last)) => {
            events.retain(|event| event.revision <= last);
        }
        _ => {}
    }
    if read.direction == Direction::Backwards {
        events.reverse();
    }
    events.truncate(usize::try_from(read.limit).unwrap_or(usize::MAX));
    events
}
