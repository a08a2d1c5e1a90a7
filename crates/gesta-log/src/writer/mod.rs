//! The writer: from queued appends to durable, published, answered ones.
//!
//! Owns: the order of everything that happens to an append. A state machine: it takes requests,
//! completions and the time, and gives operations, publications and answers; it has no threads and
//! does no I/O. Always holds:
//! - one group is in flight at a time: written through once, then published, then answered; the
//!   next one is filled meanwhile;
//! - an answer that depends on an append not yet published waits for its publication;
//! - a failure is definite only before the group's first byte was submitted, and then it is passing:
//!   the writer tries again when somebody asks ([`shortage`]);
//! - after a failed sync nothing is written any more.
//!
//! Not here: expectations ([`judge`]), how long to gather ([`pace`]), preparing the next segment
//! ([`prepare`]), bytes ([`format`](crate::format)).

mod group;
mod judge;
mod overlay;
mod pace;
mod placed;
mod prepare;
mod shortage;

use std::{
    collections::{HashSet, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gesta_store::{Append, EventId, Position, RecordedAt, Revision, StoreError};
use tracing::{error, info, warn};

use crate::{
    answers::{Answered, Reply},
    clock::Rng,
    disk::{Lane, Operation, is_ownership_lost, may_have_written},
    format::{
        FRAME_HEADER_BYTES, FrameKind, GroupLocation, HEADER_BYTES, encode_bare, mark_offset,
        write_frame_headers,
    },
    index::{AppendSpan, Covered, Index},
    options::Options,
    planted::{self, Bug},
    published::{Publication, ToCome},
    recovery::LogEnd,
};

use group::{Before, Group, Size};
use judge::Past;
pub(crate) use judge::{Spans, appended, before_it_is_written};
use pace::Pace;
pub(crate) use placed::Placed;
pub(crate) use prepare::is_unfinished;
use prepare::{Preparation, Prepared};
use shortage::Shortage;

/// An append in the queue.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) offer: Arc<Offer>,
    pub(crate) reply: Reply,
}

/// What a caller brings. It keeps a handle until it has its answer, so that memory is given back
/// by the thread that asked for it, which is cheaper than by another.
#[derive(Debug)]
pub(crate) struct Offer {
    append: Append,
    looked: Looked,
    /// What it takes of a segment, at most.
    group_bytes: usize,
}

impl Offer {
    pub(crate) fn new(append: Append, looked: Looked) -> Self {
        let group_bytes = Group::bytes_of(&append);
        Self { append, looked, group_bytes }
    }

    /// What it takes of the queue's limit: what it takes in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let condition = self.append.condition.iter();
        let items = condition.flat_map(|condition| condition.none_matching.items());
        let terms: usize = items.map(|item| item.tags().len() + item.types().len() + 1).sum();
        size_of::<Self>() + self.group_bytes + terms * TERM_BYTES
    }

    fn first_event(&self) -> Option<EventId> {
        self.append.events().next().map(|event| event.id)
    }
}

/// Bytes of memory that a term of a condition takes, roughly.
const TERM_BYTES: usize = 64;

/// What the caller's own look at the index said, so that the writer has only the rest to look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    /// Up to where it looked for the next two.
    pub(crate) to: Position,
    /// The last revision of each stream of the append, in order.
    pub(crate) heads: Vec<Option<Revision>>,
    /// The append that has the same first event.
    pub(crate) repeat: Option<AppendSpan>,
    /// Up to where it evaluated the condition.
    pub(crate) condition_to: Position,
    /// What matches it and is visible, whenever the append is recorded.
    pub(crate) matching: Option<Position>,
    /// Where hidden matches were passed over: after how many changes of streams' lives.
    pub(crate) passed_at: Option<u64>,
}

/// What the writer wants done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Do this and say so with the task.
    Submit(Task, Operation, Lane),
    /// What comes to be published if the next submission succeeds.
    Announce(ToCome),
    /// Let readers see this.
    Publish(Box<Publication>),
    /// Tell whoever asked, in this order.
    Answers(Vec<(Reply, Answered)>),
    /// So many bytes of the queue are free again.
    Release(usize),
    /// Nothing is written to this segment any more.
    Ended(Covered),
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
    /// Of its first event.
    first: Position,
    /// Where the next group goes, after what is in flight.
    offset: u64,
    /// Everything before this is durable.
    durable: u64,
    /// Whether its opening frame is still to be written.
    fresh: bool,
    /// Whether the last frame holds events that no durable mark covers.
    unmarked: bool,
}

/// What was submitted and is not durable yet.
#[derive(Debug)]
enum Flight {
    Group(Box<Group>),
    /// A close frame or a seal that ends here.
    Mark(FrameKind, u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    options: Options,
    rng: Box<dyn Rng>,
    /// As far as it is durable.
    end: LogEnd,
    queue: VecDeque<Request>,
    active: Option<Active>,
    preparation: Preparation,
    shortage: Shortage,
    /// The group that is being filled.
    open: Option<Box<Group>>,
    flight: Option<Flight>,
    pace: Pace,
    /// Why nothing is written any more.
    stopped: Option<String>,
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
            shortage: Shortage::default(),
            open: None,
            flight: None,
            pace: Pace::default(),
            stopped: None,
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
        let idle = self.queue.is_empty() && self.flight.is_none();
        self.stopping && self.stopped.is_some() && idle
    }

    /// Whether appends are being gathered or written.
    pub(crate) fn is_under_way(&self) -> bool {
        self.open.is_some() || self.flight.is_some()
    }

    /// How far the last event's recorded time is ahead of the clock.
    pub(crate) fn recorded_ahead(&self, now: RecordedAt) -> Duration {
        self.end.last_recorded_at.map_or(Duration::ZERO, |last| last.since(now))
    }

    /// When the writer wants to be stepped even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.flight.is_some() || self.stopped.is_some() {
            return None;
        }
        if self.open.is_some() {
            return Some(self.pace.gathering_until());
        }
        let unmarked = self.active.as_ref().is_some_and(|active| active.unmarked);
        (unmarked && self.queue.is_empty()).then(|| self.last_active + self.options.close_after)
    }

    /// How long it is worth staying awake for what may come at once.
    pub(crate) fn awake(&self) -> Duration {
        self.pace.awake()
    }

    /// How many appends have to arrive until it is worth stepping the writer for them.
    pub(crate) fn wanted(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |group| group.appends());
        self.pace.wanted(open, self.flight.is_some())
    }

    /// Goes on as far as is possible without waiting.
    pub(crate) fn step(&mut self, now: Now, index: &Index, spans: &dyn Spans) -> Vec<Action> {
        let past = Past { index, spans };
        let mut actions = Vec::new();
        if let Some(reason) = &self.stopped {
            let reason = reason.clone();
            self.refuse_queued(&StoreError::Stopped { reason }, &mut actions);
            return actions;
        }
        self.preparation.step(self.filled(), &mut self.rng, &self.end, &mut actions);
        self.fill(now, past, &mut actions);
        if self.flight.is_some() {
            return actions;
        }
        let stuck = self.open.is_none() && !self.queue.is_empty();
        if stuck && self.roll(now, &mut actions) {
            self.fill(now, past, &mut actions);
        }
        match &self.open {
            Some(open) => {
                let gathered = self.pace.has_gathered(open.appends(), now.elapsed);
                if gathered || self.stopping || !self.queue.is_empty() {
                    self.submit_open(&mut actions);
                }
            }
            None if self.queue.is_empty() && self.flight.is_none() => self.rest(now, &mut actions),
            None => {}
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
            self.stopped = Some("it was closed".to_owned());
        } else if due && !planted::is(Bug::CloseFrameForgotten) {
            self.write_mark(FrameKind::Close, actions);
        }
    }

    /// Takes from the queue as much as the open group may carry.
    fn fill(&mut self, now: Now, past: Past<'_>, actions: &mut Vec<Action>) {
        let Some(active) = &self.active else { return };
        let mut flight = match &mut self.flight {
            Some(Flight::Group(group)) => Some(&mut **group),
            Some(Flight::Mark(FrameKind::Seal, _)) => return,
            Some(Flight::Mark(..)) | None => None,
        };
        let mut open = self.open.take();
        let waiting = open.is_some();
        while let Some(request) = self.queue.front() {
            let taken = open.as_ref().map_or(0, |group| group.bytes.len());
            let bytes = request.offer.group_bytes;
            let crowded = taken > 0 && taken + bytes > self.options.group_bytes_max;
            if crowded || !active.fits(taken, bytes) {
                break;
            }
            let group = open.get_or_insert_with(|| {
                let size = self.pace.size(self.options.frame_bytes_max);
                Box::new(active.group(flight.as_deref(), &self.end, now.calendar, size))
            });
            let request = self.queue.pop_front().expect("it was just looked at");
            actions.push(Action::Release(request.offer.bytes()));
            group.take(request, flight.as_deref_mut(), past, actions);
        }
        self.open = open.filter(|group| !group.is_empty());
        if self.open.is_some() && !waiting {
            self.pace.begin(now.elapsed);
        }
    }

    fn submit_open(&mut self, actions: &mut Vec<Action>) {
        let Some(mut group) = self.open.take() else { return };
        let active = self.active.as_mut().expect("the group was made for it");
        let bytes = group.freeze(active.durable);
        active.offset = group.end();
        active.fresh = false;
        self.pace.submitted(group.appends(), bytes.len());
        let end = group.end();
        if self.pace.lane() == Lane::Foreground {
            actions.push(Action::Announce(group.to_come()));
        }
        self.write(group.offset(), bytes, planted::is(Bug::AcknowledgeBeforeSync), actions);
        self.flight = Some(Flight::Group(group));
        if planted::is(Bug::AcknowledgeWhenSubmitted) {
            let calendar = RecordedAt::from_micros(0);
            self.written(Now { calendar, elapsed: self.last_active }, actions);
            self.flight = Some(Flight::Mark(FrameKind::Close, end));
        }
    }

    /// Moves to the next segment, or towards it; says whether there is room now.
    fn roll(&mut self, now: Now, actions: &mut Vec<Action>) -> bool {
        let Some(request) = self.queue.front() else { return false };
        let wanted = request.offer.group_bytes;
        let Some(prepared) = self.preparation.take_ready(wanted as u64, actions) else {
            if let Some(refused) = self.shortage.too_early(now.elapsed) {
                self.refuse_queued(&refused, actions);
                return false;
            }
            self.preparation.hurry(wanted as u64);
            self.preparation.step(self.filled(), &mut self.rng, &self.end, actions);
            return false;
        };
        if self.active.as_ref().is_some_and(|active| !active.fresh) {
            self.preparation.put_back(prepared);
            self.write_mark(FrameKind::Seal, actions);
            return false;
        }
        self.active = Some(Active::new(prepared, self.end.next));
        true
    }

    fn write_mark(&mut self, kind: FrameKind, actions: &mut Vec<Action>) {
        let active = self.active.as_mut().expect("only an open segment gets marks");
        let mut bytes = Vec::new();
        let offset = mark_offset(active.offset);
        let place = GroupLocation { group_offset: offset, ..active.place() };
        let frame = encode_bare(&mut bytes, self.end.chain, self.end.next, kind);
        write_frame_headers(&mut bytes, &place, active.durable, &[frame]);
        active.offset = offset + bytes.len() as u64;
        let end = active.offset;
        let early = kind == FrameKind::Seal && planted::is(Bug::OpeningFrameBeforePredecessor);
        self.write(offset, Bytes::from(bytes), early, actions);
        self.flight = Some(Flight::Mark(kind, end));
    }

    fn write(&self, offset: u64, bytes: Bytes, early: bool, actions: &mut Vec<Action>) {
        let active = self.active.as_ref().expect("only an open segment is written to");
        let file = active.segment.file();
        // A planted bug takes what is written for durable.
        let write = match early {
            true => Operation::Write { file, offset, bytes },
            false => Operation::WriteThrough { file, offset, bytes },
        };
        actions.push(Action::Submit(Task::Write, write, self.pace.lane()));
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
            Task::Prepare => self.prepared(result, now, &mut actions),
            Task::Discard => {}
            Task::Write => {
                self.last_active = now.elapsed;
                match result {
                    Ok(()) => self.written(now, &mut actions),
                    Err(_) if planted::is(Bug::FailedWriteTakenForDone) => {
                        self.written(now, &mut actions);
                    }
                    Err(error) => self.failed(&error, &mut actions),
                }
            }
        }
        actions
    }

    /// What was in flight is durable. The next group is on its way before this one is published
    /// and answered, so that the device does not wait.
    fn written(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.flight.take() {
            Some(Flight::Group(group)) => {
                let active = self.active.as_mut().expect("the group was written to it");
                active.durable = group.end();
                active.unmarked = !planted::is(Bug::NoCloseFrame);
                let after = group.after();
                self.end.chain = after.chain;
                self.end.next = after.next;
                self.end.last_recorded_at = Some(group.recorded_at());
                let open = self.open.as_ref().map_or(0, |group| group.appends());
                let outstanding = group.appends() + open + self.queue.len();
                self.pace.landed(outstanding, now.elapsed);
                let beside = self.pace.lane() == Lane::Pipelined;
                if beside && open > 0 && self.pace.has_gathered(open, now.elapsed) {
                    self.submit_open(actions);
                }
                let (publication, mut answers) = group.finish();
                if planted::is(Bug::AcknowledgeTheNextGroup)
                    && let Some(open) = &mut self.open
                {
                    answers.append(&mut open.answers);
                }
                actions.push(Action::Publish(Box::new(publication)));
                actions.push(Action::Answers(answers));
            }
            Some(Flight::Mark(kind, end)) => self.marked(kind, end, actions),
            None => {}
        }
    }

    /// A close frame or a seal is durable.
    fn marked(&mut self, kind: FrameKind, end: u64, actions: &mut Vec<Action>) {
        let active = self.active.as_mut().expect("the mark was written to it");
        active.durable = end;
        active.unmarked = false;
        if kind != FrameKind::Seal {
            return;
        }
        actions.push(Action::Ended(Covered {
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

    /// A write failed: what was submitted may or may not be there, and after a failed sync the
    /// page cache cannot be believed. Stops for good.
    fn failed(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        if planted::is(Bug::RetryAFailedSync)
            && let Some(active) = &self.active
        {
            let sync = Operation::Sync { file: active.segment.file() };
            return actions.push(Action::Submit(Task::Write, sync, Lane::Foreground));
        }
        let stopped = self.stop_for(error);
        if planted::is(Bug::GoOnAfterAFailedWrite) || planted::is(Bug::WriteAgainInPlace) {
            self.stopped = None;
        }
        if planted::is(Bug::WriteAgainInPlace)
            && let Some(active) = &mut self.active
        {
            active.offset = active.durable;
        }
        if !may_have_written(error) {
            // Nothing of the group was written, and nothing will be.
            if let Some(Flight::Group(group)) = self.flight.take() {
                group.refuse(&stopped, actions);
            }
        } else if let Some(Flight::Group(group)) = self.flight.take() {
            self.doubtful.extend(group.placed.first_events());
            if planted::is(Bug::PublishWhatFailed) {
                let (publication, _) = group.finish();
                actions.push(Action::Publish(Box::new(publication)));
            } else if planted::is(Bug::FailureToldAsDefinite) {
                group.refuse(&stopped, actions);
            } else {
                group.fail(|| unknown(error), &stopped, actions);
            }
        }
        if let Some(open) = self.open.take() {
            open.refuse(&stopped, actions);
        }
    }

    /// A step of preparing the next segment is done.
    fn prepared(&mut self, result: io::Result<()>, now: Now, actions: &mut Vec<Action>) {
        let full = result.as_ref().is_err_and(is_full);
        let result = if full && planted::is(Bug::DiskFullTakenForDone) { Ok(()) } else { result };
        let Err(error) = result.map(|()| self.preparation.advance()) else {
            if self.preparation.is_ready() && self.shortage.is_known() {
                info!("the next segment could be made again; appends are taken");
                self.shortage.over();
            }
            return;
        };
        self.preparation.abandon(&error, actions);
        if is_ownership_lost(&error) || planted::is(Bug::ShortageTakenForTheEnd) {
            return self.disowned(&error, actions);
        }
        // The queued appends wait for this segment, and none of their bytes was submitted. If only
        // the number was taken, the next one is tried at once.
        if self.preparation.hurried() && error.kind() != io::ErrorKind::AlreadyExists {
            self.preparation.relax();
            if !self.shortage.is_known() {
                warn!(%error, "cannot make the next segment; appends are refused until it can be made");
            }
            let refused = self.shortage.met(&error, now.elapsed);
            self.refuse_queued(&refused, actions);
        }
    }

    /// Another process may have the directory. What is in flight learns it by itself.
    fn disowned(&mut self, error: &io::Error, actions: &mut Vec<Action>) {
        let stopped = self.stop_for(error);
        if let Some(open) = self.open.take() {
            open.refuse(&stopped, actions);
        }
        self.refuse_queued(&stopped, actions);
    }

    fn stop_for(&mut self, error: &io::Error) -> StoreError {
        error!(%error, "the store takes no writes until it is opened again");
        let reason = format!("writing failed: {error}");
        self.stopped = Some(reason.clone());
        StoreError::Stopped { reason }
    }

    fn refuse_queued(&mut self, error: &StoreError, actions: &mut Vec<Action>) {
        for request in self.queue.drain(..) {
            actions.push(Action::Release(request.offer.bytes()));
            let first = request.offer.first_event();
            let doubtful = first.is_some_and(|first| self.doubtful.contains(&first))
                && !planted::is(Bug::RetryInDoubtToldAsDefinite);
            let error = if doubtful { again_unknown() } else { error.clone() };
            actions.push(Action::Answers(vec![(request.reply, Err(error))]));
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
    fn new(segment: Prepared, first: Position) -> Self {
        let start = HEADER_BYTES;
        Self { segment, first, offset: start, durable: start, fresh: true, unmarked: false }
    }

    /// Whether a group of `group` bytes may grow by `more`, and a close frame and a seal still
    /// follow. A segment without events was made with room for the append that waited for it.
    fn fits(&self, group: usize, more: usize) -> bool {
        let mark = |end| mark_offset(end) + FRAME_HEADER_BYTES as u64;
        let seal = mark(mark(self.offset + (group + more) as u64));
        (self.fresh && group == 0) || seal <= self.segment.bytes
    }

    fn place(&self) -> GroupLocation {
        GroupLocation { group_offset: self.offset, seed: self.segment.seed }
    }

    /// An empty group after what is in flight.
    fn group(&self, flight: Option<&Group>, end: &LogEnd, now: RecordedAt, size: Size) -> Group {
        let last_recorded_at = flight.map(Group::recorded_at).or(end.last_recorded_at);
        let recorded_at = last_recorded_at.map_or(now, |last| last.max(now));
        let before = match flight {
            Some(flight) if planted::is(Bug::ChainFromBeforeTheFlight) => {
                Before { chain: end.chain, ..flight.after() }
            }
            Some(flight) if planted::is(Bug::PositionFromBeforeTheFlight) => {
                Before { next: end.next, ..flight.after() }
            }
            Some(flight) => flight.after(),
            None => Before {
                chain: end.chain,
                next: end.next,
                opening: self.fresh.then_some(end.predecessor),
            },
        };
        Group::new(self.segment.number, self.place(), before, recorded_at, size)
    }
}
