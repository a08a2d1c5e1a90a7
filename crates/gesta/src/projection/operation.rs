//! Operations on a running projection: what is ordered, and why it was not done.

use gesta_store::{DatabaseError, Position, ReadModelId, StoreError};
use tokio::sync::oneshot;

/// An operation that waits for the projection, with the place for its outcome.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) operation: Operation,
    pub(crate) reply: oneshot::Sender<Result<(), OperationError>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Fill a fresh read model, in place of one that is being filled.
    Rebuild,
    /// Apply what was set aside of the stream of the dead letter at this position.
    Retry(Position),
    /// Forget the dead letter at this position, and apply what waits behind it.
    Discard(Position),
    /// Let a rebuild answer that has set events aside.
    ConfirmSwitch,
    /// Let the retired read model answer again.
    RollBack,
    /// Drop the retired read model.
    DropOld,
    /// Take note of the damage that a query met in this read model.
    Damaged(ReadModelId, String),
}

/// Why an operation on a projection was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// No projection of this name runs here.
    #[error("projection {projection} is not registered")]
    NotRegistered {
        /// The name.
        projection: String,
    },
    /// It was retried or discarded before, or never was.
    #[error("there is no dead letter at position {position}")]
    NoSuchDeadLetter {
        /// The position.
        position: Position,
    },
    /// The store no longer has the event. Discard the dead letter.
    #[error("the event at position {position} is gone")]
    EventGone {
        /// The position.
        position: Position,
    },
    /// It was tried and fails as before. Fix the projection.
    #[error("the event at position {position} still fails: {error}")]
    StillFails {
        /// The position.
        position: Position,
        /// Why.
        error: String,
    },
    /// No switch-over awaits confirmation: there is no rebuild, it has not reached the head yet, or
    /// it has set nothing aside and switches by itself.
    #[error("no switch-over of projection {projection} awaits confirmation")]
    NothingToConfirm {
        /// The projection's name.
        projection: &'static str,
    },
    /// No rows of an earlier switch-over are kept: there was none, or they were dropped.
    #[error("projection {projection} keeps no rows from before a switch-over")]
    NoOldRows {
        /// The projection's name.
        projection: &'static str,
    },
    /// The old rows were filled by another version of the projection, which this program cannot
    /// continue. Start the program that has that version: it goes on with them by itself.
    #[error(
        "the old rows of projection {projection} are of version {old}, this program has version \
         {program}: start the program with version {old} to go on with them"
    )]
    OtherVersion {
        /// The projection's name.
        projection: &'static str,
        /// The version that filled the old rows.
        old: u32,
        /// The version of this program.
        program: u32,
    },
    /// The read model's database did not do it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projection is in trouble or stopped. Look at its status; try again later.
    #[error("the projection cannot do it now: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
    },
}
