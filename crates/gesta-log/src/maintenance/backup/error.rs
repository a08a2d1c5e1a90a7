//! Errors of backup and restore, by the operator's reaction.

use std::{io, path::PathBuf};

use gesta_store::{Damage, Position};

use crate::{disk::LockError, options::OpenError};

/// An error of [`backup`](super::backup) or [`restore`](super::restore).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// One of the directories is missing, locked or not accessible.
    #[error(transparent)]
    Directory(#[from] LockError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An operation of the operating system failed.
    #[error("cannot {doing}")]
    Io {
        /// The operation, as a verb phrase.
        doing: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The store is damaged. The previous backup is unchanged.
    #[error("the store is damaged: {0}")]
    Damaged(Damage),
    /// The backup is damaged. Restore another one.
    #[error("the backup is damaged: {0}")]
    DamagedBackup(Damage),
    /// The directory holds no finished backup.
    #[error(
        "there is no finished backup in {}; name the directory of one, or finish this one",
        .directory.display()
    )]
    NoBackup {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory holds a file that does not belong there.
    #[error(
        "{} contains other files, such as {file}; use an empty directory",
        .directory.display()
    )]
    Occupied {
        /// The directory.
        directory: PathBuf,
        /// The first such file.
        file: String,
    },
    /// The directory to write lies inside of the one that is read, whose loss would be its own.
    #[error(
        "{} lies inside of {}; use a directory outside of it, best on another disk",
        .directory.display(), .of.display()
    )]
    Inside {
        /// The directory to write.
        directory: PathBuf,
        /// The directory that is read.
        of: PathBuf,
    },
    /// The directory holds a backup of another store.
    #[error("the directory holds a backup of another store; use an empty directory")]
    AnotherStore,
    /// The backup has events that this store does not have: the store lost them, or was restored
    /// from an older backup. Keep this backup and use another directory.
    #[error(
        "the backup has events up to position {backup}, but shares only those up to position \
         {shared} with this store; keep the backup and use an empty directory"
    )]
    Ahead {
        /// The last position of the backup.
        backup: Position,
        /// The last position that both have in common.
        shared: Position,
    },
}
