//! The task that runs a process manager: it takes up events in order, passes them to their
//! instances, which are handled concurrently, and sends commands concurrently with them.
//!
//! Invariant: inputs of one instance are handled in order. The position passes an event once it is
//! recorded in its instance's stream or set aside in the journal. Results of commands take
//! precedence over due timers, and these over events. A close without work in flight leaves a
//! checkpoint of everything done.
//!
//! Not here: one process's stream ([`instance`](super::instance)) and control messages
//! ([`control`](super::control)).

use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gesta_store::{Delivery, FencingToken, Filter, StoreError, StreamName, Subscribe, Visibility};
use tokio::sync::watch;

use super::{
    ProcessManager, ProcessState, Subject,
    aside::AsideRef,
    checkpoint::{self, Resumed},
    dispatch::Sent,
    history::EffectId,
    instance_cache::InstanceCache,
    journal::{Entry, Failing, Journal},
    lanes::{Done, Lanes},
    operation::ProcessControlMessage,
    outstanding::Outstanding,
    schedule::Schedule,
    session::{ProcessRunner, Session, system_time},
    trouble::{InputError, joined},
};
use crate::{
    EventSet,
    backoff::Backoff,
    error_line::in_one_line,
    following::Flow,
    nodes::{Closing, Holder, NodeTask, RunEnd, abandoned, closed},
};

/// Maximum number of instances handled concurrently.
const HANDLING_MAX: usize = 64;

/// Maximum number of events accepted beyond the first unfinished one.
const OPEN_MAX: usize = 1_024;

/// Inputs between two checkpoints, or the number of outstanding instances if that is larger.
const CHECKPOINT_INPUTS: usize = 1_000;

/// Time after which the next input writes a checkpoint: another node repeats what was done since.
const CHECKPOINT_TIME: Duration = Duration::from_secs(1);

/// Outstanding instances that a checkpoint by time may write for each input since the previous one.
const INSTANCES_PER_INPUT: usize = 8;

/// Maximum sleep before the clock is read again: the system clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The session while it waits for its next input, or `None` while it handles one.
///
/// Only a waiting session can be written to a checkpoint: its state is complete.
type Idle<P> = Option<Box<Session<P>>>;

enum Next<P> {
    Control(Option<ProcessControlMessage>),
    Sent(Sent),
    Done(Done<P>),
    Timer(StreamName, EffectId),
    Time,
    Event,
    Delivery(Delivery),
}

impl<P: ProcessManager> NodeTask for ProcessRunner<P> {
    fn closing(&mut self) -> &mut watch::Receiver<Closing> {
        &mut self.closing
    }

    async fn wait(&mut self, holder: watch::Receiver<Holder>) {
        self.follow(holder).await;
    }

    /// Runs until it is closed or its handle is dropped.
    ///
    /// No task of the manager is left when this returns. A close with no work in flight writes a
    /// checkpoint first; a dropped handle ends the run at once.
    async fn run(&mut self, _: Option<FencingToken>) -> RunEnd {
        self.progress.send_modify(|progress| {
            progress.state = ProcessState::Starting;
            (progress.trouble, progress.is_stuck) = (None, false);
            progress.runs_on = self.post.node.clone();
        });
        let mut idle = None;
        let mut closing = self.closing.clone();
        let is_asked = tokio::select! {
            biased;
            is_asked = closed(&mut closing) => is_asked,
            () = self.work(&mut idle) => false,
        };
        // Work in flight may wait for a store that no longer answers. It is repeated at the next
        // start, so the close does not wait for it.
        let is_in_flight = !self.sending.is_empty() || !self.working.is_empty();
        self.put_down().await;
        let changed = idle.filter(|session| session.is_changed && !is_in_flight);
        if let Some(session) = changed.filter(|_| is_asked) {
            self.write_last_checkpoint(session, closing).await;
        }
        RunEnd::Closed
    }

    async fn put_down(&mut self) {
        self.sending.shutdown().await;
        self.working.shutdown().await;
    }
}

impl<P: ProcessManager> ProcessRunner<P> {
    /// Runs on this node and follows on others, until the application is closed.
    pub(super) async fn run_in_turns(mut self) {
        let post = self.post.clone();
        post.keep(&mut self).await;
    }

    /// Writes a checkpoint, so that the next start does not repeat the inputs handled since the
    /// previous one.
    ///
    /// Has no time limit of its own: a caller that limits its close drops it, which ends this.
    async fn write_last_checkpoint(
        &mut self,
        mut session: Box<Session<P>>,
        mut closing: watch::Receiver<Closing>,
    ) {
        let written = tokio::select! {
            biased;
            written = self.checkpoint(&mut session) => written,
            () = abandoned(&mut closing) => return,
        };
        if let Err(trouble) = written {
            let line = in_one_line(&trouble);
            tracing::debug!(
                process = P::NAME, trouble = %line,
                "no checkpoint was written on close"
            );
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
        // The place is one of this incarnation now. The store refuses it if it was replaced in
        // between.
        let subscribe = subscribe.incarnation(head.incarnation);
        let mut session = Session {
            journal,
            instances: InstanceCache::new(),
            lanes: Lanes::default(),
            schedule: Schedule::default(),
            flow: Flow::from(place),
            retrying: HashMap::new(),
            subscription: store.subscribe(subscribe.into()),
            events: VecDeque::new(),
            reason: None,
            incarnation: head.incarnation,
            census,
            inputs: 0,
            is_changed: false,
            checkpointed: self.deps.clock.now(),
        };
        // The subscription is polled later, so outstanding work is known before the first event.
        self.know(entries, &mut session).await?;
        // Stores the place that was found or translated, so that the next start need not search
        // again.
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
        let mut unread = Vec::new();
        for entry in entries {
            let Ok(stream) = StreamName::stored(entry.stream) else { continue };
            // The checkpoint has the timers. Only commands need the stream, which has their
            // payloads.
            session.schedule.know_timers(&stream, &entry.timers);
            if entry.has_commands {
                unread.push(stream);
            }
        }
        for (stream, outstanding) in Outstanding::read_each(&self.deps.store, unread).await? {
            match outstanding {
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

    async fn checkpoint_if_due(&mut self, session: &mut Session<P>) -> Result<(), InputError> {
        let inputs = session.inputs + session.flow.passed();
        let instances = session.schedule.instances();
        let is_time = || {
            let now = self.deps.clock.now();
            now.duration_since(session.checkpointed).is_ok_and(|since| since >= CHECKPOINT_TIME)
        };
        let by_time =
            inputs > 0 && instances <= inputs.saturating_mul(INSTANCES_PER_INPUT) && is_time();
        if by_time || inputs >= CHECKPOINT_INPUTS.max(instances) {
            self.checkpoint(session).await?;
        }
        Ok(())
    }
}
