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
}

impl Receipt {
    pub(crate) fn new(command_id: CommandId, appended: Appended) -> Self {
        Self { command_id, position: appended.position, revisions: appended.revisions }
    }

    /// The new head of a stream, if it got events.
    #[must_use]
    pub fn revision_of(&self, stream: &StreamName) -> Option<Revision> {
        self.revisions.iter().find(|(name, _)| name == stream).map(|(_, revision)| *revision)
    }
}
