//! A check that has failed, with the states of streams as numbers of the protocol.

use gesta_store::{ExpectedRevision, StreamName};

use crate::wire::version_number;

/// States of a stream without a revision.
pub(super) const NO_STREAM: i64 = -1;
pub(super) const DELETED: i64 = -5;
pub(super) const TOMBSTONED: i64 = -6;

/// A check that has failed, or the rule that a tombstoned stream takes no records.
#[derive(Debug)]
pub(super) struct FailedCheck {
    /// The place of the check in the request. `None` for the rule.
    pub(super) place: Option<usize>,
    pub(super) stream: StreamName,
    pub(super) expected: i64,
    pub(super) actual: i64,
}

impl FailedCheck {
    /// The rule, for a stream that no check is about.
    pub(super) fn tombstoned(stream: &StreamName) -> Self {
        let expected = version_number(ExpectedRevision::Any);
        Self { place: None, stream: stream.clone(), expected, actual: TOMBSTONED }
    }
}
