//! What the instances of a manager store, for the lock file.

use super::{CommandSet, NotUnderstood, ProcessManager};
use crate::{EventSet, TypeShape};

/// What the instances of a manager store, as its definition writes and reads it.
#[derive(Clone, Debug)]
pub(crate) struct ProcessShapes {
    /// The event types that it takes or declares to ignore.
    pub(crate) takes: Vec<&'static str>,
    /// Whether it declares that what it does not understand is ignored.
    pub(crate) ignores: bool,
    pub(crate) timer: &'static str,
    /// The versions of its timers.
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
