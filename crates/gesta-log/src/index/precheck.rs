//! The result of a caller's own look at the index, before its append is enqueued.

use gesta_store::{Position, Revision};

use super::entry::AppendSpan;

/// Index lookups done by the caller's thread, so that the leader has only later positions to look
/// at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Precheck {
    /// Position up to which `heads` and `repeats` are known.
    pub(crate) to: Position,
    /// The head of each stream of the append, in order.
    pub(crate) heads: Vec<Option<Revision>>,
    /// Earlier appends with the same first event id, latest first; see
    /// [`Index::appends`](super::Index::appends).
    pub(crate) repeats: Vec<AppendSpan>,
    /// Position up to which the condition was evaluated.
    pub(crate) condition_to: Position,
    /// A match of the condition that stays visible whenever the append is recorded.
    pub(crate) matching: Option<Position>,
    /// Number of metadata changes at which hidden matches were passed over, or `None` if there were
    /// none.
    pub(crate) passed_at: Option<u64>,
}
