//! Receipts: results of accepted commands.

use gesta_store::{Appended, Position, Revision, StreamName};

use crate::CommandId;

/// The result of an accepted command: its position, for reading one's own write, and the new
/// revisions.
///
/// A repeated command returns the receipt of its first execution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Id of the command, generated if the caller gave none.
    pub command_id: CommandId,
    /// Position of the last event; for a command without events, the head that it decided on.
    pub position: Position,
    /// New head of each stream that received events.
    pub revisions: Vec<(StreamName, Revision)>,
    /// Heads that a command without events decided on; empty for a command with events.
    pub judged_at: Vec<(StreamName, Revision)>,
}

impl Receipt {
    pub(crate) fn new(command_id: CommandId, appended: Appended) -> Self {
        let Appended { position, revisions, .. } = appended;
        Self { command_id, position, revisions, judged_at: Vec::new() }
    }

    pub(crate) fn without_events(
        command_id: CommandId,
        position: Position,
        judged_at: Vec<(StreamName, Revision)>,
    ) -> Self {
        Self { command_id, position, revisions: Vec::new(), judged_at }
    }

    /// Returns the new head of a stream, or `None` if it received no events.
    #[must_use]
    pub fn revision_of(&self, stream: &StreamName) -> Option<Revision> {
        self.revisions.iter().find(|(name, _)| name == stream).map(|(_, revision)| *revision)
    }

    /// Returns the head of a stream after the command or, without events, the one that it decided
    /// on.
    #[must_use]
    pub fn head_of(&self, stream: &StreamName) -> Option<Revision> {
        let mut heads = self.revisions.iter().chain(&self.judged_at);
        heads.find(|(name, _)| name == stream).map(|(_, revision)| *revision)
    }
}
