//! Wrong behaviour of the committer, compiled only with `--cfg gesta_planted`: bugs that the
//! simulation must catch. See [`mutations`](crate::mutations).

use std::io;

use gesta_store::RecordedAt;

use super::{
    action::{Action, Now, Task},
    committer::{Committer, InFlight},
    group::{Continuation, Group},
};
use crate::{
    disk::{Lane, Operation, may_have_written},
    format::FrameKind,
    mutations::{Mutation, mutated},
    recovery::LogEnd,
};

/// Turns the last submitted write into one without sync.
pub(super) fn unsync(actions: &mut [Action]) {
    if let Some(Action::Submit(_, operation, _)) = actions.last_mut()
        && let Operation::WriteThrough { file, offset, bytes } = operation
    {
        *operation = Operation::Write { file: file.clone(), offset: *offset, bytes: bytes.clone() };
    }
}

/// Lets a group ignore some of the changes of the group in flight.
pub(super) fn miscontinue(
    right: Continuation,
    in_flight: Option<&Group>,
    end: &LogEnd,
) -> Continuation {
    if in_flight.is_none() {
        return right;
    }
    if mutated!(ChainSkipsInFlight) {
        return Continuation { chain: end.chain, ..right };
    }
    if mutated!(PositionSkipsInFlight) {
        return Continuation { next: end.next, ..right };
    }
    right
}

impl Committer {
    /// Publishes and answers the group that was just submitted.
    pub(super) fn acknowledge_when_submitted(&mut self, actions: &mut Vec<Action>) {
        let Some(InFlight::Group(group)) = &self.in_flight else { return };
        let end = group.end();
        let calendar = RecordedAt::from_micros(0);
        self.on_written(Now { calendar, elapsed: self.last_write }, actions);
        self.in_flight = Some(InFlight::Mark(FrameKind::Close, end));
    }

    /// Answers the appends of the open group, of which nothing was written.
    pub(super) fn answer_open_group(&mut self, actions: &mut Vec<Action>) {
        if let Some(open) = &mut self.open {
            actions.push(Action::Answer(std::mem::take(&mut open.answers)));
        }
    }

    /// Handles a failed write as the enabled mutation does; returns whether there is one.
    pub(super) fn mishandle_failed_write(
        &mut self,
        error: &io::Error,
        actions: &mut Vec<Action>,
    ) -> bool {
        match Mutation::enabled() {
            Some(Mutation::RetryFailedSync) => {
                let Some(active) = &self.active else { return false };
                let sync = Operation::Sync { file: active.file() };
                actions.push(Action::Submit(Task::Write, sync, Lane::Foreground));
            }
            Some(Mutation::ContinueAfterFailedWrite) => {
                self.fail(error, actions);
                self.stopped = None;
            }
            Some(Mutation::OverwriteAfterFailedWrite) => {
                self.fail(error, actions);
                self.stopped = None;
                if let Some(active) = &mut self.active {
                    active.offset = active.durable;
                }
            }
            Some(Mutation::PublishFailedWrite) if may_have_written(error) => {
                if let Some(InFlight::Group(group)) = self.in_flight.take() {
                    self.doubtful.extend(group.events.first_events());
                    actions.push(Action::Publish(Box::new(group.finish().0)));
                }
                self.fail(error, actions);
            }
            Some(Mutation::FailureReportedAsDefinite) if may_have_written(error) => {
                let flight = self.in_flight.take();
                self.fail(error, actions);
                if let Some(InFlight::Group(group)) = flight {
                    let reason = self.stopped.clone().unwrap_or_default();
                    self.doubtful.extend(group.events.first_events());
                    group.refuse(&gesta_store::StoreError::Stopped { reason }, actions);
                }
            }
            _ => return false,
        }
        true
    }
}
