//! Errors, sorted by what the caller does next.
//!
//! Always holds: a definite failure and an unknown outcome are never the same variant; only
//! [`StoreError::Unavailable`] leaves the outcome of an append open. No text needs parsing: what
//! a caller may want to know is a field.

use std::{ops::RangeInclusive, sync::Arc};

use crate::{EventId, ExpectedRevision, Incarnation, InvalidName, Position, Revision, StreamName};

/// Why a store did not do what it was asked.
///
/// ```
/// use gesta_store::{Conflict, ExpectedRevision, StoreError, StreamName};
///
/// let error = StoreError::Conflict(Conflict::Stream {
///     stream: StreamName::new("order-1")?,
///     expected: ExpectedRevision::NoStream,
///     head: None,
/// });
/// assert!(error.is_definite());
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition failed; nothing was appended. Load and decide again.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// Bad input; nothing was appended. Fix the call.
    #[error("rejected: {0}")]
    Rejected(Invalid),
    /// This store lacks an optional clause of the contract; nothing was appended. See
    /// [`Capabilities`](crate::Capabilities).
    #[error("this store does not support {capability}")]
    Unsupported {
        /// What it lacks.
        capability: &'static str,
    },
    /// No room at the moment; definitely not appended. Back off and retry.
    #[error("overloaded: {0}")]
    Overloaded(Overload),
    /// **Unknown outcome**: it may or may not have been appended, now or later. Retry with the
    /// same event ids, or ask [`find_append`](crate::EventStore::find_append).
    #[error("outcome unknown: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
        /// What the system said.
        #[source]
        source: Option<Arc<std::io::Error>>,
    },
    /// Takes no writes until it is opened again; definitely not appended. Reads go on. Restart.
    #[error("takes no writes until it is opened again: {reason}")]
    Stopped {
        /// What stopped it.
        reason: String,
    },
    /// The stream is tombstoned: gone for ever. Stop using the name.
    #[error("stream {stream} was deleted for ever")]
    Deleted {
        /// The stream.
        stream: StreamName,
    },
    /// Stored bytes are damaged. Stop, page a human; nothing was cut away.
    #[error("corrupt: {0}")]
    Corrupt(Damage),
}

impl StoreError {
    /// An unknown outcome for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Whether the store is certain that nothing was appended.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Unavailable { .. } => false,
            Self::Conflict(_)
            | Self::Rejected(_)
            | Self::Unsupported { .. }
            | Self::Overloaded(_)
            | Self::Stopped { .. }
            | Self::Deleted { .. }
            | Self::Corrupt(_) => true,
        }
    }
}

impl From<Invalid> for StoreError {
    fn from(invalid: Invalid) -> Self {
        Self::Rejected(invalid)
    }
}

impl From<Conflict> for StoreError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<InvalidName> for StoreError {
    fn from(invalid: InvalidName) -> Self {
        Self::Rejected(Invalid::Name(invalid))
    }
}

/// Which condition failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A stream is not where the writer expected it.
    #[error("{stream} {}, {expected} was expected", at(.head))]
    Stream {
        /// Which stream.
        stream: StreamName,
        /// What the writer expected.
        expected: ExpectedRevision,
        /// Where it is: none when there is no such stream, or it was deleted and that is what
        /// failed the expectation.
        head: Option<Revision>,
    },
    /// An event matches a query that none may match.
    #[error("the event at position {matching} matches the append condition")]
    Condition {
        /// One that matches.
        matching: Position,
    },
    /// The first event id was appended before, but not by this append: ids were used twice.
    #[error("event id {first_event} was already used by another append")]
    PartialRepeat {
        /// The id.
        first_event: EventId,
    },
}

fn at(head: &Option<Revision>) -> String {
    match head {
        Some(revision) => format!("is at revision {revision}"),
        None => "does not exist".to_owned(),
    }
}

/// What is wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A text is not a name.
    #[error("{0}")]
    Name(InvalidName),
    /// A limit is exceeded.
    #[error("{limit}: {actual} is more than {max}")]
    Limit {
        /// Which limit.
        limit: &'static str,
        /// What was given.
        actual: usize,
        /// What is allowed.
        max: usize,
    },
    /// An append that names no stream.
    #[error("an append names at least one stream")]
    NoStreams,
    /// A stream is named twice in one append.
    #[error("stream {stream} is named twice in one append")]
    StreamTwice {
        /// The stream.
        stream: StreamName,
    },
    /// An event id is given twice in one append.
    #[error("event id {id} is given twice in one append")]
    EventTwice {
        /// The id.
        id: EventId,
    },
    /// Only the system writes to streams whose names begin with `$`.
    #[error("stream {stream} is the system's; use the calls for stream metadata")]
    SystemStream {
        /// The stream.
        stream: StreamName,
    },
    /// Stream metadata that cannot be read.
    #[error("stream metadata: {reason}")]
    Metadata {
        /// What is wrong with it.
        reason: String,
    },
    /// A position that the store has not reached.
    #[error("position {position} is beyond the head, {head}")]
    BeyondHead {
        /// What was given.
        position: Position,
        /// Where the store ends.
        head: Position,
    },
    /// A checkpoint of another life of the store, past what both have in common: the consumer has
    /// seen events that this store no longer has. Rebuild what the consumer holds.
    #[error(
        "checkpoint {position} of incarnation {incarnation} is past what this store kept of it"
    )]
    OtherIncarnation {
        /// The consumer's position.
        position: Position,
        /// The incarnation that it belongs to.
        incarnation: Incarnation,
    },
}

/// What there is no room for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overload {
    /// The queue of appends is full.
    #[error("{queued_bytes} bytes are queued, the limit is {max}")]
    Queue {
        /// Bytes in the queue.
        queued_bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No space on the device.
    #[error("no space left on the device")]
    DiskFull,
    /// The system lacks a resource, such as file descriptors or memory, or refused for another
    /// reason that may pass. Nothing of the append was written.
    #[error("the system refused what an append needs: {reason}")]
    System {
        /// The operation that failed and the system's error.
        reason: String,
    },
}

/// What is damaged, and where.
///
/// ```
/// use gesta_store::{Damage, Position};
///
/// let damage = Damage {
///     file: "0000000001.seg".to_owned(),
///     offset: 4_096,
///     positions: Some(Position::new(17)..=Position::new(17)),
///     what: "record checksum".to_owned(),
/// };
/// assert_eq!(
///     damage.to_string(),
///     "0000000001.seg at offset 4096, positions 17 to 17: record checksum",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at offset {offset}, {}: {what}", positions_text(.positions))]
pub struct Damage {
    /// The file's name, or whatever a store calls the place.
    pub file: String,
    /// Where the damaged range begins, in bytes.
    pub offset: u64,
    /// Which events are affected, where that is known.
    pub positions: Option<RangeInclusive<Position>>,
    /// What was found.
    pub what: String,
}

fn positions_text(positions: &Option<RangeInclusive<Position>>) -> String {
    match positions {
        Some(range) => format!("positions {} to {}", range.start(), range.end()),
        None => "positions unknown".to_owned(),
    }
}
