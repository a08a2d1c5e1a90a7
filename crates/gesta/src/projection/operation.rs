//! Operations on a running projection, and their errors.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use gesta_store::{DatabaseError, Position, ReadModelId, StoreError};
use tokio::sync::oneshot;

use super::comparison::BothBuildsSlot;
use crate::{RunsElsewhere, audit::STILL_FAILS};

/// An operation requested from a running projection, with the channel for its result.
#[derive(Debug)]
pub(crate) struct ControlMessage {
    pub(crate) operation: Operation,
    pub(crate) reply: oneshot::Sender<Result<(), OperationError>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Fills a new read model. Replaces a rebuild in progress.
    Rebuild(SwitchOver),
    /// Applies all dead letters of the stream of the one at this position, in order.
    Retry(Position),
    /// Deletes the dead letter at this position and applies the events behind it.
    Discard(Position),
    /// Applies the dead letter at this position with other data, and those behind it, and takes it
    /// all back. The slot gets what happened.
    Rehearse(Position, Bytes, Arc<OnceLock<Rehearsal>>),
    /// Opens readers of the live rows and of a rebuild that awaits confirmation, once both reflect
    /// the same events. The slot gets them.
    OpenBoth(BothBuildsSlot),
    /// Makes a rebuild with dead letters live.
    ConfirmSwitch,
    /// Resumes the retired read model and makes it live once it has caught up.
    RollBack,
    /// Drops the retired read model.
    DropOld,
    /// Applies no events until it is resumed.
    Pause,
    Resume,
    /// Looks for the read model again: a query found this one gone. An error if it is the one that
    /// the projection fills.
    Missed(ReadModelId),
    /// Records damage that a query met in this read model.
    Damaged(ReadModelId, String),
}

/// Outcome of a try of a dead letter with other data, which changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rehearsal {
    /// Error of the event with the other data. `None` if it applies.
    pub error: Option<String>,
    /// Number of the events of its stream that wait behind it and apply after it.
    pub behind: usize,
    /// The first event behind it that fails then, with its error.
    pub behind_error: Option<(Position, String)>,
}

/// The moment at which a rebuild goes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwitchOver {
    /// Once it has caught up, unless it has dead letters.
    WhenComplete,
    /// Once an operator confirms it.
    WhenConfirmed,
}

/// The reason why an operation on a projection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// No projection of this name is registered.
    #[error("projection {projection} is not registered")]
    NotRegistered {
        /// Unknown name.
        projection: String,
    },
    /// Another node runs the projection. Send the operation to it.
    #[error(transparent)]
    RunsElsewhere(#[from] RunsElsewhere),
    /// The dead letter does not exist: it was retried or discarded before, or never existed.
    #[error("there is no dead letter at position {position}")]
    NoSuchDeadLetter {
        /// Position of the event.
        position: Position,
    },
    /// The event was deleted from the store. Discard the dead letter.
    #[error("the event at position {position} no longer exists")]
    EventGone {
        /// Position of the event.
        position: Position,
    },
    /// The event fails again. Correct the projection, then retry.
    #[error("the event at position {position} still fails: {error}")]
    StillFails {
        /// Position of the event.
        position: Position,
        /// The error of the last attempt.
        error: String,
    },
    /// No switch-over awaits confirmation. There is no rebuild, it has not reached the head yet, or
    /// it has no dead letters and needs no confirmation.
    #[error("no switch-over of projection {projection} awaits confirmation")]
    NothingToConfirm {
        /// Name of the projection.
        projection: &'static str,
    },
    /// No rebuild awaits confirmation, so there is nothing to compare the live rows with. Rebuild
    /// the projection, and hold the switch-over.
    #[error(
        "no rebuild of projection {projection} awaits confirmation; rebuild it and hold the \
         switch-over, then compare"
    )]
    NothingToCompare {
        /// Name of the projection.
        projection: &'static str,
    },
    /// The rows cannot be compared.
    #[error("the rows of projection {projection} cannot be compared: {reason}")]
    CannotCompare {
        /// Name of the projection.
        projection: &'static str,
        /// The reason.
        reason: String,
    },
    /// No old rows are kept: there was no switch-over, or they were dropped.
    #[error("projection {projection} has no old rows from before a switch-over")]
    NoOldRows {
        /// Name of the projection.
        projection: &'static str,
    },
    /// The old rows were filled by another version of the projection, which this program cannot
    /// continue. Start the program with that version: it resumes them automatically.
    #[error(
        "the old rows of projection {projection} have version {old}, but this program has version \
         {program}; start the program with version {old} to resume them"
    )]
    OtherVersion {
        /// Name of the projection.
        projection: &'static str,
        /// Version that filled the old rows.
        old: u32,
        /// Version of this program.
        program: u32,
    },
    /// The projection cannot be paused: it is inline, or divided into partitions.
    #[error("projection {projection} cannot be paused: {reason}")]
    CannotPause {
        /// Name of the projection.
        projection: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// The read model's database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The projection is recovering from an error, or has stopped. Check its status and try again.
    #[error("the projection cannot run the operation now: {reason}")]
    Unavailable {
        /// The known cause.
        reason: String,
    },
}

impl OperationError {
    /// Returns a name for the variant, for the audit stream and programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotRegistered { .. } => "not-registered",
            Self::RunsElsewhere(_) => "runs-elsewhere",
            Self::NoSuchDeadLetter { .. } => "no-such-dead-letter",
            Self::EventGone { .. } => "event-gone",
            Self::StillFails { .. } => STILL_FAILS,
            Self::NothingToConfirm { .. } => "nothing-to-confirm",
            Self::NothingToCompare { .. } => "nothing-to-compare",
            Self::CannotCompare { .. } => "cannot-compare",
            Self::NoOldRows { .. } => "no-old-rows",
            Self::OtherVersion { .. } => "other-version",
            Self::CannotPause { .. } => "cannot-pause",
            Self::Database(_) => "database",
            Self::Store(_) => "store",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}
