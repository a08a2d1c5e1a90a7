//! SQLite's errors, sorted by what the caller does next.

use std::sync::Arc;

use gesta_store::DatabaseError;
use rusqlite::{Error, ErrorCode};

/// What to do about an error: the code decides, its text is kept.
pub(crate) fn sorted(error: Error) -> DatabaseError {
    let reason = error.to_string();
    let code = error.sqlite_error_code();
    let source = Some(Arc::new(error) as gesta_store::SharedError);
    match code {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted,
        ) => DatabaseError::Unavailable { reason, source },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            DatabaseError::Corrupt { reason, source }
        }
        // Whatever is left is about the statement, its parameters or its values.
        Some(_) | None => DatabaseError::Rejected { reason, source },
    }
}

/// What a file system said about a directory or file that is needed.
pub(crate) fn file_error(what: &str, error: std::io::Error) -> DatabaseError {
    let reason = format!("{what}: {error}");
    DatabaseError::Unavailable { reason, source: Some(Arc::new(error)) }
}

/// A stored value that was not written by this crate, or was damaged.
pub(crate) fn unreadable(
    what: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> DatabaseError {
    let reason = format!("{what}: {error}");
    DatabaseError::Corrupt { reason, source: Some(Arc::new(error)) }
}
