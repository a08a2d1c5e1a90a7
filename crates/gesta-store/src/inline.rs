//! Consumers that take part in the transaction of an append.
//!
//! Owns: [`InlineConsumer`], the [`InlineBatch`] that it gets, the store's side of the transaction
//! ([`AppendTransaction`]), and the [`DatabaseName`] by which an event store and a store of read
//! models find out whether they can have a transaction in common.
//!
//! Invariant: the changes of a consumer and the events that they come from are committed together
//! or not at all. Not here: the transaction on a read model
//! ([`ReadModelStore::join`](crate::ReadModelStore::join)), and projections, which belong to the
//! `gesta` crate.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

use crate::{Checkpoint, Position, RecordedEvent};

/// The name of a database, by which two stores find out that they are in the same one.
///
/// ```
/// use gesta_store::DatabaseName;
///
/// assert_ne!(DatabaseName::new("postgresql 7/16384"), DatabaseName::new("postgresql 7/16385"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DatabaseName(String);

impl DatabaseName {
    /// Names a database. Two names are equal only if transactions can span both stores.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The transaction of a batch of appends, before its commit.
///
/// Its type is the event store's own: a store of read models in the same database finds it by
/// [`Any`].
///
/// ```
/// use std::sync::Arc;
///
/// use gesta_store::{
///     AppendTransaction, InlineFuture, Position, RecordedEvent, conformance::block_on,
/// };
///
/// struct Empty;
///
/// impl AppendTransaction for Empty {
///     fn events_after(&self, _: Position) -> InlineFuture<'_, Arc<Vec<RecordedEvent>>> {
///         Box::pin(async { Ok(Arc::default()) })
///     }
/// }
///
/// assert!(block_on(Empty.events_after(Position::START))?.is_empty());
/// assert!(!Empty.is_lost());
/// # Ok::<(), gesta_store::InlineError>(())
/// ```
pub trait AppendTransaction: Any + Send + Sync {
    /// Returns the visible events after a position, by position, with those of the batch.
    ///
    /// # Errors
    ///
    /// [`InlineError::Again`] if the transaction cannot be read.
    fn events_after(&self, position: Position) -> InlineFuture<'_, Arc<Vec<RecordedEvent>>>;

    /// Returns `true` if the connection to the database broke. The store then records the batch in
    /// another transaction, and a failure in this one is the fault of no consumer.
    fn is_lost(&self) -> bool {
        false
    }
}

/// A batch of appends that was recorded and is not committed yet.
///
/// ```
/// # use std::sync::Arc;
/// # use gesta_store::{
/// #     AppendTransaction, Checkpoint, Incarnation, InlineBatch, InlineFuture, Position,
/// #     RecordedEvent,
/// # };
/// # struct Empty;
/// # impl AppendTransaction for Empty {
/// #     fn events_after(&self, _: Position) -> InlineFuture<'_, Arc<Vec<RecordedEvent>>> {
/// #         Box::pin(async { Ok(Arc::default()) })
/// #     }
/// # }
/// # let incarnation = Incarnation::new(uuid::Uuid::nil());
/// let to = Checkpoint { position: Position::new(7), incarnation };
/// let batch = InlineBatch::new(Arc::new(Empty), Position::new(4), to);
/// assert_eq!(batch.to.position.number() - batch.before.number(), 3, "events");
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct InlineBatch {
    /// The transaction that the batch was recorded in.
    pub transaction: Arc<dyn AppendTransaction>,
    /// Head of the store before the batch.
    pub before: Position,
    /// Head with the batch, and the incarnation of its events.
    pub to: Checkpoint,
}

impl InlineBatch {
    /// Describes a batch that was recorded in a transaction, after the head `before`.
    #[must_use]
    pub fn new(transaction: Arc<dyn AppendTransaction>, before: Position, to: Checkpoint) -> Self {
        Self { transaction, before, to }
    }
}

impl fmt::Debug for InlineBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, to, .. } = self;
        f.debug_struct("InlineBatch")
            .field("before", before)
            .field("to", to)
            .finish_non_exhaustive()
    }
}

/// The boxed future of an [`InlineConsumer`] and of the transaction that it gets.
///
/// ```
/// use gesta_store::{InlineFuture, conformance::block_on};
///
/// let applied: InlineFuture<'_> = Box::pin(async { Ok(()) });
/// assert_eq!(block_on(applied), Ok(()));
/// ```
pub type InlineFuture<'a, T = ()> =
    Pin<Box<dyn Future<Output = Result<T, InlineError>> + Send + 'a>>;

/// A consumer of events in the transaction of their append.
///
/// The store calls one consumer after the other, for one batch at a time. No other append of any
/// process is recorded during that time, so a consumer must be quick.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use gesta_store::{
///     Append, EventId, EventStore, EventType, ExpectedRevision, InlineBatch, InlineConsumer,
///     InlineFuture, NewEvent, StreamName, memory::MemoryStore,
/// };
///
/// /// Counts the events of committed batches.
/// #[derive(Default)]
/// struct Counter(Mutex<u64>);
///
/// impl InlineConsumer for Counter {
///     fn apply<'a>(&'a self, _: &'a InlineBatch) -> InlineFuture<'a> {
///         Box::pin(async { Ok(()) })
///     }
///
///     fn committed(&self, batch: &InlineBatch) {
///         *self.0.lock().unwrap() += batch.to.position.number() - batch.before.number();
///     }
/// }
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryStore::new();
/// let counter = Arc::new(Counter::default());
/// let consumer: Arc<dyn InlineConsumer> = counter.clone();
/// store.attach_inline(Arc::downgrade(&consumer))?;
/// let event = NewEvent::json(EventId::random(), EventType::new("order-placed")?, "{}");
/// store.append(Append::to(StreamName::new("order-1")?, ExpectedRevision::Any, [event])).await?;
/// assert_eq!(*counter.0.lock().unwrap(), 1);
/// # Ok::<(), gesta_store::StoreError>(())
/// # }).expect("a memory store takes consumers along");
/// ```
pub trait InlineConsumer: Send + Sync + 'static {
    /// Applies the events of a batch, or leaves them to a later moment.
    ///
    /// The store does not commit before the future is ready. After an error it rolls back.
    ///
    /// # Errors
    ///
    /// - [`InlineError::Refused`]: an event of the batch is at fault. A batch of several appends is
    ///   repeated with each of them alone; an append that is refused alone fails.
    /// - [`InlineError::Again`]: the consumer has left something out, and the same batch may be
    ///   recorded now.
    fn apply<'a>(&'a self, batch: &'a InlineBatch) -> InlineFuture<'a>;

    /// Learns that a batch was committed, after [`apply`](Self::apply) has succeeded for it. Called
    /// before the appends are acknowledged.
    fn committed(&self, batch: &InlineBatch);
}

/// The reason why a consumer could not take part in an append.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InlineError {
    /// The events cannot be applied. Their append fails.
    #[error("{consumer} cannot apply it: {reason}")]
    Refused {
        /// Name of the consumer, such as `inline projection openings`.
        consumer: String,
        /// The event and the error.
        reason: String,
    },
    /// No event of the batch is at fault. The consumer leaves the part out that has failed.
    #[error("left out: {reason}")]
    Again {
        /// The part that is left out, and the error.
        reason: String,
    },
}
