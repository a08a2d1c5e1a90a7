//! The stored types of a manager's instances, for the lock file.

use super::{CommandSet, NotUnderstood, ProcessManager};
use crate::{EventSet, TypeShape};

/// The types that a manager's definition writes and reads.
#[derive(Clone, Debug)]
pub(crate) struct ProcessShapes {
    /// Event types that it handles or declares to ignore.
    pub(crate) takes: Vec<&'static str>,
    /// The definition ignores stored data that it does not understand.
    pub(crate) ignores: bool,
    pub(crate) timer: &'static str,
    /// Versions of its timers.
    pub(crate) timers: Vec<(u16, TypeShape)>,
    pub(crate) commands: Vec<(&'static str, TypeShape)>,
}

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
