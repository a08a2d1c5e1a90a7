//! Detection of database files that are removed, replaced or truncated while they are open.
//!
//! Uses file metadata only. Opening a file a second time and closing it would release the POSIX
//! locks that SQLite holds on it (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::{
    fs::{self, Metadata},
    io,
    path::Path,
};

use gesta_store::DatabaseError;

use crate::error::file_error;

/// The inode and size of a file when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    inode: (u64, u64),
    bytes: u64,
}

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> Result<Self, DatabaseError> {
        let found = fs::metadata(path).map_err(|error| file_error("the file is gone", error))?;
        Ok(Self { inode: inode(&found), bytes: found.len() })
    }

    /// Compares the file with the one at its path now.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] when the file is missing, replaced or smaller.
    pub(crate) fn check(&self, path: &Path) -> Result<(), DatabaseError> {
        let change = match fs::metadata(path) {
            Ok(found) if inode(&found) != self.inode => "replaced",
            // This crate never vacuums, so its files only grow.
            Ok(found) if found.len() < self.bytes => "truncated",
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "removed",
            Err(error) => return Err(file_error("the file's metadata cannot be read", error)),
        };
        let reason = format!("the file was {change} while the program was running");
        Err(DatabaseError::Corrupt { reason, source: None })
    }
}

#[cfg(unix)]
fn inode(found: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (found.dev(), found.ino())
}

/// Replacement is not detected on these systems.
#[cfg(not(unix))]
fn inode(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
