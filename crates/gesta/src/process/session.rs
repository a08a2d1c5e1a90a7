//! The state of a manager's task, and the changes that all of its work makes to it.
//!
//! Owns: set-aside inputs, checkpoints and the published status. Invariant: a checkpoint covers
//! only events that are recorded in their instance's stream or set aside in the journal.
//!
//! Not here: the loop ([`runner`](super::runner)) and the sources of work: inputs
//! ([`intake`](super::intake)) and operators ([`control`](super::control)).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta_store::{
    CorrelationId, Delivery, Incarnation, NewEvent, Position, RecordedAt, RecordedEvent,
    StreamName, Subscription,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    ProcessError, ProcessManager, ProcessState, Subject,
    aside::{AsideRef, SubjectKey, bounded},
    deps::ProcessDeps,
    dispatch::Sent,
    instance_cache::InstanceCache,
    journal::{Census, Checkpointed, Entry, Failing, Journal},
    lanes::{Done, Lanes},
    operation::{ProcessControlMessage, Reply},
    schedule::Schedule,
    status::ProcessProgress,
    trouble::InputError,
};
use crate::{
    error_line::in_one_line,
    following::Flow,
    nodes::{Closing, Post},
};

pub(super) struct ProcessRunner<P> {
    pub(super) deps: Arc<ProcessDeps<P>>,
    pub(super) control: mpsc::Receiver<ProcessControlMessage>,
    pub(super) progress: watch::Sender<ProcessProgress>,
    pub(super) closing: watch::Receiver<Closing>,
    pub(super) post: Post,
    pub(super) sending: JoinSet<Sent>,
    pub(super) working: JoinSet<Done<P>>,
    pub(super) paused: bool,
    /// The reason why the manager is halted: the maximum of set-aside inputs is reached.
    pub(super) halted: Option<String>,
    pub(super) ignored: u64,
}

/// State from loading the journal until an infrastructure error.
pub(super) struct Session<P> {
    pub(super) journal: Journal,
    pub(super) instances: InstanceCache<P>,
    pub(super) lanes: Lanes,
    pub(super) schedule: Schedule,
    pub(super) flow: Flow,
    pub(super) retrying: HashMap<Subject, Retrying>,
    pub(super) subscription: Subscription,
    /// Delivered events that are not accepted yet.
    pub(super) events: VecDeque<RecordedEvent>,
    /// The error of a command that will be sent again.
    pub(super) reason: Option<String>,
    pub(super) incarnation: Incarnation,
    pub(super) census: Census,
    /// Number of inputs since the last checkpoint other than events.
    pub(super) inputs: usize,
    /// True if inputs have been handled since the last checkpoint.
    pub(super) is_changed: bool,
    /// Time of the last checkpoint, or of the start.
    pub(super) checkpointed: SystemTime,
}

/// A retry in progress.
pub(super) struct Retrying {
    /// Audit record, appended with the result.
    pub(super) record: Option<NewEvent>,
    pub(super) reply: Option<Reply>,
}

/// The reason why an operation failed. The outer error ends the session.
pub(super) type Refused = Result<ProcessError, InputError>;

impl<P: ProcessManager> ProcessRunner<P> {
    pub(super) fn id_of(&self, stream: &StreamName) -> String {
        self.deps.identity.id_of(stream).unwrap_or_else(|| stream.as_str().to_owned())
    }

    /// Records set-aside inputs in the journal.
    pub(super) async fn set_aside(
        &mut self,
        subject: &Subject,
        inputs: Vec<Failing>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        // Bounds the memory of the queues and the size of checkpoints.
        let room = self.deps.set_aside_max.saturating_sub(session.journal.asides.count());
        // Store what fits, then halt: the remaining inputs lie after the position and are reread.
        let (fitting, left) = inputs.split_at(room.min(inputs.len()));
        for failing in fitting {
            let Some(error) = failing.error.as_deref() else { continue };
            let correlation_id = failing.correlation_id.as_ref().map(CorrelationId::as_str);
            tracing::warn!(
                process = P::NAME, %subject, error, correlation_id,
                "an input is set aside"
            );
        }
        let delivered = self.delivered(subject, left, session);
        let (store, since) = (self.deps.store.as_ref(), self.deps.now().micros());
        let key = SubjectKey::of(subject);
        session.journal.set_aside(store, &key, fitting, (delivered, since)).await?;
        if !left.is_empty() {
            // Ends the session. The runner halts, and an operator makes room.
            return Err(InputError::Full { count: session.journal.asides.count() });
        }
        if let Subject::Instance(id) = subject {
            session.hold(&self.deps.identity.stream(id)?, subject);
        }
        Ok(())
    }

    /// Returns the position up to which a subject's events are handled or set aside, except for the
    /// released ones.
    fn delivered(&self, subject: &Subject, left: &[Failing], session: &Session<P>) -> Position {
        let left = left.iter().find_map(|failing| failing.input.position());
        if let Some(left) = left {
            return Position::new(left.saturating_sub(1));
        }
        let at_work = match subject {
            Subject::Instance(id) => self.deps.identity.stream(id).ok(),
            Subject::Source(_) => None,
        };
        // Events of this instance may still be in its lane, so only the watermark is certain.
        if at_work.is_some_and(|stream| session.lanes.is_at_work(&stream)) {
            return session.flow.done().position;
        }
        // Everything delivered for this subject has been handled or queued.
        session.flow.delivered()
    }

    /// Writes a checkpoint of everything done.
    pub(super) async fn checkpoint(&mut self, session: &mut Session<P>) -> Result<(), InputError> {
        let (store, identity) = (self.deps.store.as_ref(), &self.deps.identity);
        // The checkpoint carries the count, so that a start need not read all streams.
        session.census.advance(store, identity).await?;
        // The watermark, not the last delivered event: events in progress are delivered
        // again after a restart.
        let place = session.flow.done();
        let checkpoint = Checkpointed::at(place, session.incarnation, session.census);
        let mut entries = session.schedule.entries();
        // Events of instances in progress may be counted already although their state is unknown
        // here.
        let at_work = session.lanes.at_work().map(|stream| stream.as_str().to_owned());
        let unclear = at_work.chain(session.journal.touched().map(str::to_owned));
        entries.extend(unclear.map(Entry::to_be_read));
        session.journal.write_checkpoint(store, entries, checkpoint).await?;
        session.inputs = 0;
        session.is_changed = false;
        session.checkpointed = self.deps.clock.now();
        // Counting starts again after the append: a failed checkpoint is due at once.
        session.flow.keep();
        Ok(())
    }

    /// Replies to an operation. An infrastructure error also ends the session.
    pub(super) fn answer(
        &mut self,
        done: Reply,
        outcome: Result<(), Refused>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        // Any operation may have made room.
        if session.journal.asides.count() < self.deps.set_aside_max {
            self.halted = None;
        }
        let (reply, ended) = match outcome {
            Ok(()) => (Ok(()), Ok(())),
            Err(Ok(refused)) => (Err(refused), Ok(())),
            Err(Err(trouble)) => {
                let reason = in_one_line(&trouble);
                (Err(ProcessError::Unavailable { reason }), Err(trouble))
            }
        };
        self.publish_status(session);
        // The caller may have stopped waiting, which does not undo the operation.
        let _ = done.send(reply);
        ended
    }

    /// Publishes the state to operators and health.
    pub(super) fn publish_status(&self, session: &Session<P>) {
        let schedule = &session.schedule;
        let state = match (&self.halted, self.paused) {
            (_, true) => ProcessState::Paused,
            (Some(_), false) => ProcessState::Halted,
            (None, false) => ProcessState::Running,
        };
        let resting = session.reason.clone().filter(|_| schedule.is_resting());
        let is_busy = !self.working.is_empty() || !session.events.is_empty();
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.position = session.flow.done().position;
            progress.timers = schedule.timers();
            progress.timer_queue = schedule.timer_queue().clone();
            progress.command_queue = schedule.command_queue().clone();
            progress.commands = schedule.commands();
            progress.trouble = self.halted.clone().or(resting);
            progress.ignored = self.ignored;
            progress.census = session.census;
            progress.is_stuck = false;
            progress.runs_on = self.post.node.clone();
            progress.is_sending = schedule.is_sending() || is_busy;
            progress.next_wake = schedule.next_wake().map(system_time);
            progress.publish_asides(&session.journal);
        });
    }
}

impl<P> Session<P> {
    pub(super) fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(page) => self.events.extend(page),
            Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => {
                self.flow.reach(position);
            }
            // Neither events nor progress.
            _ => {}
        }
    }

    /// Blocks or releases the outstanding work of a process according to its set-aside inputs.
    pub(super) fn hold(&mut self, stream: &StreamName, subject: &Subject) {
        self.schedule.hold(stream, self.journal.asides.queue(subject));
    }
}

impl Failing {
    /// Creates an input that failed.
    pub(super) fn tried(input: AsideRef, trouble: &InputError) -> Self {
        Self::because(input, in_one_line(trouble))
    }

    /// The same, for an error in one line.
    pub(super) fn because(input: AsideRef, error: String) -> Self {
        Self { input, error: Some(bounded(error)), attempts: 1, correlation_id: None }
    }

    /// Adds the correlation of the input.
    pub(super) fn of_correlation(self, correlation_id: Option<CorrelationId>) -> Self {
        Self { correlation_id, ..self }
    }

    /// Creates an input that waits behind another one.
    pub(super) const fn waits(input: AsideRef) -> Self {
        Self { input, error: None, attempts: 0, correlation_id: None }
    }
}

pub(super) fn system_time(time: RecordedAt) -> SystemTime {
    // A time beyond the system clock's range never comes.
    UNIX_EPOCH.checked_add(Duration::from_micros(time.micros())).unwrap_or(UNIX_EPOCH)
}
