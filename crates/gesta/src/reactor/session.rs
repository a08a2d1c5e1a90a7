//! The state of a reactor's task, and its record in the journal.
//!
//! Invariant: one append records the position together with the held streams that it passes.
//!
//! Not here: the loop ([`runner`](super::runner)) and the sources of work: events and results
//! ([`intake`](super::intake)) and operators ([`control`](super::control)).

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::UNIX_EPOCH,
};

use gesta_store::{
    EventId, EventType, Incarnation, RecordedAt, RecordedEvent, StreamAppend, StreamName,
    Subscription,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    EffectDeadLetter, Reactor, ReactorState,
    attempt::ReactorDeps,
    held::{HeldStream, HeldStreams, letters_of},
    journal::{Changes, ReactorJournal},
    lanes::EffectLanes,
    operation::{ReactorControlMessage, ReactorReply},
    status::ReactorProgress,
    tasks::ReactorTask,
    trouble::ReactorTrouble,
};
use crate::{
    following::{Flow, Place},
    nodes::{Closing, Post},
};

pub(super) struct ReactorRunner<R> {
    pub(super) deps: Arc<ReactorDeps<R>>,
    pub(super) types: Arc<[EventType]>,
    pub(super) control: mpsc::Receiver<ReactorControlMessage>,
    /// Once the application closes, effects in progress end, and no other starts.
    pub(super) closing: watch::Receiver<Closing>,
    pub(super) progress: watch::Sender<ReactorProgress>,
    pub(super) post: Post,
    pub(super) tasks: JoinSet<ReactorTask>,
    pub(super) paused: bool,
    /// The reason why the reactor is halted: the maximum of dead letters is reached.
    pub(super) halted: Option<String>,
}

/// State from loading the journal until an infrastructure error.
pub(super) struct ReactorSession {
    pub(super) journal: ReactorJournal,
    pub(super) flow: Flow,
    pub(super) lanes: EffectLanes,
    pub(super) held: HeldStreams,
    /// Held streams that differ from the journal.
    pub(super) changed: BTreeSet<StreamName>,
    /// Held streams that are read on.
    pub(super) readings: HashMap<StreamName, Reading>,
    /// Dead letters that an operator is retrying.
    pub(super) retrying: HashSet<EventId>,
    /// Operators who wait until the reactor is paused.
    pub(super) pausing: Vec<ReactorReply>,
    pub(super) subscription: Subscription,
    /// Delivered events that are not taken up yet.
    pub(super) events: VecDeque<RecordedEvent>,
    pub(super) incarnation: Incarnation,
    pub(super) letters: Arc<Vec<EffectDeadLetter>>,
    /// Error of the last effect that will be attempted again.
    pub(super) failing: Option<String>,
}

/// The progress of reading a held stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) is_loading: bool,
    /// The stream may have further events.
    pub(super) is_behind: bool,
}

impl ReactorSession {
    /// Replaces the state of a held stream, to be recorded.
    pub(super) fn hold(&mut self, stream: &StreamName, held: HeldStream) {
        self.held.insert(stream.clone(), held);
        self.changed.insert(stream.clone());
    }

    pub(super) fn letters(&self) -> usize {
        self.held.values().filter(|held| held.letter.is_some()).count()
    }

    /// Releases held streams that have caught up and whose events are not delivered again after a
    /// restart.
    fn release_caught_up(&mut self) {
        // Streams that wait for an operator are not read on.
        if self.readings.is_empty() {
            return;
        }
        let done = self.flow.done().position;
        let (lanes, readings) = (&self.lanes, &self.readings);
        let is_caught_up = |stream: &StreamName, held: &HeldStream| {
            let reading = readings.get(stream).copied().unwrap_or_default();
            let is_read = !reading.is_loading && !reading.is_behind && !lanes.has(stream);
            held.letter.is_none() && is_read && held.through <= done
        };
        let held = self.held.iter().filter(|(stream, held)| is_caught_up(stream, held));
        let released: Vec<StreamName> = held.map(|(stream, _)| stream.clone()).collect();
        for stream in released {
            self.held.remove(&stream);
            self.readings.remove(&stream);
            self.changed.insert(stream);
        }
    }

    /// Returns everything that the journal does not have, except for the position.
    fn changes(&self) -> Changes {
        let is_new = |place: &&Place| !place.event.is_some_and(|id| self.journal.is_ahead(&id));
        let ahead = self.flow.done_ahead().filter(is_new).cloned().collect();
        let mut changes = Changes { ahead, ..Changes::default() };
        for stream in &self.changed {
            match self.held.get(stream) {
                Some(held) => drop(changes.held.insert(stream.clone(), held.clone())),
                None => drop(changes.released.insert(stream.clone())),
            }
        }
        changes
    }
}

impl<R: Reactor> ReactorRunner<R> {
    pub(super) fn now(&self) -> RecordedAt {
        let since_1970 = self.deps.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        RecordedAt::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow() != Closing::NotYet
    }

    /// Returns whether effects are started.
    pub(super) fn runs(&self) -> bool {
        !self.paused && self.halted.is_none() && !self.is_closing()
    }

    /// Records everything that was done since the last record, together with events of other
    /// streams.
    pub(super) async fn record(
        &self,
        session: &mut ReactorSession,
        also: Vec<StreamAppend>,
    ) -> Result<(), ReactorTrouble> {
        session.release_caught_up();
        let place = session.flow.done().clone();
        let changes = session.changes();
        // Progress over events that are not for this reactor is not worth an append.
        let is_same =
            session.journal.place().is_some_and(|(stored, _)| stored.event == place.event);
        if is_same && changes.is_none() && also.is_empty() {
            return Ok(());
        }
        let (store, at) = (self.deps.store().as_ref(), (&place, session.incarnation));
        session.journal.advance(store, at, &changes, also).await?;
        if !session.changed.is_empty() {
            session.letters = Arc::new(letters_of(&session.held));
            session.changed.clear();
        }
        Ok(())
    }

    /// Publishes the state to operators and health.
    pub(super) fn publish_status(&self, session: &ReactorSession) {
        let state = match (&self.halted, self.paused) {
            (_, true) => ReactorState::Paused,
            (Some(_), false) => ReactorState::Halted,
            (None, false) => ReactorState::Running,
        };
        let is_reading = session.readings.values().any(|reading| reading.is_loading);
        let failing = session.failing.clone().filter(|_| session.lanes.resting() > 0);
        self.progress.send_modify(|progress| {
            *progress = ReactorProgress {
                state,
                position: session.flow.done().position,
                delivered: session.flow.delivered(),
                letters: Arc::clone(&session.letters),
                resting: session.lanes.resting(),
                trouble: self.halted.clone().or(failing),
                is_stuck: false,
                is_busy: session.lanes.is_busy() || is_reading || !session.events.is_empty(),
                next_wake: session.lanes.next_wake(),
                runs_on: self.post.node.clone(),
            };
        });
    }
}
