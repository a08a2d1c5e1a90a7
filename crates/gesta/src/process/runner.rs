//! What runs a process manager: one task that takes up events in order, hands them to their
//! instances, which are handled side by side, and sends commands beside them.
//!
//! Always holds: the inputs of one instance are handled in order; the position passes an event
//! once it is recorded in its instance's stream or set aside in the manager's journal; timers that
//! are due come before events, and what became of commands before both; a close with no work in
//! flight leaves a checkpoint of everything done. Not here: one process's stream
//! ([`instance`](super::instance)), what operators order ([`orders`](super::orders)).

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
    agenda::Agenda,
    aside::{AsideRef, SubjectKey, bounded},
    checkpoint::{self, Resumed},
    dispatch::{Sent, Verdict, send},
    flow::Flow,
    history::EffectId,
    instance::{Incoming, Instances, guarded},
    journal::{Census, Checkpointed, Entry, Failing, Journal},
    lanes::{Done, Item, Lanes},
    orders::{Order, Retrying},
    outstanding::Outstanding,
    setup::Identity,
    status::Progress,
    trouble::Trouble,
};
use crate::{
    Clock, EventSet, Pipeline, Recorded,
    projection::{Backoff, in_one_line},
};

/// Commands of one manager that are sent at the same time, each of another process.
const SENDING_MAX: usize = 64;

/// Instances that are handled at the same time.
const HANDLING_MAX: usize = 64;

/// Events that are taken up before those before them are done.
const OPEN_MAX: usize = 1_024;

/// Inputs between two checkpoints; more where more is outstanding than this.
const CHECKPOINT_INPUTS: usize = 1_000;

/// How long it waits for a timer before it looks at the clock again, which may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a process manager runs with.
pub(super) struct Parts<P> {
    pub(super) manager: P,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pipeline: Pipeline,
    pub(super) identity: Arc<Identity>,
    pub(super) begins: Begin,
    pub(super) set_aside_max: usize,
}

impl<P> Parts<P> {
    pub(super) fn now(&self) -> RecordedAt {
        let since_1970 = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }
}

/// The process that an event is for.
pub(super) struct Routed {
    pub(super) id: String,
    pub(super) stream: StreamName,
    pub(super) starts: bool,
}

impl<P: ProcessManager> Parts<P> {
    /// The process that an event is for, if it is for one: not where the event set means another
    /// category, or drops the event. An event that an upcaster splits is one input of one process.
    pub(super) fn route(&self, event: &RecordedEvent) -> Result<Option<Routed>, Trouble> {
        let parts = guarded::<P, _>(|| Recorded::<P::Event>::read_all([event]))??;
        let mut routed: Option<(String, bool)> = None;
        for part in &parts {
            let (id, starts) = match guarded::<P, _>(|| P::route(part))? {
                Route::Start(id) => (id, true),
                Route::Continue(id) => (id, false),
                Route::Ignore => continue,
            };
            match &mut routed {
                None => routed = Some((id, starts)),
                Some((first, begins)) if *first == id => *begins |= starts,
                Some((first, _)) => {
                    return Err(Trouble::SeveralProcesses { first: first.clone(), other: id });
                }
            }
        }
        let Some((id, starts)) = routed else { return Ok(None) };
        let stream = self.identity.stream(&id)?;
        Ok(Some(Routed { id, stream, starts }))
    }
}

pub(super) struct Runner<P> {
    pub(super) parts: Arc<Parts<P>>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) sending: JoinSet<Sent>,
    pub(super) working: JoinSet<Done<P>>,
    pub(super) paused: bool,
    /// Why nothing more is set aside, and therefore nothing done.
    pub(super) halted: Option<String>,
    pub(super) ignored: u64,
}

/// From reading the journal until trouble begins.
pub(super) struct Session<P> {
    pub(super) journal: Journal,
    pub(super) instances: Instances<P>,
    pub(super) lanes: Lanes,
    pub(super) agenda: Agenda,
    pub(super) flow: Flow,
    pub(super) retrying: HashMap<Subject, Retrying>,
    subscription: Subscription,
    /// Delivered and not taken up yet.
    events: VecDeque<RecordedEvent>,
    /// Why a command is sent again later.
    reason: Option<String>,
    incarnation: Incarnation,
    census: Census,
    /// Inputs since the last checkpoint that are no events.
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
    Order(Option<Order>),
    Sent(Sent),
    Done(Done<P>),
    Timer(StreamName, EffectId),
    Time,
    Event,
    Delivery(Delivery),
}

impl<P: ProcessManager> Runner<P> {
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

    /// Trouble leads to a pause and a new beginning from the streams.
    async fn work(&mut self, idle: &mut Idle<P>) {
        let mut backoff = Backoff::new();
        let mut stuck_at = None;
        while let Err(trouble) = self.session(idle).await {
            // Only trouble at the same place again is worth a longer pause.
            let reached = Some(self.progress.borrow().position);
            if stuck_at != reached {
                backoff.reset();
                stuck_at = reached;
            }
            self.sending.shutdown().await;
            self.working.shutdown().await;
            let line = in_one_line(&trouble);
            if matches!(trouble, Trouble::Full { .. }) && self.halted.is_none() {
                tracing::error!(process = P::NAME, trouble = %line, "process manager halts");
                self.halted = Some(line);
                continue;
            }
            tracing::warn!(process = P::NAME, trouble = %line, "process manager begins anew");
            self.progress.send_modify(|progress| {
                progress.trouble = Some(line.clone());
                progress.is_stuck = true;
            });
            if self.wait_in_trouble(&mut backoff, &line).await.is_none() {
                return;
            }
        }
    }

    async fn session(&mut self, idle: &mut Idle<P>) -> Result<(), Trouble> {
        let mut session = Box::new(self.open().await?);
        loop {
            if self.runs() {
                self.send_commands(&mut session);
                self.checkpoint_if_due(&mut session).await?;
            }
            self.tell(&session);
            // A close that interrupts the wait finds the session here.
            let next = self.next(idle.insert(session)).await;
            session = idle.take().expect("the session is idle until the wait ends");
            let next = next?;
            // Progress over events that are not for this manager is not worth a checkpoint.
            session.is_changed |= !matches!(next, Next::Time | Next::Delivery(_));
            match next {
                Next::Order(None) => return Ok(()),
                Next::Order(Some(order)) => self.obey(order, &mut session).await?,
                Next::Sent(sent) => self.sent(sent, &mut session).await?,
                Next::Done(done) => self.done(done, &mut session).await?,
                Next::Timer(stream, timer) => {
                    self.take_timer(stream, timer, &mut session).await?;
                }
                Next::Time => session.agenda.wake(self.parts.now()),
                Next::Event => self.take_event(&mut session).await?,
                Next::Delivery(delivery) => session.take(delivery),
            }
        }
    }

    fn runs(&self) -> bool {
        !self.paused && self.halted.is_none()
    }

    async fn open(&mut self) -> Result<Session<P>, Trouble> {
        let parts = Arc::clone(&self.parts);
        let (store, identity) = (parts.store.as_ref(), &parts.identity);
        checkpoint::begin(store, identity, parts.begins).await?;
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
            agenda: Agenda::default(),
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
        self.know(entries, &mut session).await?;
        if is_new {
            self.checkpoint(&mut session).await?;
        }
        Ok(session)
    }

    /// What instances have outstanding, as their streams say where a checkpoint does not.
    async fn know(&mut self, entries: Vec<Entry>, session: &mut Session<P>) -> Result<(), Trouble> {
        let held: Vec<String> = session.journal.asides.instance_ids().collect();
        for id in held {
            let Ok(stream) = self.parts.identity.stream(&id) else { continue };
            session.hold(&stream, &Subject::Instance(id));
        }
        for entry in entries {
            let Ok(stream) = StreamName::stored(entry.stream) else { continue };
            session.agenda.know_timers(&stream, &entry.timers);
            if !entry.has_commands {
                continue;
            }
            match Outstanding::read(self.parts.store.as_ref(), &stream).await {
                Ok(outstanding) => session.agenda.know(&stream, &outstanding),
                Err(trouble) if trouble.is_of_the_instance() => {
                    let Some(id) = self.parts.identity.id_of(&stream) else { continue };
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

    async fn next(&mut self, session: &mut Session<P>) -> Result<Next<P>, Trouble> {
        let running = self.runs();
        let has_room = self.working.len() < HANDLING_MAX;
        let due =
            if running && has_room { session.agenda.take_due(self.parts.now()) } else { None };
        if let Some((stream, timer)) = due {
            return Ok(Next::Timer(stream, timer));
        }
        let waking = self.parts.clock.sleep_until(self.next_look(session));
        let takes_events = running && has_room && session.flow.open() < OPEN_MAX;
        tokio::select! {
            biased;
            order = self.orders.recv() => Ok(Next::Order(order)),
            Some(sent) = self.sending.join_next() => Ok(Next::Sent(joined(sent)?)),
            Some(done) = self.working.join_next() => Ok(Next::Done(joined(done)?)),
            // Without room, what is due waits until an instance is done.
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
        let latest = self.parts.clock.now() + LOOK_AGAIN;
        session.agenda.next_wake().map_or(latest, |wake| system_time(wake).min(latest))
    }

    fn send_commands(&mut self, session: &mut Session<P>) {
        while self.sending.len() < SENDING_MAX {
            let Some((stream, id, command)) = session.agenda.next_command() else { return };
            self.sending.spawn(send::<P>(Arc::clone(&self.parts), stream, id, command));
        }
    }

    pub(super) async fn sent(
        &mut self,
        sent: Sent,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
        let Sent { stream, command, verdict } = sent;
        match verdict {
            Verdict::Settled => session.agenda.settle(&stream, command),
            Verdict::Refused(refusal) => {
                let input = AsideRef::Refused { command, refusal: refusal.clone() };
                let incoming = Incoming::Refused { command, refusal };
                self.take_input(stream, input, incoming, session).await?;
            }
            Verdict::Again { reason } => {
                tracing::warn!(process = P::NAME, %stream, %reason, "a command is sent again");
                session.reason = Some(reason);
                session.agenda.rest(&stream, self.parts.now());
            }
            Verdict::Faulty { error } => {
                if let Some(id) = self.parts.identity.id_of(&stream) {
                    let input = AsideRef::Command { command };
                    let failing = Failing { input, error: Some(bounded(error)), attempts: 1 };
                    self.set_aside(&Subject::Instance(id), vec![failing], session).await?;
                }
                session.agenda.sent(&stream);
            }
        }
        Ok(())
    }

    async fn take_timer(
        &mut self,
        stream: StreamName,
        timer: EffectId,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
        let input = AsideRef::Timer { timer };
        self.take_input(stream, input, Incoming::Timer(timer), session).await
    }

    /// An input that is not an event goes to its process, or waits behind what is set aside.
    async fn take_input(
        &mut self,
        stream: StreamName,
        input: AsideRef,
        incoming: Incoming,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
        session.inputs += 1;
        let Some(id) = self.parts.identity.id_of(&stream) else { return Ok(()) };
        let subject = Subject::Instance(id);
        if session.journal.asides.holds(&subject) {
            self.set_aside(&subject, vec![Failing::waits(input)], session).await?;
            if let Incoming::Refused { .. } = incoming {
                session.agenda.sent(&stream);
            }
            return Ok(());
        }
        self.enqueue(stream, Item { incoming, reply: None }, session);
        Ok(())
    }

    async fn take_event(&mut self, session: &mut Session<P>) -> Result<(), Trouble> {
        let Some(event) = session.events.pop_front() else { return Ok(()) };
        let position = event.position;
        session.flow.begin(position, event.id);
        if self.dispose(event, session).await? {
            session.flow.end(position);
        }
        Ok(())
    }

    /// Sets an event aside, or hands it to its process; whether it is done with.
    async fn dispose(
        &mut self,
        event: RecordedEvent,
        session: &mut Session<P>,
    ) -> Result<bool, Trouble> {
        let source = Subject::Source(event.stream.clone());
        if session.journal.is_skipped(&event.id) || session.journal.asides.has_event(&event.id) {
            return Ok(true);
        }
        if session.journal.asides.holds(&source) {
            return self.wait(&source, &event, session).await;
        }
        let Routed { id, stream, starts } = match self.parts.route(&event) {
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
    ) -> Result<bool, Trouble> {
        if !session.journal.asides.has_taken(subject, event) {
            let failing = Failing::waits(AsideRef::event(event));
            self.set_aside(subject, vec![failing], session).await?;
        }
        Ok(true)
    }

    /// Keeps in the journal that inputs are set aside.
    pub(super) async fn set_aside(
        &mut self,
        subject: &Subject,
        inputs: Vec<Failing>,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
        let room = self.parts.set_aside_max.saturating_sub(session.journal.asides.count());
        let (fitting, left) = inputs.split_at(room.min(inputs.len()));
        for error in fitting.iter().filter_map(|failing| failing.error.as_deref()) {
            tracing::warn!(process = P::NAME, %subject, error, "an input is set aside");
        }
        let delivered = self.delivered(subject, left, session);
        let (store, since) = (self.parts.store.as_ref(), self.parts.now().micros());
        let key = SubjectKey::of(subject);
        session.journal.set_aside(store, &key, fitting, (delivered, since)).await?;
        if !left.is_empty() {
            return Err(Trouble::Full { count: session.journal.asides.count() });
        }
        if let Subject::Instance(id) = subject {
            session.hold(&self.parts.identity.stream(id)?, subject);
        }
        Ok(())
    }

    /// Up to where all events for a subject are handled or set aside, but for those that are left.
    fn delivered(&self, subject: &Subject, left: &[Failing], session: &Session<P>) -> Position {
        let left = left.iter().find_map(|failing| failing.input.position());
        if let Some(left) = left {
            return Position::new(left.saturating_sub(1));
        }
        let at_work = match subject {
            Subject::Instance(id) => self.parts.identity.stream(id).ok(),
            Subject::Source(_) => None,
        };
        if at_work.is_some_and(|stream| session.lanes.is_at_work(&stream)) {
            return session.flow.done().position;
        }
        session.flow.delivered()
    }

    async fn checkpoint_if_due(&mut self, session: &mut Session<P>) -> Result<(), Trouble> {
        let inputs = session.inputs + session.flow.passed();
        if inputs < CHECKPOINT_INPUTS.max(session.agenda.instances()) {
            return Ok(());
        }
        self.checkpoint(session).await
    }

    async fn checkpoint(&mut self, session: &mut Session<P>) -> Result<(), Trouble> {
        let (store, identity) = (self.parts.store.as_ref(), &self.parts.identity);
        session.census.advance(store, identity).await?;
        let place = session.flow.done();
        let checkpoint = Checkpointed::at(place, session.incarnation, session.census);
        let mut entries = session.agenda.entries();
        // What these have appended may be counted already, and is not known yet.
        let at_work = session.lanes.at_work().map(|stream| stream.as_str().to_owned());
        let unclear = at_work.chain(session.journal.touched().map(str::to_owned));
        entries.extend(unclear.map(Entry::to_be_read));
        session.journal.write_checkpoint(store, entries, checkpoint).await?;
        session.inputs = 0;
        session.is_changed = false;
        session.flow.keep();
        Ok(())
    }

    pub(super) fn tell(&self, session: &Session<P>) {
        let agenda = &session.agenda;
        let state = match (&self.halted, self.paused) {
            (_, true) => ProcessState::Paused,
            (Some(_), false) => ProcessState::Halted,
            (None, false) => ProcessState::Running,
        };
        let resting = session.reason.clone().filter(|_| agenda.is_resting());
        let is_busy = !self.working.is_empty() || !session.events.is_empty();
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.position = session.flow.done().position;
            progress.timers = agenda.timers();
            progress.commands = agenda.commands();
            progress.trouble = self.halted.clone().or(resting);
            progress.ignored = self.ignored;
            progress.census = session.census;
            progress.is_stuck = false;
            progress.is_sending = agenda.is_sending() || is_busy;
            progress.next_wake = agenda.next_wake().map(system_time);
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

    /// Leaves what of a process waits for an operator, or takes it up again.
    pub(super) fn hold(&mut self, stream: &StreamName, subject: &Subject) {
        self.agenda.hold(stream, self.journal.asides.queue(subject));
    }
}

impl Failing {
    /// An input that was tried.
    pub(super) fn tried(input: AsideRef, trouble: &Trouble) -> Self {
        Self { input, error: Some(bounded(in_one_line(trouble))), attempts: 1 }
    }

    /// An input that waits behind another one.
    pub(super) const fn waits(input: AsideRef) -> Self {
        Self { input, error: None, attempts: 0 }
    }
}

pub(super) fn joined<T>(task: Result<T, tokio::task::JoinError>) -> Result<T, Trouble> {
    task.map_err(|error| Trouble::Task { message: error.to_string() })
}

fn system_time(time: RecordedAt) -> SystemTime {
    // A time that the system's clock cannot tell is as good as never.
    UNIX_EPOCH.checked_add(Duration::from_micros(time.micros())).unwrap_or(UNIX_EPOCH)
}
