//! The commands of one manager that are decided and not executed yet, by instance.
//!
//! Shared by the manager, which sends them, and by whoever lists them. A list holds the lock for as
//! long as it takes to pass its commands.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::StreamName;

use super::{history::EffectId, outstanding::PendingCommand};

/// A command with the stream of its instance, and its name.
type QueuedCommand = (StreamName, EffectId, String);

/// Outstanding commands, in the order of their instances. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandQueue(Arc<Mutex<BTreeMap<(StreamName, EffectId), String>>>);

impl CommandQueue {
    pub(super) fn extend(
        &self,
        stream: &StreamName,
        commands: &BTreeMap<EffectId, PendingCommand>,
    ) {
        if !commands.is_empty() {
            let commands = commands.iter();
            let named = commands.map(|(id, one)| ((stream.clone(), *id), one.name.clone()));
            self.lock().extend(named);
        }
    }

    pub(super) fn remove(&self, stream: &StreamName, commands: impl Iterator<Item = EffectId>) {
        let mut commands = commands.peekable();
        if commands.peek().is_some() {
            let mut queued = self.lock();
            commands.for_each(|id| drop(queued.remove(&(stream.clone(), id))));
        }
    }

    /// Returns the first commands, at most so many.
    pub(super) fn first(&self, limit: usize) -> Vec<QueuedCommand> {
        let queued = self.lock();
        let first = queued.iter().take(limit);
        first.map(|((stream, id), name)| (stream.clone(), *id, name.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(StreamName, EffectId), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
