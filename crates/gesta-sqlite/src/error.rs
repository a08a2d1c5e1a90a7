//! Classification of SQLite's errors by the caller's reaction.

use std::sync::Arc;

use gesta_store::DatabaseError;
use rusqlite::{Error, ErrorCode};

/// Maps an error to the caller's reaction by its result code, never by its text.
pub(crate) fn classify(error: Error) -> DatabaseError {
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
        // All other codes concern the statement, its parameters or its values.
        Some(_) | None => DatabaseError::Rejected { reason, source },
    }
}

/// Wraps a file system error as retryable: permissions and disk space can be repaired.
pub(crate) fn file_error(context: &str, error: std::io::Error) -> DatabaseError {
    let reason = format!("{context}: {error}");
    DatabaseError::Unavailable { reason, source: Some(Arc::new(error)) }
}

/// Wraps the decoding error of a stored value. This crate wrote valid ones, so it is damage.
pub(crate) fn unreadable(
    context: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> DatabaseError {
    let reason = format!("{context}: {error}");
    DatabaseError::Corrupt { reason, source: Some(Arc::new(error)) }
}
