//! Errors of files and of Tantivy, sorted by the reaction of the caller. Each names the place.

use std::{io, path::Path, sync::Arc};

use gesta_store::{DatabaseError, SharedError};
use tantivy::TantivyError;

/// The error of a file.
pub(super) fn unavailable(path: &Path, error: io::Error) -> DatabaseError {
    let reason = format!("{}: {error}", path.display());
    DatabaseError::Unavailable { reason, source: Some(Arc::new(error)) }
}

/// Sorts an error of Tantivy by the reaction of the caller.
pub(super) fn failed(path: &Path, error: TantivyError) -> DatabaseError {
    let reason = format!("{}: {error}", path.display());
    let source: Option<SharedError> = Some(Arc::new(error.clone()));
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::OpenReadError(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_) => DatabaseError::Corrupt { reason, source },
        TantivyError::InvalidArgument(_) => DatabaseError::Rejected { reason, source },
        _ => DatabaseError::Unavailable { reason, source },
    }
}
