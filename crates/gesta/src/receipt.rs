//! Receipts: what an accepted command returns.

use gesta_store::{Appended, Position, Revision, StreamName};

use crate::CommandId;

/// What an accepted command returns: enough to read one's own write, and to repeat the command.
///
/// A repeated command gets the receipt of the first time.
///
/// ```
/// use gesta::{CommandId, Position, Receipt, Revision, StreamName};
///
/// let door = StreamName::new("door-7")?;
/// let receipt = Receipt {
///     command_id: CommandId::new("request-42")?,
///     position: Position::new(3),
///     revisions: vec![(door.clone(), Revision::FIRST)],
///     judged_at: vec![],
/// };
/// assert_eq!(receipt.revision_of(&door), Some(Revision::FIRST));
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the command, also where the caller gave none.
    pub command_id: CommandId,
    /// The last event's position; of a command without events, the head that it was judged at.
    pub position: Position,
    /// The new head of each stream that got events.
    pub revisions: Vec<(StreamName, Revision)>,
    /// The heads at which a command without events was judged; empty for one with events.
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

    /// The new head of a stream, if it got events.
    #[must_use]
    pub fn revision_of(&self, stream: &StreamName) -> Option<Revision> {
        self.revisions.iter().find(|(name, _)| name == stream).map(|(_, revision)| *revision)
    }

    /// The head of a stream that the command left or, without events, was judged at.
    #[must_use]
    pub fn head_of(&self, stream: &StreamName) -> Option<Revision> {
        let mut heads = self.revisions.iter().chain(&self.judged_at);
        heads.find(|(name, _)| name == stream).map(|(_, revision)| *revision)
    }
}
