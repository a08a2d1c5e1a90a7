//! Copies of whole stores, append by append.
//!
//! - [`export`]: reads a store as it was recorded.
//! - [`import`]: writes another store's appends into an empty one, with their positions, revisions
//!   and recorded times.
//! - [`error`]: the errors of an import.
//! - [`rows`]: a batch of appends as rows.
//! - [`tables`]: what a copy records about itself.
//!
//! Invariants:
//! - A store that is being copied to is not opened, and cannot be appended to.
//! - A batch is one transaction, with the position at which the copy continues.
//! - A checkpoint of the source stays valid in the copy: positions are kept, and the copy has the
//!   incarnations of its source before its own.

pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod rows;
mod tables;
