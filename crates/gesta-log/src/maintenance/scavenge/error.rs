//! Errors of a scavenge, by the operator's reaction.

use std::io;

use gesta_store::{Damage, StoreError};

use crate::{
    index::{CoveredSegment, RunError, store_error},
    segment::segment_file,
};

/// An error of a scavenge. Space reclaimed so far stays reclaimed, and no visible event was lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScavengeError {
    /// The store was opened read-only. Open it for writing.
    #[error("the store was opened read-only; open it for writing to scavenge it")]
    ReadOnly,
    /// Another scavenge of this store is running. Wait until it ends.
    #[error("another scavenge of the store is running; wait until it ends")]
    UnderWay,
    /// The store is damaged. Restore a backup first.
    #[error("the store is damaged: {0}")]
    Damaged(Damage),
    /// A sync has failed since the store was opened, so renames may not be durable. Check the disk,
    /// and open the store again.
    #[error(
        "a sync has failed since the store was opened; check the disk, then open the store again"
    )]
    InDoubt,
    /// An operation of the operating system failed. Fix the cause and try again.
    #[error("cannot {doing}")]
    Io {
        /// The operation, as a verb phrase.
        doing: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A read failed.
    #[error(transparent)]
    Read(#[from] StoreError),
}

impl From<RunError> for ScavengeError {
    fn from(error: RunError) -> Self {
        Self::Read(store_error(error))
    }
}

/// The error of a failed operation on a segment's file; `doing` is a verb.
pub(super) fn failed(doing: &str, covered: &CoveredSegment, source: io::Error) -> ScavengeError {
    ScavengeError::Io { doing: format!("{doing} {}", segment_file(covered.number)), source }
}
