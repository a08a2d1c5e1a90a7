//! Receipts: results of accepted commands.

use gesta_store::{Appended, Position, RecordedWhen, Revision, StreamName};

use crate::CommandId;

/// The result of an accepted command: its position, for reading one's own write, and the new
/// revisions.
///
/// A repeated command returns the receipt of its first execution, as
/// [recorded earlier](RecordedWhen::Earlier).
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
    /// The execution that recorded the result: this one, or an earlier one with the same id.
    pub recorded: RecordedWhen,
}

impl Receipt {
    pub(crate) fn new(command_id: CommandId, appended: Appended) -> Self {
        let Appended { position, revisions, recorded, .. } = appended;
        Self { command_id, position, revisions, judged_at: Vec::new(), recorded }
    }

    pub(crate) fn without_events(
        command_id: CommandId,
        appended: Appended,
        judged_at: Vec<(StreamName, Revision)>,
    ) -> Self {
        // The record of the answer is in a stream of the framework.
        Self { revisions: Vec::new(), judged_at, ..Self::new(command_id, appended) }
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
