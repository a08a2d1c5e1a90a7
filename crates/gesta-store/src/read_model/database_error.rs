//! Errors of stores of derived data, sorted by the reaction of the caller.
//!
//! A transaction that returned an error has changed nothing, unless the error is
//! [`DatabaseError::Unavailable`] from its commit. Not here: errors of event stores
//! ([`StoreError`](crate::StoreError)).

use std::{error::Error, future::Future, pin::Pin, sync::Arc};

use super::ReadModelId;
use crate::{Checkpoint, FencingToken};

/// The boxed future that the methods of [`CheckpointStore`](crate::CheckpointStore) and
/// [`SnapshotStore`](crate::SnapshotStore) return.
///
/// ```
/// use gesta_store::{CheckpointStore, DatabaseFuture, MemoryReadModels};
///
/// let store = MemoryReadModels::new();
/// let answer: DatabaseFuture<'_, _> = store.load_checkpoint("relay");
/// assert!(gesta_store::conformance::block_on(answer).expect("it answers").is_none());
/// ```
pub type DatabaseFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, DatabaseError>> + Send + 'a>>;

/// The error of a database driver, in a form that can be cloned.
///
/// ```
/// use std::{io, sync::Arc};
/// use gesta_store::{SharedError, DatabaseError};
///
/// let source: SharedError = Arc::new(io::Error::other("the disk is gone"));
/// let error = DatabaseError::Unavailable { reason: source.to_string(), source: Some(source) };
/// assert_eq!(error.to_string(), "database unavailable: the disk is gone");
/// ```
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// The error of a store of derived data.
///
/// Each variant stands for one reaction of the caller.
///
/// ```
/// use gesta_store::DatabaseError;
///
/// let busy = DatabaseError::unavailable("another process holds the file");
/// assert!(busy.is_transient());
/// assert!(!DatabaseError::rejected("no such table: orders").is_transient());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database is busy, full or unreachable. Back off and continue from the stored checkpoint.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// Description of the failure.
        reason: String,
        /// The driver's error.
        #[source]
        source: Option<SharedError>,
    },
    /// A statement or a value is invalid. Fix the projection or the query.
    #[error("invalid statement or value: {reason}")]
    Rejected {
        /// The part that is invalid.
        reason: String,
        /// The driver's error.
        #[source]
        source: Option<SharedError>,
    },
    /// Another writer moved the checkpoint. Roll back and continue from the stored one.
    #[error("checkpoint is at {}, expected {}", place_text(.stored), place_text(.expected))]
    CheckpointConflict {
        /// The checkpoint that the caller expected.
        expected: Option<Checkpoint>,
        /// The checkpoint that is stored.
        stored: Option<Checkpoint>,
    },
    /// A node with a later lease has written. Roll back, and stop the work.
    #[error("the lease with token {token} is over: the lease with token {admitted} has written")]
    Fenced {
        /// Token of the transaction's lease.
        token: FencingToken,
        /// Greatest token that the read model has admitted.
        admitted: FencingToken,
    },
    /// The read model was dropped. List the read models again.
    #[error("there is no read model {read_model}")]
    Missing {
        /// The read model that was asked for.
        read_model: ReadModelId,
    },
    /// Stored bytes are damaged. Drop the damaged read model and rebuild it.
    #[error("database corrupt: {reason}")]
    Corrupt {
        /// Description of the damage.
        reason: String,
        /// The driver's error.
        #[source]
        source: Option<SharedError>,
    },
}

impl DatabaseError {
    /// Creates a [`DatabaseError::Unavailable`] without a source.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Creates a [`DatabaseError::Rejected`] without a source.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected { reason: reason.into(), source: None }
    }

    /// Returns `true` if the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Rejected { .. }
            | Self::CheckpointConflict { .. }
            | Self::Fenced { .. }
            | Self::Missing { .. }
            | Self::Corrupt { .. } => false,
        }
    }
}

fn place_text(checkpoint: &Option<Checkpoint>) -> String {
    match checkpoint {
        Some(checkpoint) => {
            format!("position {} of incarnation {}", checkpoint.position, checkpoint.incarnation)
        }
        None => "the start".to_owned(),
    }
}
