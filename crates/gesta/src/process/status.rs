//! How a process manager is: what it does, how far it is, what it has outstanding.

use std::time::SystemTime;

use gesta_store::Position;

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
    /// What it is trying again at the moment, if it is.
    pub trouble: Option<String>,
}

/// What the runner tells whoever waits or looks.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: ProcessState,
    pub(crate) position: Position,
    pub(crate) timers: usize,
    pub(crate) commands: usize,
    pub(crate) trouble: Option<String>,
    /// Whether it waits before it begins anew.
    pub(crate) is_stuck: bool,
    /// Whether commands are being sent or could be.
    pub(crate) is_sending: bool,
    /// When it will do something though nothing happens.
    pub(crate) next_wake: Option<SystemTime>,
}

impl Progress {
    pub(crate) const fn starting() -> Self {
        Self {
            state: ProcessState::Starting,
            position: Position::START,
            timers: 0,
            commands: 0,
            trouble: None,
            is_stuck: false,
            is_sending: false,
            next_wake: None,
        }
    }

    /// Whether there is nothing to do any more until something happens after this position, or
    /// time passes, or somebody resumes it.
    pub(crate) fn is_idle(&self, head: Position, now: SystemTime) -> bool {
        match self.state {
            ProcessState::Starting => false,
            ProcessState::Paused => true,
            ProcessState::Running => {
                self.position >= head
                    && !self.is_sending
                    && self.next_wake.is_none_or(|wake| wake > now)
            }
        }
    }
}
