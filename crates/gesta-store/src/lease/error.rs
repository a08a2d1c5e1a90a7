//! Errors of leases, sorted by the reaction of the caller.

use std::time::Duration;

use super::{AcquireLease, FencingToken, LeaseName, NodeName};
use crate::{DatabaseError, InvalidName, SharedError};

/// The error of a call of [`Leases`](super::Leases).
///
/// ```
/// use gesta_store::LeaseError;
///
/// let error = LeaseError::unavailable("the connection was lost");
/// assert_eq!(error.to_string(), "outcome unknown: the connection was lost");
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another node has the lease. Ask again after the remaining time; the lease may be renewed
    /// until then.
    #[error(
        "{node} holds the lease {name} for another {:.1} s unless it renews it",
        .remaining.as_secs_f64()
    )]
    Held {
        /// Name of the lease.
        name: LeaseName,
        /// The node that has it.
        node: NodeName,
        /// Time until it expires.
        remaining: Duration,
    },
    /// The lease is over: it expired, was released, or its node asked for it again. Stop the work,
    /// and ask for the lease again.
    #[error("the lease {name} with token {token} is over")]
    Lost {
        /// Name of the lease.
        name: LeaseName,
        /// Token of the lease that is over.
        token: FencingToken,
    },
    /// The term is out of range. Fix the call.
    #[error(
        "the term of a lease must be between {} ms and {} ms; got {} ms",
        AcquireLease::TERM_MIN.as_millis(),
        AcquireLease::TERM_MAX.as_millis(),
        .term.as_millis()
    )]
    Term {
        /// The term that was asked for.
        term: Duration,
    },
    /// The name is not valid. Fix the call.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// **Unknown outcome**: the leases cannot be reached, or the answer was lost. Repeat the call.
    #[error("outcome unknown: {reason}")]
    Unavailable {
        /// Description of the failure.
        reason: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<SharedError>,
    },
    /// A stored lease is damaged, or a later version has written it. Nothing was changed.
    #[error("the leases cannot be read: {reason}")]
    Unreadable {
        /// Description of the damage.
        reason: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<SharedError>,
    },
}

impl LeaseError {
    /// Creates a [`LeaseError::Unavailable`] without a source.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Returns `true` if the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Held { .. } | Self::Unavailable { .. } => true,
            Self::Lost { .. } | Self::Term { .. } | Self::Name(_) | Self::Unreadable { .. } => {
                false
            }
        }
    }
}

/// For stores that keep leases in a database.
impl From<DatabaseError> for LeaseError {
    fn from(error: DatabaseError) -> Self {
        let reason = error.to_string();
        match error {
            DatabaseError::Corrupt { source, .. } => Self::Unreadable { reason, source },
            DatabaseError::Unavailable { source, .. } | DatabaseError::Rejected { source, .. } => {
                Self::Unavailable { reason, source }
            }
            DatabaseError::CheckpointConflict { .. }
            | DatabaseError::Fenced { .. }
            | DatabaseError::Missing { .. } => Self::unavailable(reason),
        }
    }
}
