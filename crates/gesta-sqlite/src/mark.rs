//! A file as it was when it was opened, so that it is noticed if it is removed, replaced or emptied
//! while the program runs.
//!
//! Looks only at what the file system says: to open a file a second time and close it would give up
//! the locks that SQLite holds on it (<https://www.sqlite.org/howtocorrupt.html>, 2.2).

use std::{
    fs::{self, Metadata},
    io,
    path::Path,
};

use gesta_store::DatabaseError;

use crate::error::file_error;

/// The identity of a file, and its size: a database file of ours never gets smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    inode: (u64, u64),
    bytes: u64,
}

impl Mark {
    pub(crate) fn of(path: &Path) -> Result<Self, DatabaseError> {
        let found = fs::metadata(path).map_err(|error| file_error("the file is gone", error))?;
        Ok(Self { inode: inode(&found), bytes: found.len() })
    }

    /// Compares the file with what is at its path now.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] when it is another file, a smaller one, or none.
    pub(crate) fn check(&self, path: &Path) -> Result<(), DatabaseError> {
        let what = match fs::metadata(path) {
            Ok(found) if inode(&found) != self.inode => "replaced",
            Ok(found) if found.len() < self.bytes => "cut short",
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "removed",
            Err(error) => return Err(file_error("the file cannot be looked at", error)),
        };
        let reason = format!("the file was {what} while the program runs");
        Err(DatabaseError::Corrupt { reason, source: None })
    }
}

#[cfg(unix)]
fn inode(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino())
}

/// Nothing tells files apart there.
#[cfg(not(unix))]
fn inode(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
