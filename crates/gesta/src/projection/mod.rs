//! Projections: from events to the rows of a read model.
//!
//! Owns: [`Projection`], [`Apply`] and their runtime: catching up, retries, dead letters and
//! rebuilds.
//!
//! Invariant: rows, checkpoint and dead letters change in one transaction of the read model's
//! store, so each event takes effect exactly once. The events of one stream take effect in order,
//! even if one of them fails.
//!
//! Not here: storage of rows ([`ReadModelStore`]) and queries ([`Query`](crate::Query)).
//!
//! [`ReadModelStore`]: gesta_store::ReadModelStore

mod both_builds;
mod cached_answers;
mod catch_panic;
mod comparison;
mod dead_letters;
mod deliveries;
mod deps;
mod event_run;
mod follower;
mod handle;
mod inline;
mod lifecycle;
mod name;
mod on_read;
mod operation;
mod partition_runner;
mod provenance;
mod read_models;
mod run_error;
mod runner;
mod status;
mod store_work;
mod stream_end;
mod typed_rows;
mod writer;

use std::{error::Error, future::Future};

use gesta_store::{DatabaseError, StreamName};

pub(crate) use comparison::{BothBuilds, BothBuildsSlot};
pub use comparison::{Comparison, TableComparison};
pub(crate) use handle::{
    ProjectionContext, ProjectionHandle, ProjectionRegistration, SharedStore, StartProjection,
};
pub use name::{InvalidProjectionName, PROJECTION_NAME_BYTES_MAX, check_projection_name};
pub use on_read::{OnRead, OnReadRow, ReadOnDemandError};
pub(crate) use on_read::{OnReadRows, OnReadStorage};
pub(crate) use operation::{ControlMessage, Operation, SwitchOver};
pub use operation::{OperationError, Rehearsal};
pub(crate) use status::ProjectionProgress;
pub use status::{
    Lag, OldRows, PartitionStatus, PendingSwitch, ProjectionState, ProjectionStatus,
    RebuildProgress,
};
pub use typed_rows::{ReadTypedRows, TypedRows};

use crate::{EventSet, Recorded, RowGroups, UndecodableEvent};

/// The name, version and event set of a read model's projection.
///
/// [`Apply`] implements the changes of rows, for one kind of database or for any.
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
///     async fn apply(
///         &self,
///         tx: &mut Tx,
///         events: &[Recorded<DoorEvent>],
///     ) -> Result<(), ApplyError> {
///         for event in events {
///             tx.put("last_opened", event.stream.as_str(), &event.revision.number()).await?;
///         }
///         Ok(())
///     }
/// }
///
/// assert_eq!(Openings::VERSION, 1, "the default");
/// ```
pub trait Projection: Send + Sync + 'static {
    /// Permanent name: checkpoints are stored under it.
    ///
    /// Any text of 1 to [`PROJECTION_NAME_BYTES_MAX`] bytes that [`check_projection_name`] accepts.
    /// The application does not open with an invalid name.
    const NAME: &'static str;

    /// Version of the rows' shape and meaning.
    ///
    /// An increase rebuilds: a new read model is filled, and the old one, unchanged, answers
    /// queries until the new one has reached the head.
    const VERSION: u32 = 1;

    /// Policy for an event that cannot be applied.
    const FAILURE_POLICY: FailurePolicy = FailurePolicy::SetAside;

    /// Number of partitions: parts of the events, by a stable hash of their streams, that are
    /// applied side by side. At most [`PARTITIONS_MAX`].
    ///
    /// The events of one stream are applied in order; those of different streams in any order. So
    /// rows depend on one stream each, or on sums that any order gives. Each partition has its own
    /// checkpoint, and with [`Nodes`](crate::Nodes) its own lease, so that nodes share the work.
    /// The database decides how far transactions of partitions run side by side.
    ///
    /// A projection with partitions sets failing events aside: [`FailurePolicy::Halt`] is refused.
    /// A change of the number rebuilds, unless the projection was not divided before.
    const PARTITIONS: u32 = 1;

    /// Events that the projection applies, of any category.
    type Event: EventSet;

    /// Returns the groups of rows that an event changes, for cached queries that depend on groups
    /// ([`Caching::depends_on`](crate::Caching::depends_on)). Default: all rows.
    ///
    /// Called after the event was applied, only if the application has a cache. A group that is
    /// left out here leaves answers valid that should not be, until their time to live is over. A
    /// panic counts as a failure of the event.
    fn changes(&self, event: &Recorded<Self::Event>) -> RowGroups {
        let _ = event;
        RowGroups::all()
    }
}

/// Maximum of [`Projection::PARTITIONS`].
pub const PARTITIONS_MAX: u32 = 64;

/// Policy for an event that still fails after its retries.
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
#[non_exhaustive]
pub enum FailurePolicy {
    /// Stores the event as a dead letter and continues. Later events of the same stream are stored
    /// behind it, so that a retry applies them in order.
    SetAside,
    /// Stores the event as a dead letter and stops before it, until it is retried or discarded, or
    /// the program restarts.
    Halt,
}

/// Application of events to rows, on a database with transactions of type `Tx`.
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
/// let create = CreateReadModel::new("count", 1, Stage::Live);
/// let mut tx = store.begin(&store.create_read_model(create).await?).await?;
/// Count.prepare(&mut tx).await?;
/// assert_eq!(tx.get("count", "events").await?, Some(0));
/// # Ok::<(), ApplyError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait Apply<Tx>: Projection {
    /// Prepares an empty read model, for example by creating tables. Runs once, before the first
    /// event.
    ///
    /// # Errors
    /// Any error: the call is repeated, with pauses, until it succeeds.
    fn prepare(&self, tx: &mut Tx) -> impl Future<Output = Result<(), ApplyError>> + Send {
        let _ = tx;
        std::future::ready(Ok(()))
    }

    /// Applies at least one event, in order.
    ///
    /// All changes through `tx` commit together with the checkpoint. There must be no other lasting
    /// effects, because the same events are applied again after a failure.
    ///
    /// # Errors
    /// After an error, the events are applied one by one. An event that fails is repeated a few
    /// times without pauses, then [`FailurePolicy`] decides. An event that cannot be decoded is not
    /// repeated. Return [`DatabaseError::Unavailable`] for a failure that passes with time: it
    /// blames no event, and the projection retries with pauses.
    fn apply(
        &self,
        tx: &mut Tx,
        events: &[Recorded<Self::Event>],
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Deletes the rows of a stream that was deleted or tombstoned, as if its events had never
    /// been appended.
    ///
    /// Called in order with events, for every stream of the store that ends, including streams
    /// without rows here. The default does nothing: rows then stay until the projection is rebuilt.
    ///
    /// # Errors
    /// The same as [`apply`](Self::apply). The dead letter is then the event that ended the stream.
    fn forget(
        &self,
        tx: &mut Tx,
        stream: &StreamName,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send {
        let _ = (tx, stream);
        std::future::ready(Ok(()))
    }
}

/// The reason why events could not be applied.
///
/// ```
/// use gesta::ApplyError;
///
/// let error = ApplyError::because("the order has no customer");
/// assert_eq!(error.to_string(), "the order has no customer");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The read model's database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// An event cannot be decoded.
    #[error(transparent)]
    Unreadable(#[from] UndecodableEvent),
    /// A value cannot be encoded as JSON, or a row cannot be decoded as the requested type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The projection reported an error of its own.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
    /// The projection panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// Panic message.
        message: String,
    },
}

impl ApplyError {
    /// Creates an error of the projection's own, from a text or another error.
    pub fn because(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }

    /// Returns a name for the variant, for traces.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Unreadable(_) => "undecodable",
            Self::Json(_) => "json",
            Self::Failed(_) => "failed",
            Self::Panicked { .. } => "panicked",
        }
    }

    /// Returns whether the same event always fails: decoding depends on its bytes alone.
    const fn is_permanent(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }

    /// Returns whether the database failed and no event is at fault. The events may apply later,
    /// or through another writer.
    fn is_infrastructure(&self) -> bool {
        match self {
            Self::Database(error) => !matches!(error, DatabaseError::Rejected { .. }),
            Self::Unreadable(_) | Self::Json(_) | Self::Failed(_) | Self::Panicked { .. } => false,
        }
    }
}
