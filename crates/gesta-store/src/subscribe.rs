//! Subscriptions: reads that catch up and then stay live.
//!
//! Owns: [`Subscribe`], the request with its starting point, and [`Subscription`], the stream of
//! deliveries. Positions of deliveries never decrease, no event in between is left out, and a
//! consumer that stops polling does not hold up the store or other consumers. Not here: storage of
//! checkpoints.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    Capability, CapabilitySet, Checkpoint, Filter, Incarnation, Page, Position, RecordedAt,
    Revision, StoreError, StreamName, Visibility,
};

/// Starting point of a subscription.
///
/// ```
/// use gesta_store::{Position, SubscribeFrom};
///
/// assert!(SubscribeFrom::After(Position::new(7)) != SubscribeFrom::Start);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeFrom<Place> {
    /// Before the first event.
    Start,
    /// After this revision or position, exclusive.
    After(Place),
    /// At the first event recorded at or after this time. Later than the clock: waits for it.
    /// Needs [`Capability::TimeStarts`](crate::Capability::TimeStarts).
    Time(RecordedAt),
}

/// The target of a subscription, and its starting point.
///
/// A subscription to a stream delivers the events that the stream's metadata show. It waits for a
/// stream that does not exist yet, and ends with [`StoreError::Deleted`] when the stream is
/// tombstoned.
///
/// A subscription to the whole store includes hidden events by default. With
/// [`Visibility::Visible`] it delivers events that are visible at the time of delivery.
///
/// Neither kind goes back: an event that was hidden when the subscription passed it is not
/// delivered when other metadata show it again.
///
/// ```
/// use gesta_store::{StreamName, Subscribe, SubscribeFrom, SubscribeTo};
///
/// let order = StreamName::new("order-1")?;
/// let to = SubscribeTo::Stream { stream: order.clone(), from: SubscribeFrom::Start };
/// assert_eq!(Subscribe::from(Subscribe::to_stream(order)).to, to);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeTo {
    /// The whole store.
    All {
        /// Starting point.
        from: SubscribeFrom<Position>,
        /// Delivers only events that the filter selects.
        filter: Filter,
        /// Inclusion of hidden events.
        visibility: Visibility,
    },
    /// One stream, which need not exist yet.
    Stream {
        /// The stream's name.
        stream: StreamName,
        /// Starting point.
        from: SubscribeFrom<Revision>,
    },
}

/// A request for a subscription.
///
/// ```
/// use gesta_store::{EventType, Filter, Position, Subscribe};
///
/// let shipped: Subscribe = Subscribe::to_all()
///     .after(Position::new(41))
///     .filter(Filter::EventTypes(vec![EventType::new("order-shipped")?]))
///     .into();
/// assert!(shipped.incarnation.is_none());
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The target and the starting point.
    pub to: SubscribeTo,
    /// The incarnation of the starting point, if the consumer knows it.
    pub incarnation: Option<Incarnation>,
}

impl Subscribe {
    /// Subscribes to the whole store, from its first event.
    #[must_use]
    pub const fn to_all() -> SubscribeToAll {
        SubscribeToAll {
            from: SubscribeFrom::Start,
            filter: Filter::Everything,
            visibility: Visibility::Raw,
            incarnation: None,
        }
    }

    /// Subscribes to one stream, from its first event.
    #[must_use]
    pub const fn to_stream(stream: StreamName) -> SubscribeToStream {
        SubscribeToStream { stream, from: SubscribeFrom::Start }
    }
}

/// Builds a subscription to the whole store; see [`Subscribe::to_all`].
///
/// ```
/// use gesta_store::{Position, RecordedAt, Subscribe, SubscribeFrom, SubscribeTo};
///
/// let subscribe: Subscribe = Subscribe::to_all().after(Position::new(41)).into();
/// let SubscribeTo::All { from, .. } = subscribe.to else { unreachable!() };
/// assert_eq!(from, SubscribeFrom::After(Position::new(41)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeToAll {
    from: SubscribeFrom<Position>,
    filter: Filter,
    visibility: Visibility,
    incarnation: Option<Incarnation>,
}

impl SubscribeToAll {
    /// Starts after this position.
    #[must_use]
    pub fn after(self, position: Position) -> Self {
        Self { from: SubscribeFrom::After(position), ..self }
    }

    /// Starts at the first event recorded at or after this time; see [`SubscribeFrom::Time`].
    #[must_use]
    pub fn from_time(self, time: RecordedAt) -> Self {
        Self { from: SubscribeFrom::Time(time), ..self }
    }

    /// Says that the starting point belongs to this incarnation of the store.
    #[must_use]
    pub fn incarnation(self, incarnation: Incarnation) -> Self {
        Self { incarnation: Some(incarnation), ..self }
    }

    /// Starts after a checkpoint.
    ///
    /// If the checkpoint is beyond the last event kept from its incarnation, the subscription
    /// ends with [`Invalid::OtherIncarnation`](crate::Invalid::OtherIncarnation).
    #[must_use]
    pub fn resume(self, checkpoint: Checkpoint) -> Self {
        self.after(checkpoint.position).incarnation(checkpoint.incarnation)
    }

    /// Delivers only events that the filter selects.
    #[must_use]
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Includes or excludes hidden events.
    #[must_use]
    pub fn visibility(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }
}

impl From<SubscribeToAll> for Subscribe {
    fn from(built: SubscribeToAll) -> Self {
        let SubscribeToAll { from, filter, visibility, incarnation } = built;
        Self { to: SubscribeTo::All { from, filter, visibility }, incarnation }
    }
}

/// Builds a subscription to one stream; see [`Subscribe::to_stream`].
///
/// ```
/// use gesta_store::{Revision, StreamName, Subscribe, SubscribeFrom, SubscribeTo};
///
/// let order = StreamName::new("order-1")?;
/// let subscribe: Subscribe = Subscribe::to_stream(order).after(Revision::new(2)).into();
/// let SubscribeTo::Stream { from, .. } = subscribe.to else { unreachable!() };
/// assert_eq!(from, SubscribeFrom::After(Revision::new(2)));
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeToStream {
    stream: StreamName,
    from: SubscribeFrom<Revision>,
}

impl SubscribeToStream {
    /// Starts after this revision.
    #[must_use]
    pub fn after(self, revision: Revision) -> Self {
        Self { from: SubscribeFrom::After(revision), ..self }
    }

    /// Starts at the first event recorded at or after this time; see [`SubscribeFrom::Time`].
    #[must_use]
    pub fn from_time(self, time: RecordedAt) -> Self {
        Self { from: SubscribeFrom::Time(time), ..self }
    }
}

impl From<SubscribeToStream> for Subscribe {
    fn from(built: SubscribeToStream) -> Self {
        let SubscribeToStream { stream, from } = built;
        Self { to: SubscribeTo::Stream { stream, from }, incarnation: None }
    }
}

impl<Place> SubscribeFrom<Place> {
    const fn capabilities(&self) -> CapabilitySet {
        match self {
            Self::Time(_) => CapabilitySet::of(&[Capability::TimeStarts]),
            Self::Start | Self::After(_) => CapabilitySet::EMPTY,
        }
    }
}

impl Subscribe {
    /// Returns the features that a store needs for this subscription.
    #[must_use]
    pub fn capabilities(&self) -> CapabilitySet {
        match &self.to {
            SubscribeTo::All { from, filter, .. } => {
                filter.capabilities().union(from.capabilities())
            }
            SubscribeTo::Stream { from, .. } => from.capabilities(),
        }
    }
}

/// One item of a subscription.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Events, in order. Never empty.
    Events(Page),
    /// The subscription has reached the head at this position; subsequent events are live.
    /// Delivered when the head is first reached, and again after the subscription was more than a
    /// page behind.
    CaughtUp(Position),
    /// Every event up to this position was delivered, filtered out, or is hidden. Lets a consumer
    /// advance its checkpoint past events that it never receives. Not delivered by subscriptions to
    /// one stream.
    Checkpoint(Position),
}

/// An endless stream of deliveries. Ends after the first error.
///
/// A starting position beyond the head is reported as
/// [`Invalid::BeyondHead`](crate::Invalid::BeyondHead). Nothing is buffered for a consumer that
/// does not poll. Dropping the value ends the subscription.
///
/// ```
/// use gesta_store::{Delivery, EventStore, Position, Subscribe, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let mut subscription = MemoryStore::new().subscribe(Subscribe::to_all().into());
/// let first = subscription.next().await.expect("has no end")?;
/// assert_eq!(first, Delivery::CaughtUp(Position::START));
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store can be subscribed to");
/// ```
pub struct Subscription(Pin<Box<dyn Stream<Item = Result<Delivery, StoreError>> + Send>>);

impl Subscription {
    /// Wraps a stream of deliveries.
    pub fn new(
        deliveries: impl Stream<Item = Result<Delivery, StoreError>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(deliveries))
    }

    /// Creates a subscription that returns this error and ends.
    #[must_use]
    pub fn failed(error: StoreError) -> Self {
        Self::new(Failed(Some(error)))
    }

    /// Returns the next delivery, or `None` after an error. Waits for new events at the head.
    ///
    /// Cancel-safe: no delivery is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Delivery, StoreError>> {
        poll_fn(|context| self.0.as_mut().poll_next(context)).await
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// A stream of one error.
struct Failed(Option<StoreError>);

impl Stream for Failed {
    type Item = Result<Delivery, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The error once, then the end.
        Poll::Ready(self.0.take().map(Err))
    }
}
