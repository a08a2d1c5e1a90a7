//! The vocabulary between the committer and the commit loop that carries out its actions.

use std::time::Duration;

use gesta_store::RecordedAt;

use super::completion::{AppendResult, Responder};
use crate::{
    disk::{Lane, Operation},
    index::CoveredSegment,
    published::{PendingGroup, Publication},
};

/// A side effect that the committer requests. Actions are carried out in order.
#[derive(Debug)]
pub(super) enum Action {
    /// Submits the operation to the disk; its completion carries the task.
    Submit(Task, Operation, Lane),
    /// Starts inserting the group into the memtable. It becomes visible if the next write succeeds.
    StageIndex(PendingGroup),
    /// Makes a durable group visible to readers.
    Publish(Box<Publication>),
    /// Answers appends, in this order.
    Answer(Vec<(Responder, AppendResult)>),
    /// Returns this many bytes to the submission queue's budget.
    Release(usize),
    /// Hands a sealed segment to the compactor.
    Sealed(CoveredSegment),
}

/// The purpose of a disk operation, which decides how its completion is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The write of a group or a mark.
    Write,
    /// A step of preallocating the next segment.
    Prepare,
    /// The removal of a file that is not needed. Its result is ignored.
    Discard,
}

/// The time at which a step runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Wall-clock time, for [`RecordedAt`].
    pub(super) calendar: RecordedAt,
    /// Monotonic time, for deadlines.
    pub(super) elapsed: Duration,
}
