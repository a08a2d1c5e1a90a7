//! Errors of opening a search store.

use std::{io, path::PathBuf};

use gesta_store::DatabaseError;

use crate::InvalidSearchUrl;

/// The error of opening a [`SearchStore`](crate::SearchStore).
///
/// ```
/// use gesta_search::{OpenError, SearchStore};
///
/// # gesta_store::conformance::block_on(async {
/// let opened = SearchStore::open("mysql://localhost").await;
/// assert!(matches!(opened, Err(OpenError::Url(_))));
/// # });
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL cannot be read. Correct it.
    #[error(transparent)]
    Url(#[from] InvalidSearchUrl),
    /// Another process has the directory open, or another store of this process. Close it first;
    /// processes that share read models need a server.
    #[error(
        "{} is open elsewhere; close the other process, or use an opensearch:// server for several",
        .directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory cannot be read or written.
    #[error("{}", .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Error of the system.
        #[source]
        error: io::Error,
    },
    /// The list of read models in the directory is damaged. Delete the directory: its contents are
    /// derived from events.
    #[error("{} is damaged: {reason}; delete the directory, it is rebuilt", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Description of the damage.
        reason: String,
    },
    /// The server does not answer, or refuses. The error names it.
    #[error(transparent)]
    Server(DatabaseError),
    /// The threads of the store cannot be started.
    #[error("the threads of the search store cannot be started")]
    Threads(#[source] io::Error),
}
