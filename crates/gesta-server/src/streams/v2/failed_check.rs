//! A check that has failed, with the states of streams as numbers of the protocol.

use gesta_store::StreamName;

/// States of a stream without a revision.
pub(super) const NO_STREAM: i64 = -1;
pub(super) const DELETED: i64 = -5;
pub(super) const TOMBSTONED: i64 = -6;

/// A check that has failed.
#[derive(Debug)]
pub(super) struct FailedCheck {
    /// The place of the check in the request.
    pub(super) place: usize,
    pub(super) stream: StreamName,
    pub(super) expected: i64,
    pub(super) actual: i64,
}
