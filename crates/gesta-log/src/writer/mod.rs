//! The writer: from queued appends to durable, published, answered ones.
//!
//! Owns: the order of everything that happens to an append. A state machine: it takes requests,
//! completions and the time, and gives operations, publications and answers; it has no threads and
//! does no I/O. Always holds:
//! - one group is in flight at a time: written once, synced once, then published, then answered;
//! - an answer that depends on an append not yet published waits for its publication;
//! - a failure is definite only before the group's first byte was submitted;
//! - after a failed sync nothing is written any more.
//!
//! Not here: expectations ([`judge`]), preparing the next segment ([`prepare`]), bytes
//! ([`format`](crate::format)).

mod group;
mod judge;
mod overlay;
mod prepare;

use std::{
    collections::{HashSet, VecDeque},
    io,
    time::Duration,
};

use bytes::Bytes;
use futures_channel::oneshot;
use gesta_store::{Append, Appended, EventId, Overload, Position, RecordedAt, StoreError};

use crate::{
    clock::Rng,
    disk::{Lane, Operation},
    format::{FRAME_HEADER_BYTES, FrameKind, HEADER_BYTES, Place, Seed, encode_bare, mark_offset},
    index::Index,
    options::Options,
    planted::{self, Bug},
    published::Publication,
    recovery::LogEnd,
};

use group::Group;
pub(crate) use judge::{Spans, appended};
use prepare::{Preparation, Prepared};

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<Appended, StoreError>>;

/// An append in the queue.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) append: Append,
    /// Up to where the caller evaluated the condition, and what it found.
    pub(crate) looked: Looked,
    /// What it takes of the queue's limit.
    pub(crate) bytes: usize,
    pub(crate) reply: Reply,
}

impl Request {
    /// What an append takes of the queue's limit: what it takes in memory, roughly.
    pub(crate) fn bytes_of(append: &Append) -> usize {
        let condition =
            append.condition.iter().flat_map(|condition| condition.none_matching.items());
        let terms: usize = condition.map(|item| item.tags().len() + item.types().len() + 1).sum();
        size_of::<Self>() + Group::bytes_of(append) + terms * TERM_BYTES
    }
}

/// Bytes of memory that a term of a condition takes, roughly.
const TERM_BYTES: usize = 64;

/// What the caller's own look at the index said about the append condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) to: Position,
    pub(crate) matching: Option<Position>,
}

/// What the writer wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Do this and say so with the task.
    Submit(Task, Operation, Lane),
    /// Let readers see this.
    Publish(Publication),
    /// Tell whoever asked.
    Answer(Reply, Result<Appended, StoreError>),
    /// So many bytes of the queue are free again.
    Release(usize),
}

/// Which of the writer's two lines of work an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Write,
    Prepare,
    /// Removing what is of no use any more; whether it succeeds changes nothing.
    Discard,
}

/// The time, as a step sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) calendar: RecordedAt,
    pub(crate) elapsed: Duration,
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    segment: Prepared,
    /// Where the next group goes.
    offset: u64,
    /// Everything before this is durable.
    durable: u64,
    /// Whether its opening frame is still to be written.
    fresh: bool,
    /// Whether the last frame holds events that no durable mark covers.
    unmarked: bool,
}

/// What the write task is doing.
#[derive(Debug)]
enum Phase {
    /// Nothing is in flight.
    Idle,
    /// A group was submitted.
    Writing(Box<Group>),
    /// A group was written, its sync was submitted.
    Syncing(Box<Group>),
    /// A close frame or a seal that ends here was submitted.
    WritingMark(FrameKind, u64),
    /// A close frame or a seal that ends here was written, its sync was submitted.
    SyncingMark(FrameKind, u64),
    /// Nothing is written any more.
    Stopped(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    options: Options,
    rng: Box<dyn Rng>,
    end: LogEnd,
    queue: VecDeque<Request>,
    active: Option<Active>,
    preparation: Preparation,
    phase: Phase,
    /// When the last operation of the write task completed.
    last_active: Duration,
    stopping: bool,
    /// First events of appends whose outcome is unknown.
    doubtful: HashSet<EventId>,
}

impl Writer {
    pub(crate) fn new(options: Options, rng: Box<dyn Rng>, end: LogEnd) -> Self {
        let preparation = Preparation::new(end.next_segment, &options);
        Self {
            options,
            rng,
            end,
            queue: VecDeque::new(),
            active: None,
            preparation,
            phase: Phase::Idle,
            last_active: Duration::ZERO,
            stopping: false,
            doubtful: HashSet::new(),
        }
    }

    /// Takes an append into the queue.
    pub(crate) fn queue(&mut self, request: Request) {
        self.queue.push_back(request);
    }

    /// Seals the segment once the queue is empty, then stops.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether nothing will ever be asked for or answered again.
    pub(crate) fn ended(&self) -> bool {
        self.stopping && matches!(self.phase, Phase::Stopped(_)) && self.queue.is_empty()
    }

    /// When the writer wants to be stepped even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let unmarked = self.active.as_ref().is_some_and(|active| active.unmarked);
        (matches!(self.phase, Phase::Idle) && unmarked && self.queue.is_empty())
            .then(|| self.last_active + self.options.close_after)
    }

    /// Goes on as far as is possible without waiting.
    pub(crate) fn step(&mut self, now: Now, index: &Index, spans: &dyn Spans) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Phase::Stopped(reason) = &self.phase {
            let reason = reason.clone();
            self.refuse_queued(&StoreError::Stopped { reason }, &mut actions);
            return actions;
        }
        self.preparation.step(self.filled(), &mut self.rng, &self.end, &mut actions);
        if !matches!(self.phase, Phase::Idle) {
            return actions;
        }
        if self.queue.is_empty() {
            self.rest(now, &mut actions);
        } else {
            self.work(now, index, spans, &mut actions);
        }
        actions
    }

    /// How much of the active segment is used, in bytes, and how much it has.
    fn filled(&self) -> Option<(u64, u64)> {
        self.active.as_ref().map(|active| (active.offset, active.segment.bytes))
    }

    /// Nothing is queued: says how far the log is durable, or ends.
    fn rest(&mut self, now: Now, actions: &mut Vec<Action>) {
        let due = self.deadline().is_some_and(|deadline| now.elapsed >= deadline);
        let opened = self.active.as_ref().is_some_and(|active| !active.fresh);
        if self.stopping && opened {
            self.write_mark(FrameKind::Seal, actions);
        } else if self.stopping {
            self.phase = Phase::Stopped("it was closed".to_owned());
        } else if due {
            self.write_mark(FrameKind::Close, actions);
        }
    }

    /// Something is queued: writes as much of it as one group may carry.
    fn work(&mut self, now: Now, index: &Index, spans: &dyn Spans, actions: &mut Vec<Action>) {
        let wanted = self.queue.front().map_or(0, |request| Group::bytes_of(&request.append));
        let full = self.active.as_ref().is_none_or(|active| !active.fits(0, wanted));
        if full && !self.roll(wanted, actions) {
            return;
        }
        let Some(active) = &self.active else { return };
        let mut group = Group::new(active, &self.end, now.calendar);
        while let Some(request) = self.queue.front() {
            let bytes = Group::bytes_of(&request.append);
            let crowded = group.bytes.len() + bytes > self.options.group_bytes_max;
            if !group.is_empty() && (crowded || !active.fits(group.bytes.len(), bytes)) {
                break;
            }
            let request = self.queue.pop_front().expect("it was just looked at");
            actions.push(Action::Release(request.bytes));
            group.take(request, index, spans, actions);
        }
        if group.is_empty() {
            group.answer_early(actions);
            return;
        }
        let bytes = group.freeze();
        let file = active.segment.file();
        let write = Operation::Write { file, offset: active.offset, bytes };
        actions.push(Action::Submit(Task::Write, write, Lane::Foreground));
        self.phase = Phase::Writing(Box::new(group));
    }

    /// Moves to the next segment, or towards it; says whether there is room now.
    fn roll(&mut self, wanted: usize, actions: &mut Vec<Action>) -> bool {
        let Some(prepared) = self.preparation.take_ready(wanted as u64, actions) else {
            self.preparation.hurry(wanted as u64);
            self.preparation.step(self.filled(), &mut self.rng, &self.end, actions);
            return false;
        };
        if self.active.as_ref().is_some_and(|active| !active.fresh) {
            self.preparation.put_back(prepared);
            self.write_mark(FrameKind::Seal, actions);
            return false;
        }
        self.active = Some(Active::new(prepared));
        true
    }

    fn write_mark(&mut self, kind: FrameKind, actions: &mut Vec<Action>) {
        let active = self.active.as_ref().expect("only an open segment gets marks");
        let mut bytes = Vec::new();
        let offset = mark_offset(active.offset);
        let place = Place { group_offset: offset, ..active.place() };
        encode_bare(&mut bytes, &place, self.end.chain, self.end.next, kind);
        let end = offset + bytes.len() as u64;
        let bytes = Bytes::from(bytes);
        let write = Operation::Write { file: active.segment.file(), offset, bytes };
        actions.push(Action::Submit(Task::Write, write, Lane::Foreground));
        self.phase = Phase::WritingMark(kind, end);
    }

    /// Takes the result of an operation.
    pub(crate) fn completed(
        &mut self,
        task: Task,
        result: io::Result<()>,
        now: Now,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        match task {
            Task::Prepare => self.prepared(result, &mut actions),
            Task::Discard => {}
            Task::Write => {
                self.last_active = now.elapsed;
                match result {
                    Ok(()) => self.advance(&mut actions),
                    Err(error) => self.failed(&error, &mut actions),
                }
            }
        }
        actions
    }

    /// The operation of the present phase is done.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Writing(group) if planted::is(Bug::AcknowledgeBeforeSync) => {
                self.finish(*group, actions);
            }
            Phase::Writing(group) => {
                self.sync(actions);
                self.phase = Phase::Syncing(group);
            }
            Phase::Syncing(group) => self.finish(*group, actions),
            Phase::WritingMark(FrameKind::Seal, end)
                if planted::is(Bug::OpeningFrameBeforePredecessor) =>
            {
                self.marked(FrameKind::Seal, end);
            }
            Phase::WritingMark(kind, end) => {
                self.sync(actions);
                self.phase = Phase::SyncingMark(kind, end);
            }
            Phase::SyncingMark(kind, end) => self.marked(kind, end),
            phase @ (Phase::Idle | Phase::Stopped(_)) => self.phase = phase,
        }
    }

    fn sync(&self, actions: &mut Vec<Action>) {
        let active = self.active.as_ref().expect("something was written to it");
        let sync = Operation::Sync { file: active.segment.file() };
        actions.push(Action::Submit(Task::Write, sync, Lane::Foreground));
    }

    /// A group is durable: publishes it, then answers.
    fn finish(&mut self, group: Group, actions: &mut Vec<Action>) {
        let active = self.active.as_mut().expect("the group was written to it");
        let (publication, answers) = group.finish(&active.segment, active.offset, &mut self.end);
        active.offset += publication.bytes.len() as u64;
        active.durable = active.offset;
        active.fresh = false;
        active.unmarked = true;
        actions.push(Action::Publish(publication));
        actions.extend(answers.into_iter().map(|(reply, result)| Action::Answer(reply, result)));
    }

    /// A close frame or a seal is durable.
    fn marked(&mut self, kind: FrameKind, end: u64) {
        let active = self.active.as_mut().expect("the mark was written to it");
        active.offset = end;
        active.durable = active.offset;
        active.unmarked = false;
        if kind == FrameKind::Seal {
            self.end.predecessor = active.segment.as_predecessor(active.offset);
            self.active = None;
        }
    }

    /// A write or a sync failed: what was submitted may or may not be there, and after a failed
    /// sync the page cache cannot be believed. Stops for good.
    fn failed(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        let syncing = matches!(self.phase, Phase::Syncing(_) | Phase::SyncingMark(..));
        if syncing && planted::is(Bug::RetryAFailedSync) {
            return self.sync(actions);
        }
        let reason = format!("writing failed: {error}");
        let stopped = Phase::Stopped(reason.clone());
        match std::mem::replace(&mut self.phase, stopped) {
            Phase::Writing(group) | Phase::Syncing(group) => {
                self.doubtful.extend(group.first_events());
                group.fail(|| unknown(error), &StoreError::Stopped { reason }, actions);
            }
            Phase::Idle | Phase::WritingMark(..) | Phase::SyncingMark(..) | Phase::Stopped(_) => {}
        }
    }

    /// A step of preparing the next segment is done.
    fn prepared(&mut self, result: io::Result<()>, actions: &mut Vec<Action>) {
        let Err(error) = result.map(|()| self.preparation.advance()) else { return };
        self.preparation.abandon(actions);
        if !self.preparation.hurried() {
            return;
        }
        // The queued appends wait for this segment, and none of their bytes was submitted.
        if is_full(&error) {
            self.preparation.relax();
            self.refuse_queued(&StoreError::Overloaded(Overload::DiskFull), actions);
        } else {
            let reason = format!("cannot make a segment: {error}");
            self.phase = Phase::Stopped(reason.clone());
            self.refuse_queued(&StoreError::Stopped { reason }, actions);
        }
    }

    fn refuse_queued(&mut self, error: &StoreError, actions: &mut Vec<Action>) {
        for request in self.queue.drain(..) {
            actions.push(Action::Release(request.bytes));
            let first = request.append.events().next().map(|event| event.id);
            let doubtful = first.is_some_and(|first| self.doubtful.contains(&first));
            let error = if doubtful { again_unknown() } else { error.clone() };
            actions.push(Action::Answer(request.reply, Err(error)));
        }
    }
}

/// The answer to a retry: the first try may have happened.
fn again_unknown() -> StoreError {
    StoreError::unavailable("the first try's outcome is unknown until the store is opened again")
}

fn unknown(error: &io::Error) -> StoreError {
    StoreError::unavailable(format!("writing failed: {error}"))
}

/// Whether the device has no room: room may come back.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Active {
    fn new(segment: Prepared) -> Self {
        let start = HEADER_BYTES;
        Self { segment, offset: start, durable: start, fresh: true, unmarked: false }
    }

    /// Whether a group of `group` bytes may grow by `more`, and a close frame and a seal still
    /// follow. A segment without events was made with room for the append that waited for it.
    fn fits(&self, group: usize, more: usize) -> bool {
        let mark = |end| mark_offset(end) + FRAME_HEADER_BYTES as u64;
        let seal = mark(mark(self.offset + (group + more) as u64));
        (self.fresh && group == 0) || seal <= self.segment.bytes
    }

    fn place(&self) -> Place {
        Place { group_offset: self.offset, durable_mark: self.durable, seed: self.seed() }
    }

    fn seed(&self) -> Seed {
        self.segment.seed
    }
}
