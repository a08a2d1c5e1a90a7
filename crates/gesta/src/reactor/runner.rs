//! The task that runs a reactor: it takes up events in order, starts their effects, concurrently
//! for different streams, and records what has happened.
//!
//! Invariant: everything that is done at the start of a wait is recorded. A close waits for the
//! attempts in progress, and leaves nothing unrecorded.
//!
//! Not here: one attempt ([`attempt`](super::attempt)) and control messages
//! ([`control`](super::control)).

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use gesta_store::{
    Delivery, EventStore, FencingToken, Filter, StoreError, StreamName, Subscribe, Visibility,
};

use tokio::sync::watch;

use super::{
    Reactor, ReactorState,
    held::letters_of,
    intake::OPEN_MAX,
    journal::ReactorJournal,
    lanes::EffectLanes,
    operation::ReactorControlMessage,
    session::{ReactorRunner, ReactorSession},
    setup::ReactorIdentity,
    tasks::{ReactorTask, joined},
    trouble::ReactorTrouble,
};
use crate::{
    Begin,
    backoff::Backoff,
    error_line::in_one_line,
    following::{Flow, Place},
    nodes::{Closing, Holder, NodeTask, RunEnd, abandoned},
};

/// Maximum sleep before the clock is read again: the system clock may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The next thing that happens to a waiting reactor.
enum NextStep {
    Control(Option<ReactorControlMessage>),
    Closing,
    Done(ReactorTask),
    Time,
    Delivery(Delivery),
}

/// Stores the first position of a reactor. Does nothing for a reactor that the store knows.
pub(super) async fn begin(
    store: &dyn EventStore,
    identity: &ReactorIdentity,
    begins: Begin,
) -> Result<ReactorJournal, ReactorTrouble> {
    let mut journal = ReactorJournal::read(store, identity).await?;
    if journal.place().is_none() {
        let head = store.head().await?;
        let place = Place::of(begins, store, &head).await?;
        journal.begin(store, &place, head.incarnation).await?;
    }
    Ok(journal)
}

impl<R: Reactor> NodeTask for ReactorRunner<R> {
    fn closing(&mut self) -> &mut watch::Receiver<Closing> {
        &mut self.closing
    }

    async fn wait(&mut self, holder: watch::Receiver<Holder>) {
        self.follow(holder).await;
    }

    async fn run(&mut self, _: Option<FencingToken>) -> RunEnd {
        self.progress.send_modify(|progress| {
            progress.state = ReactorState::Starting;
            (progress.trouble, progress.is_stuck) = (None, false);
            progress.runs_on = self.post.node.clone();
        });
        let mut closing = self.closing.clone();
        tokio::select! {
            biased;
            // Without a caller, the attempts in progress end at once.
            () = abandoned(&mut closing) => self.put_down().await,
            () = self.work() => {}
        }
        RunEnd::Closed
    }

    /// Ends the attempts in progress. Those that have succeeded are repeated by the next node, with
    /// the same key.
    async fn put_down(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl<R: Reactor> ReactorRunner<R> {
    /// Runs on this node and follows on others, until the application is closed.
    pub(super) async fn run_in_turns(mut self) {
        let post = self.post.clone();
        post.keep(&mut self).await;
    }

    /// Runs sessions until the reactor is closed or its handle is dropped. An infrastructure error
    /// pauses and reloads everything from the journal.
    async fn work(&mut self) {
        let mut backoff = Backoff::new();
        let mut stuck_at = None;
        while let Err(trouble) = self.session().await {
            // The back-off grows only if no progress was made in between.
            let reached = Some(self.progress.borrow().position);
            if stuck_at != reached {
                backoff.reset();
                stuck_at = reached;
            }
            // Effects in progress are repeated: their results would be recorded nowhere.
            self.tasks.shutdown().await;
            let line = in_one_line(&trouble);
            tracing::warn!(reactor = R::NAME, trouble = %line, "reactor restarts from its journal");
            self.progress.send_modify(|progress| {
                progress.trouble = Some(line.clone());
                progress.is_stuck = true;
            });
            if self.is_closing() || self.wait_in_trouble(&mut backoff, &line).await.is_none() {
                return;
            }
        }
    }

    async fn session(&mut self) -> Result<(), ReactorTrouble> {
        let mut session = Box::new(self.open().await?);
        loop {
            if self.runs() {
                self.take_events(&mut session);
                self.start_effects(&mut session);
            }
            // All that was done during the last append is recorded by one append.
            self.record(&mut session, Vec::new()).await?;
            self.answer_pauses(&mut session);
            self.publish_status(&session);
            if self.is_closing() && session.lanes.running() == 0 {
                return Ok(());
            }
            match self.next(&mut session).await? {
                NextStep::Control(None) => return Ok(()),
                NextStep::Control(Some(message)) => {
                    self.handle_control(message, &mut session).await?;
                }
                NextStep::Done(done) => self.done(done, &mut session).await?,
                NextStep::Time => session.lanes.wake(self.deps.clock.now()),
                NextStep::Delivery(delivery) => session.take(delivery),
                NextStep::Closing => {}
            }
            while let Some(done) = self.tasks.try_join_next() {
                self.done(joined(done)?, &mut session).await?;
            }
        }
    }

    async fn done(
        &mut self,
        done: ReactorTask,
        session: &mut ReactorSession,
    ) -> Result<(), ReactorTrouble> {
        match done {
            ReactorTask::Tried(tried) => self.tried(tried, session),
            ReactorTask::Retried(retried) => self.retried(*retried, session).await?,
            ReactorTask::Loaded(stream, page) => self.loaded(&stream, page?, session),
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<ReactorSession, ReactorTrouble> {
        let deps = Arc::clone(&self.deps);
        let store = deps.store().as_ref();
        let mut journal = begin(store, &deps.identity, deps.begins).await?;
        let head = store.head().await?;
        let (stored, incarnation) = journal.place().unwrap_or((Place::START, None));
        let is_ours = incarnation == Some(head.incarnation);
        // A copy of the store may have the same incarnation and end before the position.
        let place = if is_ours && stored.position <= head.position {
            stored
        } else {
            let place = stored.translated(store, incarnation, &self.types).await?;
            tracing::info!(
                reactor = R::NAME, from = %stored.position, to = %place.position,
                "the position belongs to another store or another incarnation; its place was found"
            );
            journal.move_positions(head.position);
            place
        };
        let subscribe = Subscribe::to_all()
            .after(place.position)
            .filter(Filter::EventTypes(self.types.to_vec()))
            .visibility(Visibility::Visible);
        // The place is one of this incarnation now. The store refuses it if it was replaced in
        // between.
        let subscribe = subscribe.incarnation(head.incarnation);
        let held = journal.held().clone();
        let mut session = ReactorSession {
            letters: Arc::new(letters_of(&held)),
            journal,
            flow: Flow::from(place),
            lanes: EffectLanes::default(),
            held,
            changed: BTreeSet::new(),
            readings: HashMap::new(),
            retrying: HashSet::new(),
            pausing: Vec::new(),
            subscription: store.subscribe(subscribe.into()),
            events: VecDeque::new(),
            incarnation: head.incarnation,
            failing: None,
        };
        self.read_all_on(&mut session);
        Ok(session)
    }

    /// Continues the held streams that do not wait for an operator.
    fn read_all_on(&mut self, session: &mut ReactorSession) {
        let going = session.held.iter().filter(|(_, held)| held.letter.is_none());
        let going: Vec<StreamName> = going.map(|(stream, _)| stream.clone()).collect();
        for stream in going {
            session.readings.entry(stream.clone()).or_default().is_behind = true;
            self.read_on(&stream, session);
        }
    }

    async fn next(&mut self, session: &mut ReactorSession) -> Result<NextStep, ReactorTrouble> {
        let runs = self.runs();
        let is_closing = self.is_closing();
        let waking = self.deps.clock.sleep_until(self.next_look(session));
        let takes_events = runs && session.events.is_empty() && session.flow.open() < OPEN_MAX;
        tokio::select! {
            biased;
            // Results settle before new work starts, and events never starve operators.
            message = self.control.recv() => Ok(NextStep::Control(message)),
            _ = self.closing.changed(), if !is_closing => Ok(NextStep::Closing),
            Some(done) = self.tasks.join_next() => Ok(NextStep::Done(joined(done)?)),
            () = waking, if runs => Ok(NextStep::Time),
            delivery = session.subscription.next(), if takes_events => match delivery {
                Some(delivery) => Ok(NextStep::Delivery(delivery?)),
                None => Err(StoreError::unavailable("the subscription ended").into()),
            },
        }
    }

    fn next_look(&self, session: &ReactorSession) -> SystemTime {
        let latest = self.deps.clock.now() + LOOK_AGAIN;
        session.lanes.next_wake().map_or(latest, |wake| wake.min(latest))
    }
}
