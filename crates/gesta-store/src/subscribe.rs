//! Subscriptions: reads that catch up and then stay live.
//!
//! Owns: [`Subscribe`], what is asked for, and [`Subscription`], what is delivered. Always holds:
//! positions of deliveries never fall, nothing between two of them is left out, and a consumer
//! that stops reading harms nobody. Not here: where a consumer keeps its checkpoint.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    Checkpoint, Filter, Incarnation, Page, Position, Revision, StoreError, StreamName, Visibility,
};

/// What a subscription is about, and after which place.
///
/// A subscription to a stream leaves out what the stream's metadata hide, waits for a stream that
/// does not exist yet, and ends with [`StoreError::Deleted`] once the stream is tombstoned. It never
/// goes back: what it passed while metadata hid it is not delivered when other metadata show it
/// again.
///
/// A subscription to the whole store is raw unless told otherwise. A visible one delivers what is
/// visible when it is delivered, and passes over the rest for good: what is hidden later is not
/// called back, and what is shown again later is not delivered.
///
/// ```
/// use gesta_store::{StreamName, Subscribe, SubscribeTo};
///
/// let order = StreamName::new("order-1")?;
/// let to = SubscribeTo::Stream { stream: order.clone(), after: None };
/// assert_eq!(Subscribe::to_stream(order).to, to);
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeTo {
    /// The whole store, or what a filter lets through.
    All {
        /// Only events after this position.
        after: Position,
        /// Only these events.
        filter: Filter,
        /// Whether hidden events are delivered.
        visibility: Visibility,
    },
    /// One stream, whether it exists yet or not.
    Stream {
        /// Which stream.
        stream: StreamName,
        /// Only events after this revision; none: from the first.
        after: Option<Revision>,
    },
}

/// What to subscribe to.
///
/// ```
/// use gesta_store::{EventType, Filter, Position, Subscribe};
///
/// let shipped = Subscribe::to_all()
///     .after(Position::new(41))
///     .only(Filter::EventTypes(vec![EventType::new("order-shipped")?]));
/// assert!(shipped.incarnation.is_none());
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// What, and after which place.
    pub to: SubscribeTo,
    /// The incarnation that the place belongs to, where the consumer knows it.
    pub incarnation: Option<Incarnation>,
}

impl Subscribe {
    /// To the whole store from its first event on.
    #[must_use]
    pub const fn to_all() -> Self {
        let to = SubscribeTo::All {
            after: Position::START,
            filter: Filter::Everything,
            visibility: Visibility::Raw,
        };
        Self { to, incarnation: None }
    }

    /// To one stream from its first event on.
    #[must_use]
    pub const fn to_stream(stream: StreamName) -> Self {
        Self { to: SubscribeTo::Stream { stream, after: None }, incarnation: None }
    }

    /// After this position. Says nothing on a subscription to one stream.
    #[must_use]
    pub fn after(mut self, position: Position) -> Self {
        if let SubscribeTo::All { after, .. } = &mut self.to {
            *after = position;
        }
        self
    }

    /// After this revision. Says nothing on a subscription to the whole store.
    #[must_use]
    pub fn after_revision(mut self, revision: Revision) -> Self {
        if let SubscribeTo::Stream { after, .. } = &mut self.to {
            *after = Some(revision);
        }
        self
    }

    /// After a checkpoint of the consumer's. A checkpoint past what this life of the store kept
    /// ends the subscription with [`Invalid::OtherIncarnation`](crate::Invalid::OtherIncarnation).
    #[must_use]
    pub fn resume(self, checkpoint: Checkpoint) -> Self {
        Self { incarnation: Some(checkpoint.incarnation), ..self.after(checkpoint.position) }
    }

    /// Only events that the filter lets through. Says nothing on a subscription to one stream.
    #[must_use]
    pub fn only(mut self, only: Filter) -> Self {
        if let SubscribeTo::All { filter, .. } = &mut self.to {
            *filter = only;
        }
        self
    }

    /// With or without hidden events. Says nothing on a subscription to one stream, which delivers
    /// visible events only.
    #[must_use]
    pub fn showing(mut self, showing: Visibility) -> Self {
        if let SubscribeTo::All { visibility, .. } = &mut self.to {
            *visibility = showing;
        }
        self
    }
}

/// One thing that a subscription says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Events, in order; never none.
    Events(Page),
    /// Everything up to this position is delivered or not meant; what comes now is live. Said
    /// when the head is first reached, and again after falling behind by more than a page.
    CaughtUp(Position),
    /// Nothing up to this position is left to deliver: a filter let nothing more through, or the
    /// rest is hidden. Said so that a consumer's place advances past events that it never sees.
    Checkpoint(Position),
}

/// What a subscription returns: deliveries without end, until an error or until it is dropped.
///
/// Positions beyond the head at the start are [`Invalid::BeyondHead`](crate::Invalid::BeyondHead).
///
/// ```
/// use gesta_store::{Delivery, EventStore, Position, Subscribe, memory::MemoryStore};
///
/// # gesta_store::conformance::block_on(async {
/// let mut subscription = MemoryStore::new().subscribe(Subscribe::to_all());
/// let first = subscription.next().await.expect("has no end")?;
/// assert_eq!(first, Delivery::CaughtUp(Position::START));
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store can be subscribed to");
/// ```
pub struct Subscription(Pin<Box<dyn Stream<Item = Result<Delivery, StoreError>> + Send>>);

impl Subscription {
    /// A subscription from any stream of deliveries.
    pub fn new(
        deliveries: impl Stream<Item = Result<Delivery, StoreError>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(deliveries))
    }

    /// A subscription that fails at once.
    #[must_use]
    pub fn failed(error: StoreError) -> Self {
        Self::new(Failed(Some(error)))
    }

    /// The next delivery; none after an error.
    ///
    /// Cancel-safe: dropping the future loses no delivery.
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

/// Says one error and ends.
struct Failed(Option<StoreError>);

impl Stream for Failed {
    type Item = Result<Delivery, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Err))
    }
}
