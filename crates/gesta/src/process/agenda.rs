//! What is to be done next, over all processes of one manager: commands to send, timers to fire.
//!
//! Always holds: of each process at most one command is being sent, the first that is outstanding;
//! what is here follows from the processes' streams, and is made anew from them at any time. Not
//! here: doing it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use gesta_store::{EventStore, Filter, Position, ReadAll, RecordedAt, StreamName};

use super::{
    ProcessManager, category_of,
    effects::Due,
    history::{EffectId, ProcessEvent, StoredInput},
    instance::Trouble,
    outstanding::{Outstanding, PendingCommand},
};
use crate::Recorded;

/// The pause before a command is sent again for the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    outstanding: BTreeMap<StreamName, Outstanding>,
    commands: usize,
    timers: BTreeSet<(RecordedAt, StreamName, EffectId)>,
    /// Processes whose next command can be sent.
    ready: VecDeque<StreamName>,
    /// Processes whose next command is sent again later.
    resting: BTreeSet<(RecordedAt, StreamName)>,
    /// Processes whose next command is ready, resting or on its way, and how long it would rest.
    sending: HashMap<StreamName, Duration>,
}

impl Agenda {
    /// Reads all processes of a manager; also the position of the last event that one has handled.
    pub(super) async fn read<P: ProcessManager>(
        store: &dyn EventStore,
    ) -> Result<(Self, Position), Trouble> {
        let mut found: BTreeMap<StreamName, Outstanding> = BTreeMap::new();
        let mut handled = Position::START;
        let category = category_of::<P>()?;
        let read = ReadAll::forwards().only(Filter::Categories(vec![category]));
        let mut pages = store.read_all(read);
        while let Some(page) = pages.next().await {
            for event in page? {
                let recorded = Recorded::<ProcessEvent>::read(&event)?;
                handled = handled.max(source_of(&recorded.event));
                let outstanding = found.entry(event.stream.clone()).or_default();
                outstanding.take(&recorded);
                if outstanding.is_nothing() {
                    found.remove(&event.stream);
                }
            }
        }
        let mut agenda = Self::default();
        for (stream, outstanding) in found {
            agenda.know(&stream, outstanding);
        }
        Ok((agenda, handled))
    }

    /// What a process has outstanding now.
    pub(super) fn know(&mut self, stream: &StreamName, outstanding: Outstanding) {
        self.forget(stream);
        self.commands += outstanding.commands.len();
        let timers = outstanding.timers.iter();
        self.timers.extend(timers.map(|(id, timer)| (timer.due, stream.clone(), *id)));
        if !outstanding.is_nothing() {
            self.outstanding.insert(stream.clone(), outstanding);
        }
        self.get_ready(stream);
    }

    fn forget(&mut self, stream: &StreamName) {
        let Some(before) = self.outstanding.remove(stream) else { return };
        self.commands -= before.commands.len();
        for (id, timer) in &before.timers {
            self.timers.remove(&(timer.due, stream.clone(), *id));
        }
    }

    /// Lines a process up, if it has a command and none of it is on its way.
    fn get_ready(&mut self, stream: &StreamName) {
        let has_command = self.outstanding.get(stream).is_some_and(|all| !all.commands.is_empty());
        if has_command && !self.sending.contains_key(stream) {
            self.sending.insert(stream.clone(), FIRST_PAUSE);
            self.ready.push_back(stream.clone());
        }
    }

    /// The next command to send.
    pub(super) fn next_command(&mut self) -> Option<(StreamName, EffectId, PendingCommand)> {
        while let Some(stream) = self.ready.pop_front() {
            let first =
                self.outstanding.get(&stream).and_then(|all| all.commands.first_key_value());
            let Some((id, command)) = first else {
                self.sending.remove(&stream);
                continue;
            };
            return Some((stream.clone(), *id, command.clone()));
        }
        None
    }

    /// A command needs no sending any more.
    pub(super) fn settle(&mut self, stream: &StreamName, command: EffectId) {
        if let Some(outstanding) = self.outstanding.get_mut(stream) {
            self.commands -= usize::from(outstanding.commands.remove(&command).is_some());
            if outstanding.is_nothing() {
                self.outstanding.remove(stream);
            }
        }
        self.sending.remove(stream);
        self.get_ready(stream);
    }

    /// A command is to be sent again, after a pause.
    pub(super) fn rest(&mut self, stream: &StreamName, now: RecordedAt) {
        let Some(pause) = self.sending.get_mut(stream) else { return };
        let until = Due::After(*pause).from(now);
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        self.resting.insert((until, stream.clone()));
    }

    /// Ends the pauses that are over.
    pub(super) fn wake(&mut self, now: RecordedAt) {
        while self.resting.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, stream)) = self.resting.pop_first() else { return };
            self.ready.push_back(stream);
        }
    }

    /// The timer that is due first, if it is due.
    pub(super) fn due_timer(&self, now: RecordedAt) -> Option<(StreamName, EffectId)> {
        let (due, stream, timer) = self.timers.first()?;
        (*due <= now).then(|| (stream.clone(), *timer))
    }

    /// When there will be something to do though nothing happens.
    pub(super) fn next_wake(&self) -> Option<RecordedAt> {
        let timer = self.timers.first().map(|(due, _, _)| *due);
        let rest = self.resting.first().map(|(until, _)| *until);
        timer.into_iter().chain(rest).min()
    }

    /// Whether a command is being sent or could be.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.len() > self.resting.len()
    }

    pub(super) fn is_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn commands(&self) -> usize {
        self.commands
    }
}

/// Where the event is that was handled, if it was one.
fn source_of(event: &ProcessEvent) -> Position {
    let ProcessEvent::Reacted(reacted) = event else { return Position::START };
    match &reacted.input {
        StoredInput::Event { position, .. } => Position::new(*position),
        StoredInput::Timer { .. } | StoredInput::Rejected { .. } => Position::START,
    }
}
