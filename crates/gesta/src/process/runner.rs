//! The task that runs a process manager: it takes up events in order, passes them to their
//! instances, which are handled concurrently, and sends commands concurrently with them.
//!
//! Always holds: inputs of one instance are handled in order. The position passes an event once it
//! is recorded in its instance's stream or set aside in the journal. Results of commands take
//! precedence over due timers, and these over events. A close without work in flight leaves a
//! checkpoint of everything done.
//!
//! Not here: one process's stream ([`instance`](super::instance)) and control messages
//! ([`control`](super::control)).

use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta_store::{
    Delivery, EventStore, Filter, Incarnation, Position, RecordedAt, RecordedEvent, StoreError,
    StreamName, Subscribe, Subscription, Visibility,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    Begin, ProcessManager, ProcessState, Route, Subject,
    aside::{AsideRef, SubjectKey, bounded},
    checkpoint::{self, Resumed},
    control::{ProcessControlMessage, Retrying},
    dispatch::{Sent, Verdict, send},
    flow::Flow,
    history::EffectId,
    instance::{Incoming, Instances, guarded},
    journal::{Census, Checkpointed, Entry, Failing, Journal},
    lanes::{Done, Item, Lanes},
    outstanding::Outstanding,
    schedule::Schedule,
    setup::Identity,
    status::ProcessProgress,
    trouble::InputError,
};
use crate::{Clock, EventSet, Pipeline, Recorded, backoff::Backoff, error_line::in_one_line};

/// Maximum number of commands in flight, each of a different process.
const SENDING_MAX: usize = 64;

/// Maximum number of instances handled concurrently.
const HANDLING_MAX: usize = 64;

/// Maximum number of events taken up beyond the first unfinished one.
const OPEN_MAX: usize = 1_024;

/// Inputs between two checkpoints, or the number of outstanding instances if that is larger.
const CHECKPOINT_INPUTS: usize = 1_000;

/// Maximum sleep before the clock is read again: the system clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Dependencies of a process manager.
pub(super) struct ProcessDeps<P> {
    pub(super) manager: P,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pipeline: Pipeline,
    pub(super) identity: Arc<Identity>,
    pub(super) begins: Begin,
    pub(super) set_aside_max: usize,
}

impl<P> ProcessDeps<P> {
    pub(super) fn now(&self) -> RecordedAt {
        let since_1970 = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The process that an event is routed to.
pub(super) struct Routed {
    pub(super) id: String,
    pub(super) stream: StreamName,
    pub(super) starts: bool,
}

impl<P: ProcessManager> ProcessDeps<P> {
    /// Routes an event. Returns `None` if the event set drops it or means another category. An
    /// event that an upcaster splits is one input of one process.
    pub(super) fn route(&self, event: &RecordedEvent) -> Result<Option<Routed>, InputError> {
        let deps = guarded::<P, _>(|| Recorded::<P::Event>::read_all([event]))??;
        let mut routed: Option<(String, bool)> = None;
        for part in &deps {
            let (id, starts) = match guarded::<P, _>(|| P::route(part))? {
                Route::Start(id) => (id, true),
                Route::Continue(id) => (id, false),
                Route::Ignore => continue,
            };
            match &mut routed {
                None => routed = Some((id, starts)),
                Some((first, begins)) if *first == id => *begins |= starts,
                Some((first, _)) => {
                    return Err(InputError::SeveralProcesses { first: first.clone(), other: id });
                }
            }
        }
        let Some((id, starts)) = routed else { return Ok(None) };
        let stream = self.identity.stream(&id)?;
        Ok(Some(Routed { id, stream, starts }))
    }
}

pub(super) struct ProcessRunner<P> {
    pub(super) deps: Arc<ProcessDeps<P>>,
    pub(super) control: mpsc::Receiver<ProcessControlMessage>,
    pub(super) progress: watch::Sender<ProcessProgress>,
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
    pub(super) instances: Instances<P>,
    pub(super) lanes: Lanes,
    pub(super) schedule: Schedule,
    pub(super) flow: Flow,
    pub(super) retrying: HashMap<Subject, Retrying>,
    subscription: Subscription,
    /// Delivered events that are not taken up yet.
    events: VecDeque<RecordedEvent>,
    /// The error of a command that will be sent again.
    reason: Option<String>,
    incarnation: Incarnation,
    census: Census,
    /// Number of inputs since the last checkpoint other than events.
    inputs: usize,
    /// True if inputs were handled since the last checkpoint.
    is_changed: bool,
}

/// The session while it waits for its next input, or `None` while it handles one.
///
/// Only a waiting session can be written to a checkpoint: its state is complete.
type Idle<P> = Option<Box<Session<P>>>;

/// The caller of a close. Resolves when the caller stops waiting for the close.
pub(super) type Caller = oneshot::Receiver<()>;

enum Next<P> {
    Control(Option<ProcessControlMessage>),
    Sent(Sent),
    Done(Done<P>),
    Timer(StreamName, EffectId),
    Time,
    Event,
    Delivery(Delivery),
}

impl<P: ProcessManager> ProcessRunner<P> {
    /// Runs until it is closed or its handle is dropped.
    ///
    /// No task of the manager is left when this returns. A close with no work in flight writes a
    /// checkpoint first; a dropped handle ends the run at once.
    pub(super) async fn run(mut self, close: oneshot::Receiver<Caller>) {
        let mut idle = None;
        let caller = tokio::select! {
            biased;
            close = close => close.ok(),
            () = self.work(&mut idle) => None,
        };
        // Work in flight may wait for a store that no longer answers. It is repeated at the next
        // start, so the close does not wait for it.
        let is_in_flight = !self.sending.is_empty() || !self.working.is_empty();
        self.sending.shutdown().await;
        self.working.shutdown().await;
        let changed = idle.filter(|session| session.is_changed && !is_in_flight);
        if let (Some(caller), Some(session)) = (caller, changed) {
            self.write_last_checkpoint(session, caller).await;
        }
    }

    /// Writes a checkpoint, so that the next start does not repeat what was handled since the
    /// previous one.
    ///
    /// Has no time limit of its own: a caller that limits its close drops it, which ends this.
    async fn write_last_checkpoint(&mut self, mut session: Box<Session<P>>, caller: Caller) {
        let written = tokio::select! {
            biased;
            written = self.checkpoint(&mut session) => written,
            _ = caller => return,
        };
        if let Err(trouble) = written {
            let line = in_one_line(&trouble);
            tracing::debug!(process = P::NAME, trouble = %line, "no checkpoint at the close");
        }
    }

    /// Runs sessions. An infrastructure error pauses and reloads everything from the streams.
    async fn work(&mut self, idle: &mut Idle<P>) {
        let mut backoff = Backoff::new();
        let mut stuck_at = None;
        while let Err(trouble) = self.session(idle).await {
            // The back-off grows only if no progress was made in between.
            let reached = Some(self.progress.borrow().position);
            if stuck_at != reached {
                backoff.reset();
                stuck_at = reached;
            }
            self.sending.shutdown().await;
            self.working.shutdown().await;
            let line = in_one_line(&trouble);
            if matches!(trouble, InputError::Full { .. }) && self.halted.is_none() {
                tracing::error!(process = P::NAME, trouble = %line, "process manager halts");
                self.halted = Some(line);
                continue;
            }
            tracing::warn!(process = P::NAME, trouble = %line, "process manager restarts from its checkpoint");
            self.progress.send_modify(|progress| {
                progress.trouble = Some(line.clone());
                progress.is_stuck = true;
            });
            if self.wait_in_trouble(&mut backoff, &line).await.is_none() {
                return;
            }
        }
    }

    async fn session(&mut self, idle: &mut Idle<P>) -> Result<(), InputError> {
        let mut session = Box::new(self.open().await?);
        loop {
            if self.runs() {
                self.send_commands(&mut session);
                self.checkpoint_if_due(&mut session).await?;
            }
            self.publish_status(&session);
            // A close that interrupts the wait finds the session here.
            let next = self.next(idle.insert(session)).await;
            session = idle.take().expect("the session is idle until the wait ends");
            let next = next?;
            // Progress over events that are not for this manager is not worth a checkpoint.
            session.is_changed |= !matches!(next, Next::Time | Next::Delivery(_));
            match next {
                Next::Control(None) => return Ok(()),
                Next::Control(Some(order)) => self.handle_control(order, &mut session).await?,
                Next::Sent(sent) => self.sent(sent, &mut session).await?,
                Next::Done(done) => self.done(done, &mut session).await?,
                Next::Timer(stream, timer) => {
                    self.take_timer(stream, timer, &mut session).await?;
                }
                Next::Time => session.schedule.wake(self.deps.now()),
                Next::Event => self.take_event(&mut session).await?,
                Next::Delivery(delivery) => session.take(delivery),
            }
        }
    }

    fn runs(&self) -> bool {
        !self.paused && self.halted.is_none()
    }

    async fn open(&mut self) -> Result<Session<P>, InputError> {
        let deps = Arc::clone(&self.deps);
        let (store, identity) = (deps.store.as_ref(), &deps.identity);
        checkpoint::begin(store, identity, deps.begins).await?;
        let mut journal = Journal::read(store, identity).await?;
        let types = P::Event::event_types()?;
        let Resumed { place, head, census, entries, is_new } =
            checkpoint::resume(store, &mut journal, identity, &types).await?;
        let subscribe = Subscribe::to_all()
            .after(place.position)
            .filter(Filter::EventTypes(types))
            .visibility(Visibility::Visible);
        let subscribe = Subscribe { incarnation: Some(head.incarnation), ..subscribe };
        let mut session = Session {
            journal,
            instances: Instances::new(),
            lanes: Lanes::default(),
            schedule: Schedule::default(),
            flow: Flow::from(place),
            retrying: HashMap::new(),
            subscription: store.subscribe(subscribe),
            events: VecDeque::new(),
            reason: None,
            incarnation: head.incarnation,
            census,
            inputs: 0,
            is_changed: false,
        };
        // The subscription is polled later, so outstanding work is known before the first event.
        self.know(entries, &mut session).await?;
        if is_new {
            self.checkpoint(&mut session).await?;
        }
        Ok(session)
    }

    /// Loads the outstanding work of instances from their streams where the checkpoint lacks it.
    async fn know(
        &mut self,
        entries: Vec<Entry>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        // First block set-aside instances, so that none of their commands or timers starts.
        let held: Vec<String> = session.journal.asides.instance_ids().collect();
        for id in held {
            let Ok(stream) = self.deps.identity.stream(&id) else { continue };
            session.hold(&stream, &Subject::Instance(id));
        }
        for entry in entries {
            let Ok(stream) = StreamName::stored(entry.stream) else { continue };
            session.schedule.know_timers(&stream, &entry.timers);
            if !entry.has_commands {
                continue;
            }
            match Outstanding::read(self.deps.store.as_ref(), &stream).await {
                Ok(outstanding) => session.schedule.know(&stream, &outstanding),
                Err(trouble) if trouble.is_of_the_instance() => {
                    let Some(id) = self.deps.identity.id_of(&stream) else { continue };
                    let subject = Subject::Instance(id);
                    if !session.journal.asides.holds(&subject) {
                        let failing = Failing::tried(AsideRef::Stream, &trouble);
                        self.set_aside(&subject, vec![failing], session).await?;
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    async fn next(&mut self, session: &mut Session<P>) -> Result<Next<P>, InputError> {
        let running = self.runs();
        let has_room = self.working.len() < HANDLING_MAX;
        let due =
            if running && has_room { session.schedule.take_due(self.deps.now()) } else { None };
        if let Some((stream, timer)) = due {
            return Ok(Next::Timer(stream, timer));
        }
        let waking = self.deps.clock.sleep_until(self.next_look(session));
        // Bounds memory: a slow instance does not stop the others until this many events are open.
        let takes_events = running && has_room && session.flow.open() < OPEN_MAX;
        tokio::select! {
            biased;
            // Biased order: results free tasks and settle commands before new work starts, and
            // events never starve operators.
            order = self.control.recv() => Ok(Next::Control(order)),
            Some(sent) = self.sending.join_next() => Ok(Next::Sent(joined(sent)?)),
            Some(done) = self.working.join_next() => Ok(Next::Done(joined(done)?)),
            // Without a free task, due timers wait until an instance has finished.
            () = waking, if running && has_room => Ok(Next::Time),
            () = ready(()), if takes_events && !session.events.is_empty() => Ok(Next::Event),
            delivery = session.subscription.next(), if running && session.events.is_empty() => {
                match delivery {
                    Some(delivery) => Ok(Next::Delivery(delivery?)),
                    None => Err(StoreError::unavailable("the subscription ended").into()),
                }
            }
        }
    }

    fn next_look(&self, session: &Session<P>) -> SystemTime {
        let latest = self.deps.clock.now() + LOOK_AGAIN;
        session.schedule.next_wake().map_or(latest, |wake| system_time(wake).min(latest))
    }

    fn send_commands(&mut self, session: &mut Session<P>) {
        while self.sending.len() < SENDING_MAX {
            let Some((stream, id, command)) = session.schedule.next_command() else { return };
            self.sending.spawn(send::<P>(Arc::clone(&self.deps), stream, id, command));
        }
    }

    pub(super) async fn sent(
        &mut self,
        sent: Sent,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let Sent { stream, command, verdict } = sent;
        match verdict {
            Verdict::Settled => session.schedule.settle(&stream, command),
            Verdict::Refused(refusal) => {
                let input = AsideRef::Refused { command, refusal: refusal.clone() };
                let incoming = Incoming::Refused { command, refusal };
                self.take_input(stream, input, incoming, session).await?;
            }
            Verdict::Again { reason } => {
                tracing::warn!(process = P::NAME, %stream, %reason, "a command is sent again");
                session.reason = Some(reason);
                session.schedule.rest(&stream, self.deps.now());
            }
            Verdict::Faulty { error } => {
                if let Some(id) = self.deps.identity.id_of(&stream) {
                    let input = AsideRef::Command { command };
                    let failing = Failing { input, error: Some(bounded(error)), attempts: 1 };
                    self.set_aside(&Subject::Instance(id), vec![failing], session).await?;
                }
                session.schedule.sent(&stream);
            }
        }
        Ok(())
    }

    async fn take_timer(
        &mut self,
        stream: StreamName,
        timer: EffectId,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let input = AsideRef::Timer { timer };
        self.take_input(stream, input, Incoming::Timer(timer), session).await
    }

    /// Passes an input other than an event to its process, or queues it behind set-aside inputs.
    async fn take_input(
        &mut self,
        stream: StreamName,
        input: AsideRef,
        incoming: Incoming,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        session.inputs += 1;
        let Some(id) = self.deps.identity.id_of(&stream) else { return Ok(()) };
        let subject = Subject::Instance(id);
        if session.journal.asides.holds(&subject) {
            self.set_aside(&subject, vec![Failing::waits(input)], session).await?;
            if let Incoming::Refused { .. } = incoming {
                session.schedule.sent(&stream);
            }
            return Ok(());
        }
        self.enqueue(stream, Item { incoming, reply: None }, session);
        Ok(())
    }

    async fn take_event(&mut self, session: &mut Session<P>) -> Result<(), InputError> {
        let Some(event) = session.events.pop_front() else { return Ok(()) };
        let position = event.position;
        // Open the event first: until it ends, the watermark and any checkpoint stay before it.
        session.flow.begin(position, event.id);
        if self.dispose(event, session).await? {
            session.flow.end(position);
        }
        Ok(())
    }

    /// Sets an event aside or passes it to its process. Returns whether it is finished.
    async fn dispose(
        &mut self,
        event: RecordedEvent,
        session: &mut Session<P>,
    ) -> Result<bool, InputError> {
        let source = Subject::Source(event.stream.clone());
        // Events are delivered again after a start from an older checkpoint.
        if session.journal.is_skipped(&event.id) || session.journal.asides.has_event(&event.id) {
            return Ok(true);
        }
        if session.journal.asides.holds(&source) {
            return self.wait(&source, &event, session).await;
        }
        let Routed { id, stream, starts } = match self.deps.route(&event) {
            Ok(Some(routed)) => routed,
            Ok(None) => return Ok(true),
            Err(trouble) => {
                let failing = Failing::tried(AsideRef::event(&event), &trouble);
                self.set_aside(&source, vec![failing], session).await?;
                return Ok(true);
            }
        };
        let subject = Subject::Instance(id);
        if session.journal.asides.holds(&subject) {
            return self.wait(&subject, &event, session).await;
        }
        let incoming = Incoming::Event { event, starts };
        self.enqueue(stream, Item { incoming, reply: None }, session);
        Ok(false)
    }

    async fn wait(
        &mut self,
        subject: &Subject,
        event: &RecordedEvent,
        session: &mut Session<P>,
    ) -> Result<bool, InputError> {
        if !session.journal.asides.has_taken(subject, event) {
            let failing = Failing::waits(AsideRef::event(event));
            self.set_aside(subject, vec![failing], session).await?;
        }
        Ok(true)
    }

    /// Records set-aside inputs in the journal.
    pub(super) async fn set_aside(
        &mut self,
        subject: &Subject,
        inputs: Vec<Failing>,
        session: &mut Session<P>,
    ) -> Result<(), InputError> {
        let room = self.deps.set_aside_max.saturating_sub(session.journal.asides.count());
        // Store what fits, then halt: the remaining inputs stay after the position and come again.
        let (fitting, left) = inputs.split_at(room.min(inputs.len()));
        for error in fitting.iter().filter_map(|failing| failing.error.as_deref()) {
            tracing::warn!(process = P::NAME, %subject, error, "an input is set aside");
        }
        let delivered = self.delivered(subject, left, session);
        let (store, since) = (self.deps.store.as_ref(), self.deps.now().micros());
        let key = SubjectKey::of(subject);
        session.journal.set_aside(store, &key, fitting, (delivered, since)).await?;
        if !left.is_empty() {
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
        if at_work.is_some_and(|stream| session.lanes.is_at_work(&stream)) {
            return session.flow.done().position;
        }
        session.flow.delivered()
    }

    async fn checkpoint_if_due(&mut self, session: &mut Session<P>) -> Result<(), InputError> {
        let inputs = session.inputs + session.flow.passed();
        if inputs < CHECKPOINT_INPUTS.max(session.schedule.instances()) {
            return Ok(());
        }
        self.checkpoint(session).await
    }

    async fn checkpoint(&mut self, session: &mut Session<P>) -> Result<(), InputError> {
        let (store, identity) = (self.deps.store.as_ref(), &self.deps.identity);
        // The checkpoint carries the count, so that a start need not read all streams.
        session.census.advance(store, identity).await?;
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
        session.flow.keep();
        Ok(())
    }

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
            progress.commands = schedule.commands();
            progress.trouble = self.halted.clone().or(resting);
            progress.ignored = self.ignored;
            progress.census = session.census;
            progress.is_stuck = false;
            progress.is_sending = schedule.is_sending() || is_busy;
            progress.next_wake = schedule.next_wake().map(system_time);
            progress.tell_asides(&session.journal);
        });
    }
}

impl<P> Session<P> {
    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(page) => self.events.extend(page),
            Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => {
                self.flow.reach(position);
            }
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
        Self { input, error: Some(bounded(in_one_line(trouble))), attempts: 1 }
    }

    /// Creates an input that waits behind another one.
    pub(super) const fn waits(input: AsideRef) -> Self {
        Self { input, error: None, attempts: 0 }
    }
}

pub(super) fn joined<T>(task: Result<T, tokio::task::JoinError>) -> Result<T, InputError> {
    task.map_err(|error| InputError::Task { message: error.to_string() })
}

fn system_time(time: RecordedAt) -> SystemTime {
    // A time beyond the system clock's range never comes.
    UNIX_EPOCH.checked_add(Duration::from_micros(time.micros())).unwrap_or(UNIX_EPOCH)
}
