//! The files of a store, and changes of them.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Files by name.
pub(super) type Files = BTreeMap<String, Bytes>;

/// Files that differ; `None` for a removed file.
pub(super) type ChangedFiles = BTreeMap<String, Option<Bytes>>;

pub(super) fn is_segment(file: &str) -> bool {
    file.strip_suffix(".seg").is_some()
}
