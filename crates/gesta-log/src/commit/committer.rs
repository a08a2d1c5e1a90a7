//! The committer: the state machine from queued appends to durable, visible and answered ones.
//!
//! It takes appends, completions and the time, and returns [actions](Action); it has no threads and
//! does no I/O. See [`commit`](super) for the life of one append.
//!
//! Invariants:
//! - One group is in flight at a time: written with sync, then published, then answered. The open
//!   group is filled concurrently.
//! - A failure before the first byte was submitted is transient: the committer retries when an
//!   append asks for it ([`shortage`](super::shortage)).
//! - After a failed sync, nothing more is written.
//!
//! Elsewhere: expectations ([`validation`](super::validation)), gathering time
//! ([`batching`](super::batching)), the next segment ([`preallocation`](super::preallocation)).

use std::{
    collections::{HashSet, VecDeque},
    io,
    time::Duration,
};

use bytes::Bytes;
use gesta_store::{EventId, Position, RecordedAt, StoreError};
use tracing::{error, info, warn};

use super::{
    action::{Action, Now, Task},
    admission::admit,
    batching::BatchPolicy,
    group::{Continuation, Group, GroupCapacity},
    preallocation::{PreallocatedSegment, Preallocation},
    queue::QueuedAppend,
    shortage::Shortage,
    validation::{CommittedLookup, CommittedView},
};
use crate::{
    clock::Rng,
    disk::{Lane, Operation, is_ownership_lost, may_have_written},
    format::{
        FRAME_HEADER_BYTES, FrameKind, GroupLocation, HEADER_BYTES, encode_bare, mark_offset,
        write_frame_headers,
    },
    index::{CoveredSegment, Index},
    mutations::{mutate, mutated},
    options::Options,
    recovery::LogEnd,
};

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    segment: PreallocatedSegment,
    /// Position of its first event.
    first: Position,
    /// End of the submitted data: the next group starts here.
    pub(super) offset: u64,
    /// End of the durable data.
    pub(super) durable: u64,
    /// True if its opening frame is still to be written.
    fresh: bool,
    /// True if the last frame holds events that no durable mark covers.
    unmarked: bool,
}

/// A write that was submitted and is not durable yet.
#[derive(Debug)]
pub(super) enum InFlight {
    Group(Box<Group>),
    /// A close frame or a seal, and its end offset.
    Mark(FrameKind, u64),
}

/// The state of group commit.
#[derive(Debug)]
pub(crate) struct Committer {
    options: Options,
    rng: Box<dyn Rng>,
    /// The end of the durable log.
    end: LogEnd,
    queue: VecDeque<QueuedAppend>,
    pub(super) active: Option<ActiveSegment>,
    preallocation: Preallocation,
    shortage: Shortage,
    /// The group that is being filled.
    pub(super) open: Option<Box<Group>>,
    pub(super) in_flight: Option<InFlight>,
    policy: BatchPolicy,
    /// Reason why the committer no longer writes.
    pub(super) stopped: Option<String>,
    /// Time of the last completed write.
    pub(super) last_write: Duration,
    stop_requested: bool,
    /// First events of appends whose outcome is unknown.
    pub(super) doubtful: HashSet<EventId>,
}

impl Committer {
    /// Creates the state after recovery. `place` is the directory, for texts of errors.
    pub(super) fn new(options: Options, rng: Box<dyn Rng>, end: LogEnd, place: String) -> Self {
        let preallocation = Preallocation::new(end.next_segment, &options);
        Self {
            options,
            rng,
            end,
            queue: VecDeque::new(),
            active: None,
            preallocation,
            shortage: Shortage::none_yet(place),
            open: None,
            in_flight: None,
            policy: BatchPolicy::default(),
            stopped: None,
            last_write: Duration::ZERO,
            stop_requested: false,
            doubtful: HashSet::new(),
        }
    }

    pub(super) fn enqueue(&mut self, append: QueuedAppend) {
        self.queue.push_back(append);
    }

    /// Seals the segment once the queue is empty, then stops.
    pub(super) fn stop(&mut self) {
        self.stop_requested = true;
    }

    /// Returns whether it was stopped and has answered everything.
    pub(super) fn is_closed(&self) -> bool {
        let idle = self.queue.is_empty() && self.in_flight.is_none();
        self.stop_requested && self.stopped.is_some() && idle
    }

    /// Returns whether a group is being gathered or written.
    pub(super) fn is_busy(&self) -> bool {
        self.open.is_some() || self.in_flight.is_some()
    }

    /// Returns the lead of the last event's recorded time over `now`.
    pub(super) fn recorded_ahead(&self, now: RecordedAt) -> Duration {
        self.end.last_recorded_at.map_or(Duration::ZERO, |last| last.since(now))
    }

    /// Time at which to step again even if nothing arrives.
    pub(super) fn deadline(&self) -> Option<Duration> {
        // A completion steps anyway.
        if self.in_flight.is_some() || self.stopped.is_some() {
            return None;
        }
        if self.open.is_some() {
            return Some(self.policy.gathering_deadline());
        }
        let unmarked = self.active.as_ref().is_some_and(|active| active.unmarked);
        (unmarked && self.queue.is_empty()).then(|| self.last_write + self.options.close_after)
    }

    /// Returns the time for which a leader spins before it parks.
    pub(super) fn spin_time(&self) -> Duration {
        self.policy.spin_time()
    }

    /// Number of queued appends that justifies another step.
    pub(super) fn wake_threshold(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |group| group.appends());
        self.policy.wake_threshold(open, self.in_flight.is_some())
    }

    /// Proceeds as far as possible without waiting.
    pub(super) fn step(
        &mut self,
        now: Now,
        index: &Index,
        lookup: &dyn CommittedLookup,
    ) -> Vec<Action> {
        let view = CommittedView { index, lookup };
        let mut actions = Vec::new();
        if let Some(reason) = &self.stopped {
            let reason = reason.clone();
            self.refuse_queued(&StoreError::Stopped { reason }, &mut actions);
            return actions;
        }
        self.preallocation.step(self.fill_level(), &mut self.rng, &self.end, &mut actions);
        // Fill the next group even while one is in flight: validation and encoding overlap the
        // write.
        self.fill_open_group(now, view, &mut actions);
        // One write at a time: a later group must not be durable before an earlier one.
        if self.in_flight.is_some() {
            return actions;
        }
        // The queued append does not fit into the active segment: roll over to the next one.
        let needs_segment = self.open.is_none() && !self.queue.is_empty();
        if needs_segment && self.roll_segment(now, &mut actions) {
            self.fill_open_group(now, view, &mut actions);
        }
        match &self.open {
            Some(open) => {
                let gathered = self.policy.has_gathered(open.appends(), now.elapsed);
                // A queue that is not empty means that the group is full.
                if gathered || self.stop_requested || !self.queue.is_empty() {
                    self.submit_open_group(&mut actions);
                }
            }
            None if self.queue.is_empty() && self.in_flight.is_none() => {
                self.idle(now, &mut actions);
            }
            None => {}
        }
        actions
    }

    /// Used and total bytes of the active segment.
    fn fill_level(&self) -> Option<(u64, u64)> {
        self.active.as_ref().map(|active| (active.offset, active.segment.bytes))
    }

    /// Writes the close frame once it is due, or seals the log and stops.
    fn idle(&mut self, now: Now, actions: &mut Vec<Action>) {
        let due = self.deadline().is_some_and(|deadline| now.elapsed >= deadline);
        let opened = self.active.as_ref().is_some_and(|active| !active.fresh);
        if self.stop_requested && opened {
            self.write_mark(FrameKind::Seal, actions);
        } else if self.stop_requested {
            self.stopped = Some("the store was closed".to_owned());
        } else if due && !mutated!(CloseFrameNotWritten) {
            self.write_mark(FrameKind::Close, actions);
        }
    }

    /// Moves appends from the queue into the open group, up to the group's and segment's limits.
    fn fill_open_group(&mut self, now: Now, view: CommittedView<'_>, actions: &mut Vec<Action>) {
        let Some(active) = &self.active else { return };
        let mut in_flight = match &mut self.in_flight {
            Some(InFlight::Group(group)) => Some(&mut **group),
            // Nothing follows a seal in its segment.
            Some(InFlight::Mark(FrameKind::Seal, _)) => return,
            Some(InFlight::Mark(..)) | None => None,
        };
        let mut open = self.open.take();
        let was_open = open.is_some();
        while let Some(append) = self.queue.front() {
            let taken = open.as_ref().map_or(0, |group| group.bytes.len());
            let bytes = append.pending.group_bytes;
            // A single append larger than the limit still forms a group of its own.
            let is_full = taken > 0 && taken + bytes > self.options.group_bytes_max;
            if is_full || !active.fits(taken, bytes) {
                break;
            }
            let group = open.get_or_insert_with(|| {
                let capacity = self.policy.capacity(self.options.frame_bytes_max);
                Box::new(active.group(in_flight.as_deref(), &self.end, now.calendar, capacity))
            });
            let append = self.queue.pop_front().expect("the queue has a front");
            actions.push(Action::Release(append.pending.bytes()));
            admit(append, group, in_flight.as_deref_mut(), view, actions);
        }
        // Appends that were answered without an event leave the group empty.
        self.open = open.filter(|group| !group.is_empty());
        if self.open.is_some() && !was_open {
            self.policy.on_first_append(now.elapsed);
        }
    }

    fn submit_open_group(&mut self, actions: &mut Vec<Action>) {
        let Some(mut group) = self.open.take() else { return };
        let active = self.active.as_mut().expect("the group belongs to the active segment");
        // The mark covers only the part that is durable by now, so a torn group never covers
        // itself.
        let bytes = group.freeze(active.durable);
        active.offset = group.end();
        active.fresh = false;
        self.policy.on_submit(group.appends(), bytes.len());
        // In the pipelined lane the leader has work of its own, and staging does not pay.
        if self.policy.lane() == Lane::Foreground {
            actions.push(Action::StageIndex(group.pending_group()));
        }
        self.write(group.offset(), bytes, actions);
        mutate!(AcknowledgeBeforeSync => super::mutants::unsync(actions));
        self.in_flight = Some(InFlight::Group(group));
        mutate!(AcknowledgeWhenSubmitted => self.acknowledge_when_submitted(actions));
    }

    /// Switches to the next segment, or works towards it. Returns whether there is room now.
    fn roll_segment(&mut self, now: Now, actions: &mut Vec<Action>) -> bool {
        let Some(append) = self.queue.front() else { return false };
        let wanted = append.pending.group_bytes as u64;
        let Some(next) = self.preallocation.take_ready(wanted, actions) else {
            if let Some(refused) = self.shortage.too_early(now.elapsed) {
                self.refuse_queued(&refused, actions);
                return false;
            }
            // Not ready: have it made in the foreground, and try again when it is.
            self.preallocation.hurry(wanted);
            self.preallocation.step(self.fill_level(), &mut self.rng, &self.end, actions);
            return false;
        };
        // The active segment is sealed first: its seal must be durable before the next segment's
        // opening frame names its length.
        if self.active.as_ref().is_some_and(|active| !active.fresh) {
            self.preallocation.put_back(next);
            self.write_mark(FrameKind::Seal, actions);
            return false;
        }
        self.active = Some(ActiveSegment::new(next, self.end.next));
        true
    }

    fn write_mark(&mut self, kind: FrameKind, actions: &mut Vec<Action>) {
        let active = self.active.as_mut().expect("only an active segment gets marks");
        let mut bytes = Vec::new();
        // A mark starts in a sector of its own, so that tearing it never harms the last frame.
        let offset = mark_offset(active.offset);
        let place = GroupLocation { group_offset: offset, ..active.place() };
        let frame = encode_bare(&mut bytes, self.end.chain, self.end.next, kind);
        write_frame_headers(&mut bytes, &place, active.durable, &[frame]);
        active.offset = offset + bytes.len() as u64;
        let end = active.offset;
        self.write(offset, Bytes::from(bytes), actions);
        mutate!(OpeningFrameBeforePredecessor => {
            if kind == FrameKind::Seal {
                super::mutants::unsync(actions);
            }
        });
        self.in_flight = Some(InFlight::Mark(kind, end));
    }

    fn write(&self, offset: u64, bytes: Bytes, actions: &mut Vec<Action>) {
        let active = self.active.as_ref().expect("only an active segment is written to");
        let write = Operation::WriteThrough { file: active.segment.file(), offset, bytes };
        actions.push(Action::Submit(Task::Write, write, self.policy.lane()));
    }

    /// Takes the result of an operation.
    pub(super) fn complete(&mut self, task: Task, result: io::Result<()>, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        match task {
            Task::Prepare => self.on_preallocated(result, now, &mut actions),
            Task::Discard => {}
            Task::Write => {
                self.last_write = now.elapsed;
                match result {
                    Ok(()) => self.on_written(now, &mut actions),
                    Err(_) if mutated!(FailedWriteIgnored) => {
                        self.on_written(now, &mut actions);
                    }
                    Err(error) => self.on_write_failed(&error, &mut actions),
                }
            }
        }
        actions
    }

    /// Handles a durable write. In the pipelined lane the next group is submitted before this one
    /// is published and answered, so that the device does not idle.
    pub(super) fn on_written(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.in_flight.take() {
            Some(InFlight::Group(group)) => self.on_group_written(*group, now, actions),
            Some(InFlight::Mark(kind, end)) => self.on_mark_written(kind, end, actions),
            None => {}
        }
    }

    fn on_group_written(&mut self, group: Group, now: Now, actions: &mut Vec<Action>) {
        // Advance the durable end of the log.
        let active = self.active.as_mut().expect("the group was written to it");
        debug_assert!(group.end() > active.durable, "groups become durable in order");
        active.durable = group.end();
        active.unmarked = !mutated!(CloseFrameNotScheduled);
        let continuation = group.continuation();
        self.end.chain = continuation.chain;
        self.end.next = continuation.next;
        self.end.last_recorded_at = Some(group.recorded_at());
        // Adapt the batch size to the number of appends that are outstanding now.
        let open = self.open.as_ref().map_or(0, |group| group.appends());
        self.policy.on_commit(group.appends() + open + self.queue.len(), now.elapsed);
        let pipelined = self.policy.lane() == Lane::Pipelined;
        if pipelined && open > 0 && self.policy.has_gathered(open, now.elapsed) {
            self.submit_open_group(actions);
        }
        // Publish, then answer.
        let (publication, answers) = group.finish();
        mutate!(AcknowledgeNextGroup => self.answer_open_group(actions));
        actions.push(Action::Publish(Box::new(publication)));
        actions.push(Action::Answer(answers));
    }

    fn on_mark_written(&mut self, kind: FrameKind, end: u64, actions: &mut Vec<Action>) {
        let active = self.active.as_mut().expect("the mark was written to it");
        active.durable = end;
        active.unmarked = false;
        // After a seal, the segment can be flushed, and the next one names its length.
        if kind != FrameKind::Seal {
            return;
        }
        actions.push(Action::Sealed(CoveredSegment {
            number: active.segment.number,
            salt: active.segment.salt,
            incarnation: *self.end.incarnation.as_uuid().as_bytes(),
            first: active.first.number(),
            end: self.end.next.number(),
            adopted_length: end,
            chain: self.end.chain.0,
            last_recorded_at: self.end.last_recorded_at.map(RecordedAt::micros),
        }));
        self.end.predecessor = active.segment.as_predecessor(end);
        self.active = None;
    }

    /// Stops for good: a part of the group may be on the device, and after a failed sync the page
    /// cache cannot be trusted.
    fn on_write_failed(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        #[cfg(gesta_planted)]
        if self.mishandle_failed_write(error, actions) {
            return;
        }
        self.fail(error, actions);
    }

    pub(super) fn fail(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        let stopped = self.stop_for(error);
        if let Some(InFlight::Group(group)) = self.in_flight.take() {
            // A retry of such an append must not get a definite failure until the next recovery has
            // decided whether it was written.
            if may_have_written(error) {
                self.doubtful.extend(group.events.first_events());
                group.fail(|| unknown_outcome(error), &stopped, actions);
            } else {
                // Nothing of the group was written, and nothing will be.
                group.refuse(&stopped, actions);
            }
        }
        if let Some(open) = self.open.take() {
            open.refuse(&stopped, actions);
        }
    }

    /// Handles the result of one step of preallocating the next segment.
    fn on_preallocated(&mut self, result: io::Result<()>, now: Now, actions: &mut Vec<Action>) {
        let full = result.as_ref().is_err_and(is_full);
        let result = if full && mutated!(DiskFullIgnored) { Ok(()) } else { result };
        let Err(error) = result.map(|()| self.preallocation.advance()) else {
            if self.preallocation.is_ready() && self.shortage.is_known() {
                info!("the next segment was created; appends are accepted again");
                self.shortage.over();
            }
            return;
        };
        self.preallocation.abandon(&error, actions);
        if is_ownership_lost(&error) || mutated!(ShortageIsFatal) {
            return self.on_disowned(&error, actions);
        }
        // Queued appends wait for this segment, and none of their bytes was submitted: refuse them.
        // If only the number was taken, the next number is tried at once instead.
        if self.preallocation.is_hurried() && error.kind() != io::ErrorKind::AlreadyExists {
            self.preallocation.relax();
            if !self.shortage.is_known() {
                warn!(
                    %error,
                    "cannot create the next segment; appends are refused until that succeeds"
                );
            }
            let refused = self.shortage.met(&error, now.elapsed);
            self.refuse_queued(&refused, actions);
        }
    }

    /// Stops because another process may own the directory. A group in flight detects that on
    /// completion.
    fn on_disowned(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        let stopped = self.stop_for(error);
        if let Some(open) = self.open.take() {
            open.refuse(&stopped, actions);
        }
        self.refuse_queued(&stopped, actions);
    }

    pub(super) fn stop_for(&mut self, error: &io::Error) -> StoreError {
        error!(%error, "the store accepts no writes until it is opened again");
        let reason = format!("writing failed: {error}");
        self.stopped = Some(reason.clone());
        StoreError::Stopped { reason }
    }

    fn refuse_queued(&mut self, error: &StoreError, actions: &mut Vec<Action>) {
        for append in self.queue.drain(..) {
            actions.push(Action::Release(append.pending.bytes()));
            // A retry of an append in doubt must not be told that nothing was appended.
            let first = append.pending.first_event();
            let doubtful = first.is_some_and(|first| self.doubtful.contains(&first))
                && !mutated!(UncertainRetryReportedAsDefinite);
            let error = if doubtful { still_unknown() } else { error.clone() };
            actions.push(Action::Answer(vec![(append.responder, Err(error))]));
        }
    }
}

/// The answer to a retry whose first attempt may have succeeded.
fn still_unknown() -> StoreError {
    StoreError::unavailable(
        "the outcome of the first attempt is unknown until the store is reopened",
    )
}

fn unknown_outcome(error: &io::Error) -> StoreError {
    StoreError::unavailable(format!("writing failed: {error}"))
}

/// Returns whether the device is full, which may pass.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl ActiveSegment {
    fn new(segment: PreallocatedSegment, first: Position) -> Self {
        let start = HEADER_BYTES;
        Self { segment, first, offset: start, durable: start, fresh: true, unmarked: false }
    }

    #[cfg(gesta_planted)]
    pub(super) fn file(&self) -> String {
        self.segment.file()
    }

    /// Returns whether a group of `group` bytes may grow by `more`, with room left for a close
    /// frame and a seal. The first append of a segment always fits: the segment was sized for it.
    fn fits(&self, group: usize, more: usize) -> bool {
        let mark = |end| mark_offset(end) + FRAME_HEADER_BYTES as u64;
        // Reserve both marks: the seal must never need more than the preallocated length.
        let seal = mark(mark(self.offset + (group + more) as u64));
        (self.fresh && group == 0) || seal <= self.segment.bytes
    }

    fn place(&self) -> GroupLocation {
        GroupLocation { group_offset: self.offset, seed: self.segment.seed }
    }

    /// Creates an empty group that continues the one in flight, or the durable log.
    fn group(
        &self,
        in_flight: Option<&Group>,
        end: &LogEnd,
        now: RecordedAt,
        capacity: GroupCapacity,
    ) -> Group {
        // Recorded times never fall, even if the clock does.
        let last_recorded_at = in_flight.map(Group::recorded_at).or(end.last_recorded_at);
        let recorded_at = last_recorded_at.map_or(now, |last| last.max(now));
        let continuation = match in_flight {
            Some(in_flight) => in_flight.continuation(),
            // The first group of a segment also writes its opening frame.
            None => Continuation {
                chain: end.chain,
                next: end.next,
                opening: self.fresh.then_some(end.predecessor),
            },
        };
        #[cfg(gesta_planted)]
        let continuation = super::mutants::miscontinue(continuation, in_flight, end);
        Group::new(self.segment.number, self.place(), continuation, recorded_at, capacity)
    }
}
