//! Problems of reads.
//!
//! Invariant: a feature that the store lacks is named, with the index that gives it.

use axum::http::StatusCode;
use gesta::store::StoreError;

use crate::Problem;

/// Returns the problem of a failed read.
pub(super) fn of_read(error: StoreError) -> Problem {
    let StoreError::Unsupported { capability } = error else { return error.into() };
    let advice = match capability.index() {
        Some(index) => format!("; a store in a directory gets it by `?index={index}` in its URL"),
        None => String::new(),
    };
    let detail = format!("this store does not support {capability}{advice}");
    Problem::new(StatusCode::NOT_IMPLEMENTED, "not-supported", detail)
}

/// Description of the 501 in the document.
pub(super) const NOT_SUPPORTED: &str =
    "the store lacks a feature that the read needs: see `detail`";
