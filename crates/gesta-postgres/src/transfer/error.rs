//! The errors of an import, sorted by what the operator does next.

use gesta_store::{InvalidName, Position, StoreError};

use crate::errors::{Failure, OpenError};

/// An error of an import. Batches that were written are kept.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The schema cannot be used. The error says what to do.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server failed. Correct the cause and import again: the import continues.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A transaction pooler is in between. Connect to the server itself.
    #[error(
        "{url} is a transaction pooler, which cannot hold the lock of a copy; use the URL of the \
         server itself"
    )]
    Pooler {
        /// The URL, without its password.
        url: String,
    },
    /// Another process appends to the store, or copies to it. Stop it.
    #[error(
        "another process appends to {url}, or copies to it; stop it, or wait until it is done, \
         then run the copy again"
    )]
    InUse {
        /// The URL, without its password.
        url: String,
    },
    /// The source and the target are one store.
    #[error("{url} is the store that would be copied; use another database or ?schema=NAME")]
    SameStore {
        /// The URL, without its password.
        url: String,
    },
    /// The store has events that are not of the source. Use another schema.
    #[error(
        "{url} has events of its own from position {position} on; copy into another schema \
         (?schema=NAME), or drop this one with DROP SCHEMA … CASCADE if nobody needs its events"
    )]
    OtherEvents {
        /// The URL, without its password.
        url: String,
        /// Position of the first such event.
        position: Position,
    },
    /// The schema holds a copy of another store. Use another schema.
    #[error(
        "{url} holds a copy of another store; copy into another schema (?schema=NAME), or drop \
         this one with DROP SCHEMA … CASCADE if nobody needs its events"
    )]
    AnotherCopy {
        /// The URL, without its password.
        url: String,
    },
    /// The source has fewer events than were copied: it is an older copy of it. Use the right one.
    #[error(
        "the source ends at position {head}, but {url} has its events up to position {copied}; use \
         the current source, not an older copy or backup of it"
    )]
    SourceBehind {
        /// The URL, without its password.
        url: String,
        /// The last position of the source.
        head: Position,
        /// The last position that was copied.
        copied: Position,
    },
    /// An append that no store can contain. Check the source.
    #[error("the append at position {position} is invalid: {what}")]
    Impossible {
        /// Its first position.
        position: Position,
        /// The violated rule.
        what: String,
    },
}

impl From<Failure> for ImportError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.of_read())
    }
}

impl From<InvalidName> for ImportError {
    fn from(invalid: InvalidName) -> Self {
        Self::Store(invalid.into())
    }
}
