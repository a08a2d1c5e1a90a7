//! What is to be done next, over all processes of one manager: commands to send, timers to fire.
//!
//! Always holds: of each process at most one command is being sent, the first that is outstanding;
//! whatever changes a process without a further event does so because of something that is listed
//! here, which is what a checkpoint keeps. Not here: doing it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use gesta_store::{RecordedAt, Revision, StreamName};

use super::{
    aside::Queue,
    effects::later,
    history::EffectId,
    journal::Entry,
    outstanding::{Outstanding, PendingCommand},
};

/// The pause before a command is sent again for the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be done next.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    known: BTreeMap<StreamName, Known>,
    commands: usize,
    timer_count: usize,
    timers: BTreeSet<(RecordedAt, StreamName, EffectId)>,
    /// Processes whose next command can be sent.
    ready: VecDeque<StreamName>,
    /// Processes whose next command is sent again later.
    resting: BTreeSet<(RecordedAt, StreamName)>,
    /// Processes whose next command is ready, resting or on its way, and how long it would rest.
    sending: HashMap<StreamName, Duration>,
    /// What waits for an operator, by process.
    held: HashMap<StreamName, Held>,
}

/// What one process has outstanding.
#[derive(Debug, Default)]
struct Known {
    revision: Option<Revision>,
    commands: BTreeMap<EffectId, PendingCommand>,
    timers: BTreeMap<EffectId, RecordedAt>,
}

/// What of a process is not to be done now, because it is set aside.
#[derive(Debug, Default)]
struct Held {
    timers: HashSet<EffectId>,
    holds_commands: bool,
}

impl Agenda {
    /// What a process has outstanding, as its stream says; what was read earlier is not believed
    /// over what was read later.
    pub(super) fn know(&mut self, stream: &StreamName, outstanding: &Outstanding) {
        let is_old = self.known.get(stream).is_some_and(|it| it.revision > outstanding.revision);
        if is_old {
            return;
        }
        let timers = outstanding.timers.iter().map(|(id, timer)| (*id, timer.due)).collect();
        let (revision, commands) = (outstanding.revision, outstanding.commands.clone());
        self.replace(stream, Known { revision, commands, timers });
    }

    /// The timers of a process, as a checkpoint has them.
    pub(super) fn know_timers(&mut self, stream: &StreamName, timers: &[(EffectId, u64)]) {
        let due = |(id, due): &(EffectId, u64)| (*id, RecordedAt::from_micros(*due));
        let timers = timers.iter().map(due).collect();
        self.replace(stream, Known { revision: None, commands: BTreeMap::new(), timers });
    }

    /// What a checkpoint has to list.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entries = self.known.iter().map(|(stream, known)| Entry {
            stream: stream.as_str().to_owned(),
            timers: known.timers.iter().map(|(id, due)| (*id, due.micros())).collect(),
            has_commands: !known.commands.is_empty(),
        });
        entries.collect()
    }

    /// Leaves what of a process is set aside, or takes it up again where nothing is any more.
    pub(super) fn hold(&mut self, stream: &StreamName, queue: Option<&Queue>) {
        let held = queue.map(|queue| Held {
            timers: queue.timers().collect(),
            holds_commands: queue.holds_commands(),
        });
        match held {
            Some(held) => drop(self.held.insert(stream.clone(), held)),
            None => drop(self.held.remove(stream)),
        }
        if let Some(known) = self.forget(stream) {
            self.replace(stream, known);
        }
    }

    fn replace(&mut self, stream: &StreamName, known: Known) {
        self.forget(stream);
        self.commands += known.commands.len();
        self.timer_count += known.timers.len();
        let held = self.held.get(stream);
        let timers = known
            .timers
            .iter()
            .filter(|(id, _)| !held.is_some_and(|held| held.timers.contains(*id)));
        self.timers.extend(timers.map(|(id, due)| (*due, stream.clone(), *id)));
        if !known.is_nothing() {
            self.known.insert(stream.clone(), known);
        }
        self.get_ready(stream);
    }

    fn forget(&mut self, stream: &StreamName) -> Option<Known> {
        let before = self.known.remove(stream)?;
        self.commands -= before.commands.len();
        self.timer_count -= before.timers.len();
        for (id, due) in &before.timers {
            self.timers.remove(&(*due, stream.clone(), *id));
        }
        Some(before)
    }

    /// Lines a process up, if it has a command and none of it is on its way.
    fn get_ready(&mut self, stream: &StreamName) {
        let is_held = self.held.get(stream).is_some_and(|held| held.holds_commands);
        let has_command = self.known.get(stream).is_some_and(|all| !all.commands.is_empty());
        if has_command && !is_held && !self.sending.contains_key(stream) {
            self.sending.insert(stream.clone(), FIRST_PAUSE);
            self.ready.push_back(stream.clone());
        }
    }

    /// The next command to send.
    pub(super) fn next_command(&mut self) -> Option<(StreamName, EffectId, PendingCommand)> {
        while let Some(stream) = self.ready.pop_front() {
            let is_held = self.held.get(&stream).is_some_and(|held| held.holds_commands);
            let first = self.known.get(&stream).and_then(|all| all.commands.first_key_value());
            let Some((id, command)) = first.filter(|_| !is_held) else {
                self.sending.remove(&stream);
                continue;
            };
            return Some((stream.clone(), *id, command.clone()));
        }
        None
    }

    /// A command needs no sending any more.
    pub(super) fn settle(&mut self, stream: &StreamName, command: EffectId) {
        if let Some(known) = self.known.get_mut(stream) {
            self.commands -= usize::from(known.commands.remove(&command).is_some());
            if known.is_nothing() {
                self.known.remove(stream);
            }
        }
        self.sent(stream);
    }

    /// A process has nothing outstanding any more.
    pub(super) fn cancel(&mut self, stream: &StreamName) {
        self.forget(stream);
    }

    /// No command of a process is on its way any more.
    pub(super) fn sent(&mut self, stream: &StreamName) {
        self.sending.remove(stream);
        self.get_ready(stream);
    }

    /// A command is to be sent again, after a pause.
    pub(super) fn rest(&mut self, stream: &StreamName, now: RecordedAt) {
        let Some(pause) = self.sending.get_mut(stream) else { return };
        let until = later(now, *pause);
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

    /// The timer that is due first, if it is due. It is not due again before the process is
    /// known anew.
    pub(super) fn take_due(&mut self, now: RecordedAt) -> Option<(StreamName, EffectId)> {
        if self.timers.first().is_none_or(|(due, ..)| *due > now) {
            return None;
        }
        self.timers.pop_first().map(|(_, stream, timer)| (stream, timer))
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
        self.timer_count
    }

    pub(super) fn commands(&self) -> usize {
        self.commands
    }

    /// How many processes have something outstanding.
    pub(super) fn instances(&self) -> usize {
        self.known.len()
    }
}

impl Known {
    fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.timers.is_empty()
    }
}
