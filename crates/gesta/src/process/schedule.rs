//! The outstanding work of one manager over all its processes: commands to send, timers to fire.
//!
//! Invariant: at most one command per process is in flight, its first outstanding one. Whatever
//! changes a process without a further event is listed here, which is what a checkpoint stores.
//!
//! Not here: sending and firing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use gesta_store::{RecordedAt, Revision, StreamName};

use super::{
    aside::Queue,
    command_queue::CommandQueue,
    effects::later,
    history::EffectId,
    journal::Entry,
    outstanding::{Outstanding, PendingCommand},
    timer_queue::TimerQueue,
};

/// Pause before a command is sent again for the first time. Each further attempt doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Upper limit of the pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Schedule {
    known: BTreeMap<StreamName, Known>,
    commands: usize,
    command_queue: CommandQueue,
    timer_count: usize,
    timers: TimerQueue,
    /// Processes whose next command can be sent.
    ready: VecDeque<StreamName>,
    /// Processes whose next command is sent again later.
    resting: BTreeSet<(RecordedAt, StreamName)>,
    /// Processes whose next command is ready, resting or in flight, with the pause of the next
    /// retry.
    sending: HashMap<StreamName, Duration>,
    /// Work that waits for an operator, by process.
    held: HashMap<StreamName, Held>,
}

/// Outstanding work of one process.
#[derive(Debug, Default)]
struct Known {
    revision: Option<Revision>,
    commands: BTreeMap<EffectId, PendingCommand>,
    timers: BTreeMap<EffectId, RecordedAt>,
}

/// Work of a process that is blocked because it is set aside.
#[derive(Debug, Default)]
struct Held {
    timers: HashSet<EffectId>,
    holds_commands: bool,
}

impl Schedule {
    /// Updates a process from its stream. A state read earlier never replaces one read later.
    pub(super) fn know(&mut self, stream: &StreamName, outstanding: &Outstanding) {
        // States come from tasks that run concurrently, so an older one may arrive last. Taking it
        // would send a settled command again and fire a fired timer again.
        let is_old = self.known.get(stream).is_some_and(|it| it.revision > outstanding.revision);
        if is_old {
            return;
        }
        let timers = outstanding.timers.iter().map(|(id, timer)| (*id, timer.due)).collect();
        let (revision, commands) = (outstanding.revision, outstanding.commands.clone());
        self.replace(stream, Known { revision, commands, timers });
    }

    /// Restores the timers of a process from a checkpoint.
    pub(super) fn know_timers(&mut self, stream: &StreamName, timers: &[(EffectId, u64)]) {
        let due = |(id, due): &(EffectId, u64)| (*id, RecordedAt::from_micros(*due));
        let timers = timers.iter().map(due).collect();
        // Without a revision, any state read from the stream replaces this one.
        self.replace(stream, Known { revision: None, commands: BTreeMap::new(), timers });
    }

    /// Returns the entries for a checkpoint.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entries = self.known.iter().map(|(stream, known)| Entry {
            stream: stream.as_str().to_owned(),
            timers: known.timers.iter().map(|(id, due)| (*id, due.micros())).collect(),
            has_commands: !known.commands.is_empty(),
        });
        entries.collect()
    }

    /// Blocks the set-aside work of a process, or releases it once nothing is set aside.
    pub(super) fn hold(&mut self, stream: &StreamName, queue: Option<&Queue>) {
        let held = queue.map(|queue| Held {
            timers: queue.timers().collect(),
            holds_commands: queue.holds_commands(),
        });
        match held {
            Some(held) => drop(self.held.insert(stream.clone(), held)),
            None => drop(self.held.remove(stream)),
        }
        // Indexed again under the new block: `replace` leaves out the timers that are held.
        if let Some(known) = self.forget(stream) {
            self.replace(stream, known);
        }
    }

    fn replace(&mut self, stream: &StreamName, known: Known) {
        self.forget(stream);
        self.commands += known.commands.len();
        self.timer_count += known.timers.len();
        self.command_queue.extend(stream, &known.commands);
        // A held timer has fired and waits in the queue. It stays known, so that a checkpoint lists
        // it, but it must not fire a second time.
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
        self.command_queue.remove(stream, before.commands.keys().copied());
        for (id, due) in &before.timers {
            self.timers.remove(&(*due, stream.clone(), *id));
        }
        Some(before)
    }

    /// Queues a process, if it has a command and none in flight.
    fn get_ready(&mut self, stream: &StreamName) {
        let is_held = self.held.get(stream).is_some_and(|held| held.holds_commands);
        let has_command = self.known.get(stream).is_some_and(|all| !all.commands.is_empty());
        // One command in flight per process keeps their order: the next one is sent once the first
        // is settled.
        if has_command && !is_held && !self.sending.contains_key(stream) {
            self.sending.insert(stream.clone(), FIRST_PAUSE);
            self.ready.push_back(stream.clone());
        }
    }

    /// Takes the next command to send.
    pub(super) fn next_command(&mut self) -> Option<(StreamName, EffectId, PendingCommand)> {
        while let Some(stream) = self.ready.pop_front() {
            let is_held = self.held.get(&stream).is_some_and(|held| held.holds_commands);
            let first = self.known.get(&stream).and_then(|all| all.commands.first_key_value());
            // The process may have been set aside, or its command settled, while it waited in the
            // queue.
            let Some((id, command)) = first.filter(|_| !is_held) else {
                self.sending.remove(&stream);
                continue;
            };
            return Some((stream.clone(), *id, command.clone()));
        }
        None
    }

    /// Removes a settled command.
    pub(super) fn settle(&mut self, stream: &StreamName, command: EffectId) {
        if let Some(known) = self.known.get_mut(stream) {
            self.command_queue.remove(stream, std::iter::once(command));
            self.commands -= usize::from(known.commands.remove(&command).is_some());
            if known.is_nothing() {
                self.known.remove(stream);
            }
        }
        self.sent(stream);
    }

    /// Removes a process without outstanding work.
    pub(super) fn cancel(&mut self, stream: &StreamName) {
        self.forget(stream);
    }

    /// Marks a process as having no command in flight.
    pub(super) fn sent(&mut self, stream: &StreamName) {
        self.sending.remove(stream);
        self.get_ready(stream);
    }

    /// Schedules a command to be sent again after a pause.
    pub(super) fn rest(&mut self, stream: &StreamName, now: RecordedAt) {
        let Some(pause) = self.sending.get_mut(stream) else { return };
        let until = later(now, *pause);
        // The pause stays in `sending`, so it grows until the command is settled.
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

    /// Takes the earliest timer, if it is due. It does not fire again before the process is
    /// updated.
    pub(super) fn take_due(&mut self, now: RecordedAt) -> Option<(StreamName, EffectId)> {
        self.timers.take_due(now).map(|(_, stream, timer)| (stream, timer))
    }

    /// Returns the next time at which work becomes due.
    pub(super) fn next_wake(&self) -> Option<RecordedAt> {
        let timer = self.timers.next();
        let rest = self.resting.first().map(|(until, _)| *until);
        // Ready commands need no wake: they are sent before the task waits.
        timer.into_iter().chain(rest).min()
    }

    /// Returns whether a command is in flight or could be sent.
    pub(super) fn is_sending(&self) -> bool {
        // A resting process is also in `sending`.
        self.sending.len() > self.resting.len()
    }

    pub(super) fn is_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    pub(super) fn timers(&self) -> usize {
        self.timer_count
    }

    /// Returns the timers that wait for their time.
    pub(super) const fn timer_queue(&self) -> &TimerQueue {
        &self.timers
    }

    /// Returns the commands that are not executed yet.
    pub(super) const fn command_queue(&self) -> &CommandQueue {
        &self.command_queue
    }

    pub(super) fn commands(&self) -> usize {
        self.commands
    }

    /// Returns the number of processes with outstanding work.
    pub(super) fn instances(&self) -> usize {
        self.known.len()
    }
}

impl Known {
    fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.timers.is_empty()
    }
}
