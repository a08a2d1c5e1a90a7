//! What runs a process manager: one task that handles one input at a time, and sends commands
//! beside it.
//!
//! Always holds: events are handled in order, so the last one that a process recorded says how far
//! all of them are; timers that are due come before events, and what became of commands before
//! both. Not here: one process's stream ([`instance`](super::instance)).

use std::{
    collections::VecDeque,
    future::{pending, ready},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gesta_store::{
    Delivery, EventStore, Filter, Position, RecordedAt, RecordedEvent, StoreError, StreamName,
    Subscribe, Subscription,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    ProcessManager, ProcessState, Route,
    agenda::Agenda,
    dispatch::{Sent, Verdict, send},
    history::EffectId,
    instance::{Incoming, Instances, Trouble, guarded},
    status::Progress,
    stream_of,
};
use crate::{
    Clock, EventSet, Pipeline, Recorded,
    projection::{Backoff, in_one_line},
};

/// Commands of one manager that are sent at the same time, each of another process.
const SENDING_MAX: usize = 16;

/// How long it waits for a timer before it looks at the clock again, which may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What somebody asks of a running manager.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) operation: Operation,
    pub(crate) done: oneshot::Sender<()>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Finish what is being done, and do nothing more.
    Pause,
    /// Go on.
    Resume,
}

/// What a process manager runs with.
pub(super) struct Parts<P> {
    pub(super) manager: P,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) pipeline: Pipeline,
}

pub(super) struct Runner<P> {
    pub(super) parts: Parts<P>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) sending: JoinSet<Sent>,
    pub(super) paused: bool,
}

/// From reading all processes until trouble begins.
struct Session<P> {
    instances: Instances<P>,
    agenda: Agenda,
    subscription: Subscription,
    /// Everything up to here is handled.
    position: Position,
    /// Delivered and not handled yet.
    events: VecDeque<RecordedEvent>,
    /// Why a command is sent again later.
    reason: Option<String>,
}

enum Next {
    Order(Option<Order>),
    Sent(Sent),
    Timer(StreamName, EffectId),
    Time,
    Event,
    Delivery(Delivery),
}

impl<P: ProcessManager> Runner<P> {
    /// Until it is told to stop, or nobody can tell it anything any more. Nothing that it began
    /// is left then.
    pub(super) async fn run(mut self, stop: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            _ = stop => {}
            () = self.work() => {}
        }
        self.sending.shutdown().await;
    }

    /// Trouble leads to a pause and a new beginning from the streams.
    async fn work(&mut self) {
        let mut backoff = Backoff::new();
        let mut stuck_at = None;
        while let Err(trouble) = self.session().await {
            // Only trouble at the same place again is worth a longer pause.
            let reached = Some(self.progress.borrow().position);
            if stuck_at != reached {
                backoff.reset();
                stuck_at = reached;
            }
            self.sending.shutdown().await;
            let line = in_one_line(&trouble);
            tracing::warn!(process = P::NAME, trouble = %line, "process manager begins anew");
            self.progress.send_modify(|progress| {
                progress.trouble = Some(line);
                progress.is_stuck = true;
            });
            backoff.pause(self.parts.clock.as_ref()).await;
        }
    }

    async fn session(&mut self) -> Result<(), Trouble> {
        let mut session = self.open().await?;
        loop {
            if !self.paused {
                self.send_commands(&mut session);
            }
            self.tell(&session);
            match self.next(&mut session).await? {
                Next::Order(None) => return Ok(()),
                Next::Order(Some(order)) => self.obey(order, &mut session).await?,
                Next::Sent(sent) => self.sent(sent, &mut session).await?,
                Next::Timer(stream, timer) => {
                    self.handle(&stream, &Incoming::Timer(timer), &mut session).await?;
                }
                Next::Time => session.agenda.wake(self.now()),
                Next::Event => self.take_event(&mut session).await?,
                Next::Delivery(delivery) => session.take(delivery),
            }
        }
    }

    async fn open(&self) -> Result<Session<P>, Trouble> {
        let (agenda, position) = Agenda::read::<P>(self.parts.store.as_ref()).await?;
        let types = P::Event::event_types()?;
        let subscribe = Subscribe::to_all().after(position).only(Filter::EventTypes(types));
        let subscription = self.parts.store.subscribe(subscribe);
        Ok(Session {
            instances: Instances::new(),
            agenda,
            subscription,
            position,
            events: VecDeque::new(),
            reason: None,
        })
    }

    async fn next(&mut self, session: &mut Session<P>) -> Result<Next, Trouble> {
        let waking = self.parts.clock.sleep_until(self.next_look(session));
        let running = !self.paused;
        let due = session.agenda.due_timer(self.now());
        tokio::select! {
            biased;
            order = self.orders.recv() => Ok(Next::Order(order)),
            Some(sent) = self.sending.join_next() => Ok(Next::Sent(joined(sent)?)),
            (stream, timer) = due_now(due), if running => Ok(Next::Timer(stream, timer)),
            () = waking, if running => Ok(Next::Time),
            () = ready(()), if running && !session.events.is_empty() => Ok(Next::Event),
            delivery = session.subscription.next(), if running => match delivery {
                Some(delivery) => Ok(Next::Delivery(delivery?)),
                None => Err(StoreError::unavailable("the subscription ended").into()),
            },
        }
    }

    fn next_look(&self, session: &Session<P>) -> SystemTime {
        let latest = self.parts.clock.now() + LOOK_AGAIN;
        session.agenda.next_wake().map_or(latest, |wake| system_time(wake).min(latest))
    }

    fn send_commands(&mut self, session: &mut Session<P>) {
        while self.sending.len() < SENDING_MAX {
            let Some((stream, id, command)) = session.agenda.next_command() else { return };
            let Parts { store, pipeline, .. } = &self.parts;
            let (store, pipeline) = (Arc::clone(store), pipeline.clone());
            self.sending.spawn(send::<P>(store, pipeline, stream, id, command));
        }
    }

    async fn sent(&self, sent: Sent, session: &mut Session<P>) -> Result<(), Trouble> {
        let Sent { stream, command, verdict } = sent;
        match verdict {
            Verdict::Settled => session.agenda.settle(&stream, command),
            Verdict::Refused(refusal) => {
                let incoming = Incoming::Refused { command, refusal };
                self.handle(&stream, &incoming, session).await?;
                session.agenda.settle(&stream, command);
            }
            Verdict::Again { reason } => {
                tracing::warn!(process = P::NAME, %stream, %reason, "a command is sent again");
                session.reason = Some(reason);
                session.agenda.rest(&stream, self.now());
            }
        }
        Ok(())
    }

    async fn take_event(&self, session: &mut Session<P>) -> Result<(), Trouble> {
        let Some(event) = session.events.pop_front() else { return Ok(()) };
        let position = event.position;
        let recorded = Recorded::read(&event)?;
        let (id, starts) = match guarded::<P, _>(|| P::route(&recorded))? {
            Route::Start(id) => (Some(id), true),
            Route::Continue(id) => (Some(id), false),
            Route::Ignore => (None, false),
        };
        if let Some(id) = id {
            let stream = stream_of::<P>(&id)?;
            self.handle(&stream, &Incoming::Event { event, starts }, session).await?;
        }
        session.position = position;
        Ok(())
    }

    async fn handle(
        &self,
        stream: &StreamName,
        incoming: &Incoming,
        session: &mut Session<P>,
    ) -> Result<(), Trouble> {
        let (parts, now) = (&self.parts, self.now());
        let outstanding = session.instances.handle(parts, stream, incoming, now).await?;
        session.agenda.know(stream, outstanding);
        Ok(())
    }

    async fn obey(&mut self, order: Order, session: &mut Session<P>) -> Result<(), Trouble> {
        self.paused = match order.operation {
            Operation::Resume => false,
            Operation::Pause => {
                while let Some(sent) = self.sending.join_next().await {
                    self.sent(joined(sent)?, session).await?;
                }
                true
            }
        };
        self.tell(session);
        // Who asked may have stopped waiting; it is done all the same.
        let _ = order.done.send(());
        Ok(())
    }

    fn now(&self) -> RecordedAt {
        let since_1970 = self.parts.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }

    fn tell(&self, session: &Session<P>) {
        let agenda = &session.agenda;
        let state = if self.paused { ProcessState::Paused } else { ProcessState::Running };
        self.progress.send_replace(Progress {
            state,
            position: session.position,
            timers: agenda.timers(),
            commands: agenda.commands(),
            trouble: session.reason.clone().filter(|_| agenda.is_resting()),
            is_stuck: false,
            is_sending: agenda.is_sending(),
            next_wake: agenda.next_wake().map(system_time),
        });
    }
}

impl<P> Session<P> {
    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events(page) => self.events.extend(page),
            Delivery::CaughtUp(position) | Delivery::Checkpoint(position) => {
                self.position = self.position.max(position);
            }
        }
    }
}

/// Never comes where no timer is due.
async fn due_now(due: Option<(StreamName, EffectId)>) -> (StreamName, EffectId) {
    match due {
        Some(due) => due,
        None => pending().await,
    }
}

fn joined(sent: Result<Sent, tokio::task::JoinError>) -> Result<Sent, Trouble> {
    sent.map_err(|error| Trouble::Sending { message: error.to_string() })
}

fn system_time(time: RecordedAt) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(time.micros())
}
