//! The stored types of a manager's instances, for the lock file.

use super::{CommandSet, NotUnderstood, ProcessManager};
use crate::{EventSet, Registry, event::ProcessShapes};

impl ProcessShapes {
    pub(crate) fn of<P: ProcessManager>() -> Self {
        let timers = P::timers();
        let commands = P::Commands::NAMES.iter().copied().zip(P::Commands::shapes());
        Self {
            takes: [P::Event::NAMES, P::Event::IGNORED].concat(),
            ignores: P::NOT_UNDERSTOOD == NotUnderstood::Ignore,
            timer: timers.name(),
            timers: timers.shapes(),
            commands: commands.collect(),
        }
    }
}

impl Registry {
    /// Adds the stored types of a process manager's instances: inputs, timers and commands.
    #[must_use]
    pub fn process<P: ProcessManager>(mut self) -> Self {
        self.add_process(P::NAME, ProcessShapes::of::<P>);
        self
    }
}
