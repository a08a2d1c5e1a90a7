//! Why a database of derived data did not do what it was asked, sorted by what the caller does
//! next.
//!
//! Always holds: a transaction that answered with an error changed nothing, unless the error is
//! [`DatabaseError::Unavailable`] and came from its commit. Not here: errors of event stores
//! ([`StoreError`](crate::StoreError)).

use std::{error::Error, future::Future, pin::Pin, sync::Arc};

use super::ReadModelId;
use crate::Checkpoint;

/// The future of an answer of a database.
///
/// ```
/// use gesta_store::{CheckpointStore, DatabaseAnswer, MemoryReadModels};
///
/// let store = MemoryReadModels::new();
/// let answer: DatabaseAnswer<'_, _> = store.load_checkpoint("relay");
/// assert!(gesta_store::conformance::block_on(answer).expect("it answers").is_none());
/// ```
pub type DatabaseAnswer<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, DatabaseError>> + Send + 'a>>;

/// What a database's driver said.
///
/// ```
/// use std::{io, sync::Arc};
/// use gesta_store::{Cause, DatabaseError};
///
/// let source: Cause = Arc::new(io::Error::other("the disk is gone"));
/// let error = DatabaseError::Unavailable { reason: source.to_string(), source: Some(source) };
/// assert_eq!(error.to_string(), "database unavailable: the disk is gone");
/// ```
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a database of derived data did not do what it was asked.
///
/// ```
/// use gesta_store::DatabaseError;
///
/// let busy = DatabaseError::unavailable("another process holds the file");
/// assert!(busy.is_transient());
/// assert!(!DatabaseError::rejected("no such table: orders").is_transient());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Busy, full or out of reach. Back off and do it again from the last checkpoint.
    #[error("database unavailable: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
        /// What the driver said.
        #[source]
        source: Option<Cause>,
    },
    /// The statement or the value is wrong. Fix the projection or the query.
    #[error("database refused: {reason}")]
    Rejected {
        /// What is wrong with it.
        reason: String,
        /// What the driver said.
        #[source]
        source: Option<Cause>,
    },
    /// Another writer moved the checkpoint. Roll back, go on from the stored one.
    #[error("checkpoint is at {}, {} was expected", place(.stored), place(.expected))]
    Overtaken {
        /// What the caller expected.
        expected: Option<Checkpoint>,
        /// Where it is.
        stored: Option<Checkpoint>,
    },
    /// The read model was dropped. List again.
    #[error("there is no read model {read_model}")]
    Missing {
        /// Which one.
        read_model: ReadModelId,
    },
    /// Stored bytes are damaged. Drop what is damaged; it can be derived again.
    #[error("database corrupt: {reason}")]
    Corrupt {
        /// What is known.
        reason: String,
        /// What the driver said.
        #[source]
        source: Option<Cause>,
    },
}

impl DatabaseError {
    /// Unavailable for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Rejected for this reason.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected { reason: reason.into(), source: None }
    }

    /// Whether doing the same again may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Rejected { .. }
            | Self::Overtaken { .. }
            | Self::Missing { .. }
            | Self::Corrupt { .. } => false,
        }
    }
}

fn place(checkpoint: &Option<Checkpoint>) -> String {
    match checkpoint {
        Some(checkpoint) => {
            format!("position {} of incarnation {}", checkpoint.position, checkpoint.incarnation)
        }
        None => "the start".to_owned(),
    }
}
