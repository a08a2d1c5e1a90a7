//! How a process manager is: what it does, how far it is, what it has outstanding.

use std::{sync::Arc, time::SystemTime};

use gesta_store::Position;

use super::{
    aside::Asides,
    journal::{Census, Journal},
};

/// What a process manager does at the moment.
///
/// ```
/// use gesta::ProcessState;
///
/// assert_ne!(ProcessState::Running, ProcessState::Paused);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// Reads its processes.
    Starting,
    /// Handles events and timers as they come, and sends commands.
    Running,
    /// Does nothing until it is resumed, or the application is opened again.
    Paused,
    /// Does nothing, because more inputs fail than may be set aside, until some of them are
    /// retried or skipped, or an instance is cancelled.
    Halted,
}

/// How a process manager is.
///
/// ```
/// use gesta::{Position, ProcessState, ProcessStatus};
///
/// let status = ProcessStatus {
///     name: "welcome",
///     state: ProcessState::Running,
///     position: Position::new(7),
///     timers: 1,
///     commands: 0,
///     trouble: None,
///     troubled: 0,
///     set_aside: 0,
///     error: None,
///     ignored: 0,
/// };
/// assert_eq!(status.state, ProcessState::Running);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub state: ProcessState,
    /// Everything up to here is handled.
    pub position: Position,
    /// How many timers are pending.
    pub timers: usize,
    /// How many commands are decided and not executed yet.
    pub commands: usize,
    /// What the manager as a whole is trying again at the moment, if it is.
    pub trouble: Option<String>,
    /// How many streams are set aside: instances, and streams of events that cannot be routed.
    pub troubled: usize,
    /// How many inputs are set aside.
    pub set_aside: usize,
    /// Why the first of them failed.
    pub error: Option<String>,
    /// How many events since the manager was opened would have begun an ended instance anew, and
    /// were ignored because the definition says so.
    pub ignored: u64,
}

/// What the runner tells whoever waits or looks.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: ProcessState,
    pub(crate) position: Position,
    pub(crate) timers: usize,
    pub(crate) commands: usize,
    pub(crate) trouble: Option<String>,
    pub(crate) asides: Arc<Asides>,
    asides_version: u64,
    pub(crate) ignored: u64,
    /// The instances that the last checkpoint counted.
    pub(crate) census: Census,
    /// Whether it waits before it begins anew.
    pub(crate) is_stuck: bool,
    /// Whether inputs are being handled or commands sent, or could be.
    pub(crate) is_sending: bool,
    /// When it will do something though nothing happens.
    pub(crate) next_wake: Option<SystemTime>,
}

impl Progress {
    pub(crate) fn starting() -> Self {
        Self {
            state: ProcessState::Starting,
            position: Position::START,
            timers: 0,
            commands: 0,
            trouble: None,
            asides: Arc::new(Asides::default()),
            asides_version: 0,
            ignored: 0,
            census: Census::default(),
            is_stuck: false,
            is_sending: false,
            next_wake: None,
        }
    }

    /// How the manager is, for everybody.
    pub(crate) fn status(&self, name: &'static str) -> ProcessStatus {
        ProcessStatus {
            name,
            state: self.state,
            position: self.position,
            timers: self.timers,
            commands: self.commands,
            trouble: self.trouble.clone(),
            troubled: self.asides.subjects(),
            set_aside: self.asides.count(),
            error: self.asides.first_error(),
            ignored: self.ignored,
        }
    }

    /// What is set aside, if that has changed.
    pub(super) fn tell_asides(&mut self, journal: &Journal) {
        if self.asides_version != journal.version {
            self.asides_version = journal.version;
            self.asides = Arc::new(journal.asides.clone());
        }
    }

    /// Whether there is nothing to do any more until something happens after this position, or
    /// time passes, or somebody resumes it.
    pub(crate) fn is_idle(&self, head: Position, now: SystemTime) -> bool {
        match self.state {
            ProcessState::Starting => false,
            ProcessState::Paused | ProcessState::Halted => true,
            ProcessState::Running => {
                self.position >= head
                    && !self.is_sending
                    && self.next_wake.is_none_or(|wake| wake > now)
            }
        }
    }
}
