//! Status of a process manager: state, position and outstanding work.

use std::{sync::Arc, time::SystemTime};

use gesta_store::{LeaseName, NodeName, Position};

use super::{
    aside::Asides,
    command_queue::CommandQueue,
    journal::{Census, Journal},
    timer_queue::TimerQueue,
};

/// The current state of a process manager.
///
/// ```
/// use gesta::ProcessState;
///
/// assert_ne!(ProcessState::Running, ProcessState::Paused);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// Loading its instances.
    Starting,
    /// Another node runs it, or none does at the moment. Position, timers and set-aside inputs are
    /// those of its last checkpoint, and the set-aside inputs since.
    Waiting,
    /// Handling events and timers, and sending commands.
    Running,
    /// Paused by an operator until resumed, or until the application is opened again.
    Paused,
    /// Halted because more inputs fail than may be set aside. Continues once some are retried or
    /// skipped, or an instance is cancelled.
    Halted,
}

/// A process manager with its state, position and outstanding work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessStatus {
    /// Name of the manager.
    pub name: &'static str,
    /// Current state.
    pub state: ProcessState,
    /// Position up to which all events are handled.
    pub position: Position,
    /// Number of pending timers.
    pub timers: usize,
    /// Number of commands decided and not executed yet.
    pub commands: usize,
    /// The error of the manager as a whole that is being retried, if any.
    pub trouble: Option<String>,
    /// Number of set-aside streams: instances, and streams of events that cannot be routed.
    pub troubled: usize,
    /// Number of set-aside inputs.
    pub set_aside: usize,
    /// Error of the first set-aside input.
    pub error: Option<String>,
    /// Number of events since the manager was opened that would have started an ended instance
    /// again, and were ignored by definition.
    pub ignored: u64,
    /// Name of its lease. `None` without [`Nodes`](crate::Nodes).
    pub lease: Option<LeaseName>,
    /// The node that runs it, as far as this node knows. `None` without [`Nodes`](crate::Nodes).
    pub runs_on: Option<NodeName>,
}

/// Status that the runner publishes to queries, health and operators.
#[derive(Clone, Debug)]
pub(crate) struct ProcessProgress {
    pub(crate) state: ProcessState,
    pub(crate) position: Position,
    pub(crate) timers: usize,
    /// Timers that wait for their time on this node. Those of set-aside inputs have had theirs.
    pub(crate) timer_queue: TimerQueue,
    pub(crate) commands: usize,
    /// The same commands on this node, for lists.
    pub(crate) command_queue: CommandQueue,
    pub(crate) trouble: Option<String>,
    pub(crate) asides: Arc<Asides>,
    asides_version: u64,
    pub(crate) ignored: u64,
    /// Instances counted by the last checkpoint.
    pub(crate) census: Census,
    /// Waiting for a back-off.
    pub(crate) is_stuck: bool,
    /// Inputs or commands are in progress, or could be.
    pub(crate) is_sending: bool,
    /// Next time at which a timer or retry is due.
    pub(crate) next_wake: Option<SystemTime>,
    /// The node that runs it, as far as this node knows.
    pub(crate) runs_on: Option<NodeName>,
}

impl ProcessProgress {
    pub(crate) fn starting() -> Self {
        Self {
            state: ProcessState::Starting,
            position: Position::START,
            timers: 0,
            timer_queue: TimerQueue::default(),
            commands: 0,
            command_queue: CommandQueue::default(),
            trouble: None,
            asides: Arc::new(Asides::default()),
            asides_version: 0,
            ignored: 0,
            census: Census::default(),
            is_stuck: false,
            is_sending: false,
            next_wake: None,
            runs_on: None,
        }
    }

    /// Returns the public status.
    pub(crate) fn status(&self, name: &'static str, lease: Option<&LeaseName>) -> ProcessStatus {
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
            lease: lease.cloned(),
            runs_on: self.runs_on.clone(),
        }
    }

    /// Publishes the set-aside inputs, if they have changed.
    pub(super) fn publish_asides(&mut self, journal: &Journal) {
        if self.asides_version != journal.version {
            self.asides_version = journal.version;
            // Copied on a change only: the status is published after each input, and the inputs set
            // aside can be many.
            self.asides = Arc::new(journal.asides.clone());
        }
    }

    /// Returns whether there is no work until an event after this position, a later time, or a
    /// resume.
    pub(crate) fn is_idle(&self, head: Position, now: SystemTime) -> bool {
        match self.state {
            ProcessState::Starting => false,
            // Only an operator or another node changes these states, so waiting for work would not
            // end.
            ProcessState::Paused | ProcessState::Halted | ProcessState::Waiting => true,
            ProcessState::Running => {
                self.position >= head
                    && !self.is_sending
                    && self.next_wake.is_none_or(|wake| wake > now)
            }
        }
    }
}
