//! Projections: from events to the rows of a read model.
//!
//! Owns: [`Projection`], [`Apply`], and what runs them: catching up, retries, dead letters,
//! rebuilds. Always holds: rows, checkpoint and dead letters change in one transaction of the
//! read model's store, so each event takes effect exactly once; the events of one stream take
//! effect in order, also when one of them fails. Not here: how rows are stored
//! ([`ReadModelStore`]), and how they are asked for ([`Query`](crate::Query)).
//!
//! [`ReadModelStore`]: gesta_store::ReadModelStore

mod backoff;
mod builds;
mod caught;
mod ending;
mod filling;
mod handle;
mod letters;
mod name;
mod on_read;
mod operation;
mod provenance;
mod runner;
mod status;
mod typed_rows;

use std::{error::Error, future::Future};

use gesta_store::{DatabaseError, StreamName};

pub(crate) use backoff::Backoff;
pub(crate) use handle::{AnyReader, Handle, Planned, Planning, ProjectionContext, SharedStore};
pub use name::{InvalidProjectionName, PROJECTION_NAME_BYTES_MAX, check_projection_name};
pub use on_read::{OnRead, OnReadRow, ReadOnDemandError};
pub(crate) use on_read::{OnReadPlan, OnReadRows};
pub use operation::OperationError;
pub(crate) use operation::{Operation, Order};
pub(crate) use status::Progress;
pub use status::{Lag, OldRows, PendingSwitch, ProjectionState, ProjectionStatus, RebuildProgress};
pub use typed_rows::{ReadTypedRows, TypedRows};

use crate::{EventSet, Recorded, UndecodableEvent};

/// From events to the rows of one read model: its name, its version and what it understands.
///
/// What it does with them is [`Apply`], for one kind of database or for any.
///
/// ```
/// use gesta::{ApplyError, Apply, Projection, TypedRows, prelude::*};
/// use gesta::store::Rows;
///
/// #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// #[event(name = "door-opened")]
/// struct DoorOpened;
///
/// #[derive(EventSet, Clone, Debug, PartialEq)]
/// enum DoorEvent {
///     Opened(DoorOpened),
/// }
///
/// struct Openings;
///
/// impl Projection for Openings {
///     const NAME: &'static str = "openings";
///     type Event = DoorEvent;
/// }
///
/// impl<Tx: Rows> Apply<Tx> for Openings {
///     async fn apply(&self, tx: &mut Tx, events: &[Recorded<DoorEvent>]) -> Result<(), ApplyError> {
///         for event in events {
///             tx.put("last_opened", event.stream.as_str(), &event.revision.number()).await?;
///         }
///         Ok(())
///     }
/// }
///
/// assert_eq!(Openings::VERSION, 1, "unless told otherwise");
/// ```
pub trait Projection: Send + Sync + 'static {
    /// Its name, for ever: checkpoints are kept by it. Any text of 1 to
    /// [`PROJECTION_NAME_BYTES_MAX`] bytes will do, as [`check_projection_name`] says; the
    /// application does not open with another one.
    const NAME: &'static str;

    /// What the rows look like and mean. A greater one fills a fresh read model beside the old,
    /// which goes on answering, as it is, until the fresh one has reached the head.
    const VERSION: u32 = 1;

    /// What happens to an event that cannot be applied.
    const FAILURE_POLICY: FailurePolicy = FailurePolicy::SetAside;

    /// The events that it understands, of whatever categories.
    type Event: EventSet;
}

/// What a projection does with an event that still fails after its retries.
///
/// ```
/// use gesta::{FailurePolicy, Projection, prelude::*};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
///
/// struct Strict;
///
/// impl Projection for Strict {
///     const NAME: &'static str = "strict";
///     const FAILURE_POLICY: FailurePolicy = FailurePolicy::Halt;
///     type Event = DoorEvent;
/// }
///
/// assert_ne!(Strict::FAILURE_POLICY, FailurePolicy::SetAside);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Keeps it as a dead letter and goes on. Later events of the same stream are kept behind it,
    /// so that a retry applies them in order.
    SetAside,
    /// Keeps it as a dead letter and stops before it, until it is retried or discarded, or the
    /// program is started again.
    Halt,
}

/// What a projection does with events, on a database whose transactions are `Tx`.
///
/// ```
/// use gesta::{Apply, ApplyError, Gesta, Projection, ReadTypedRows, TypedRows, prelude::*};
/// use gesta::store::{CreateReadModel, MemoryReadModels, MemoryTx, ReadModelStore, Stage};
/// # #[derive(Event, Serialize, Deserialize, Clone)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
///
/// struct Count;
///
/// impl Projection for Count {
///     const NAME: &'static str = "count";
///     type Event = DoorEvent;
/// }
///
/// impl Apply<MemoryTx> for Count {
///     async fn prepare(&self, tx: &mut MemoryTx) -> Result<(), ApplyError> {
///         tx.put("count", "events", &0).await
///     }
///
///     async fn apply(
///         &self,
///         tx: &mut MemoryTx,
///         events: &[Recorded<DoorEvent>],
///     ) -> Result<(), ApplyError> {
///         let before: usize = tx.get("count", "events").await?.unwrap_or_default();
///         tx.put("count", "events", &(before + events.len())).await
///     }
/// }
///
/// # gesta::store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "count", version: 1, stage: Stage::Live };
/// let mut tx = store.begin(&store.create_read_model(create).await?).await?;
/// Count.prepare(&mut tx).await?;
/// assert_eq!(tx.get("count", "events").await?, Some(0));
/// # Ok::<(), ApplyError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait Apply<Tx>: Projection {
    /// Prepares an empty read model, such as by making tables. Once, before the first event.
    ///
    /// # Errors
    /// It is tried again, with pauses, until it succeeds.
    fn prepare(&self, tx: &mut Tx) -> impl Future<Output = Result<(), ApplyError>> + Send {
        let _ = tx;
        std::future::ready(Ok(()))
    }

    /// Applies events, in order, never none. All that is done through `tx` takes effect together
    /// with the checkpoint, or not at all; it must do nothing else that lasts, since the same
    /// events come again after a failure.
    ///
    /// # Errors
    /// The events are tried again one by one. One that fails is tried a few times, at once, and
    /// then see [`FailurePolicy`]; one that cannot be read is not tried again. A failure that passes
    /// with time is [`DatabaseError::Unavailable`]: it blames no event, and the projection waits
    /// for it, with pauses.
    fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<Self::Event>],
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Forgets the rows of a stream that was deleted or tombstoned, as if its events had never
    /// come. Called in order with events, for every stream of the store that ends, also one that
    /// has no rows here. Does nothing unless implemented: rows then stay until the projection is
    /// rebuilt.
    ///
    /// # Errors
    /// As of [`apply`](Self::apply). What is set aside then is the end of the stream.
    fn forget(
        &self,
        tx: &mut Tx,
        stream: &StreamName,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send {
        let _ = (tx, stream);
        std::future::ready(Ok(()))
    }
}

/// Why events could not be applied.
///
/// ```
/// use gesta::ApplyError;
///
/// let error = ApplyError::because("the order has no customer");
/// assert_eq!(error.to_string(), "the order has no customer");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The read model's database did not do it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// An event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UndecodableEvent),
    /// A value has no JSON form, or a row is not what it is read as.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The projection says so.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
    /// The projection panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl ApplyError {
    /// The projection fails for this reason: a text or another error.
    pub fn because(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }

    /// Returns whether the same event fails again for certain: it is read from its bytes alone.
    const fn is_certain(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// The database's word that the events may well be applied later, or by another writer: no
    /// event is at fault.
    fn is_the_databases(&self) -> bool {
        match self {
            Self::Database(error) => match error {
                DatabaseError::Unavailable { .. }
                | DatabaseError::CheckpointConflict { .. }
                | DatabaseError::Missing { .. }
                | DatabaseError::Corrupt { .. } => true,
                DatabaseError::Rejected { .. } => false,
            },
            Self::Unreadable(_) | Self::Json(_) | Self::Failed(_) | Self::Panicked { .. } => false,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
