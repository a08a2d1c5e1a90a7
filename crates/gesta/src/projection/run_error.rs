//! Errors that end a session of the runner, of a partition or of a rebuild.
//!
//! Owns: [`RunError`], sorted by what the task does next. Not here: the failure of one event, which
//! becomes a dead letter (`writer`).

use gesta_store::{DatabaseError, Position, ReadModelId, RecordedEvent, StoreError, StreamName};

use super::{ApplyError, provenance::Outdated};
use crate::error_line::in_one_line;

/// An error that ends a session of the runner, or of a rebuild.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// The database or the store failed, and no event is at fault.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The same, while an event was applied.
    #[error("the event at position {position} of stream {stream} cannot be applied now")]
    Held {
        position: Position,
        stream: StreamName,
        #[source]
        error: Box<ApplyError>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows do not fit this store or event set. A rebuild replaces them.
    #[error("{read_model} must be rebuilt: {why}")]
    Outdated { read_model: ReadModelId, why: Outdated },
    /// An earlier error whose pause is over.
    #[error("{0}")]
    Again(String),
}

impl RunError {
    /// Returns the damage of a read model in one line, or `None` for any other error.
    pub(super) fn damage(&self) -> Option<String> {
        match self.database() {
            Some(error @ DatabaseError::Corrupt { .. }) => Some(in_one_line(error)),
            _ => None,
        }
    }

    /// Returns whether a later lease has written: another node has taken over.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(self.database(), Some(DatabaseError::Fenced { .. }))
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.database(), Some(DatabaseError::Missing { .. }))
    }

    /// Returns whether the rows are divided into another number of partitions.
    pub(super) const fn is_divided_otherwise(&self) -> bool {
        matches!(self, Self::Outdated { why: Outdated::OtherPartitions, .. })
    }

    /// Returns the error of the database, if it is one.
    fn database(&self) -> Option<&DatabaseError> {
        let error = match self {
            Self::Apply(error) => error,
            Self::Held { error, .. } => &**error,
            Self::Store(_) | Self::Outdated { .. } | Self::Again(_) => return None,
        };
        match error {
            ApplyError::Database(error) => Some(error),
            _ => None,
        }
    }

    /// Adds the first event of the page that could not be applied.
    pub(super) fn held(error: ApplyError, event: &RecordedEvent) -> Self {
        Self::Held {
            position: event.position,
            stream: event.stream.clone(),
            error: Box::new(error),
        }
    }
}

impl From<DatabaseError> for RunError {
    fn from(error: DatabaseError) -> Self {
        Self::Apply(error.into())
    }
}
