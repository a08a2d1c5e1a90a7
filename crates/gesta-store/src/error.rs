//! Errors of event stores, sorted by the reaction of the caller.
//!
//! Only [`StoreError::Unavailable`] leaves the outcome of an append open; every other variant means
//! that nothing was appended. Facts are fields: no text has to be parsed. New variants may come:
//! treat an unknown one by [`StoreError::is_definite`] and [`StoreError::is_transient`].

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    Capabilities, Capability, CapabilitySet, EventId, ExpectedRevision, Incarnation, InlineError,
    InvalidName, Position, Revision, SharedError, StreamName,
};

/// The error of an [`EventStore`](crate::EventStore) call.
///
/// Each variant stands for one reaction of the caller.
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
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation or a condition failed; nothing was appended. Load and decide again.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// Invalid input; nothing was appended. Fix the call.
    #[error("rejected: {0}")]
    Rejected(Invalid),
    /// A consumer in the transaction of the append cannot apply its events; nothing was appended.
    /// Correct the projection that is named.
    #[error("not appended, because {0}")]
    Inline(InlineError),
    /// The store lacks an optional feature; nothing was appended. See
    /// [`Capabilities`](crate::Capabilities).
    #[error("this store does not support {capability}")]
    Unsupported {
        /// The missing feature.
        capability: Capability,
    },
    /// A resource is exhausted for now; nothing was appended. Back off and retry.
    #[error("overloaded: {0}")]
    Overloaded(Overload),
    /// No connection to the store; nothing was appended. Back off and retry.
    #[error("the store cannot be reached: {reason}")]
    Unreachable {
        /// Description of the failure.
        reason: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<SharedError>,
    },
    /// **Unknown outcome**: the events may or may not be appended, now or later. Retry with the
    /// same event ids, or ask [`find_append`](crate::EventStore::find_append).
    #[error("outcome unknown: {reason}")]
    Unavailable {
        /// Description of the failure.
        reason: String,
        /// Underlying error, if there is one.
        #[source]
        source: Option<SharedError>,
    },
    /// The store refuses the credentials, or they lack a right; nothing was appended. Fix the
    /// configuration.
    #[error("access denied: {reason}")]
    Denied {
        /// The right or the credential that is missing.
        reason: String,
    },
    /// The store takes no appends here: a replica, or an account that may only read. Nothing was
    /// appended. Append to the primary store, or use another account.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// The cause.
        reason: String,
    },
    /// The store accepts no appends until it is reopened; nothing was appended. Reads continue.
    /// Restart the store.
    #[error("the store accepts no appends until it is reopened: {reason}")]
    Stopped {
        /// The failure that stopped the store.
        reason: String,
    },
    /// The stream is tombstoned. Stop using its name.
    #[error("stream {stream} is tombstoned; its name cannot be used again")]
    Deleted {
        /// The tombstoned stream.
        stream: StreamName,
    },
    /// A read has come to an event whose payload was moved to an archive; nothing before it was
    /// left out. Restore the payload, or read other events.
    #[error("the event at position {position} is archived: {reason}")]
    Archived {
        /// Position of the event.
        position: Position,
        /// The place of the payload, and the way to bring it back.
        reason: String,
    },
    /// Stored bytes are damaged. Stop and alert an operator; nothing was truncated.
    #[error("corrupt: {0}")]
    Corrupt(Damage),
}

impl StoreError {
    /// Creates an error with an unknown outcome and no source.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Creates an error of a store that cannot be reached, without a source.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self::Unreachable { reason: reason.into(), source: None }
    }

    /// Creates the error of a call after [`close`](crate::EventStore::close).
    #[must_use]
    pub fn closed() -> Self {
        Self::Stopped { reason: "the store was closed".to_owned() }
    }

    /// Returns `true` if certainly nothing was appended: for every variant but
    /// [`StoreError::Unavailable`].
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        !matches!(self, Self::Unavailable { .. })
    }

    /// Returns `true` if the same call may succeed later without a change by anyone.
    ///
    /// An append that is retried must keep its event ids, because
    /// [`Unavailable`](StoreError::Unavailable) leaves its outcome open.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Overloaded(_) | Self::Unreachable { .. } | Self::Unavailable { .. } => true,
            Self::Conflict(_)
            | Self::Rejected(_)
            | Self::Inline(_)
            | Self::Unsupported { .. }
            | Self::Denied { .. }
            | Self::ReadOnly { .. }
            | Self::Stopped { .. }
            | Self::Deleted { .. }
            | Self::Archived { .. }
            | Self::Corrupt(_) => false,
        }
    }

    /// Returns how long the store asks to wait before a retry, if it says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded(Overload::Throttled { retry_after }) => *retry_after,
            _ => None,
        }
    }
}

impl Capabilities {
    /// Refuses a call that needs a feature that the store lacks.
    ///
    /// Requests say what they need: [`Append::capabilities`](crate::Append::capabilities),
    /// [`ReadAll::capabilities`](crate::ReadAll::capabilities),
    /// [`ReadStream::capabilities`](crate::ReadStream::capabilities),
    /// [`ReadOrdinals::capabilities`](crate::ReadOrdinals::capabilities) and
    /// [`Subscribe::capabilities`](crate::Subscribe::capabilities).
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`], which names the first missing one.
    pub fn check(&self, needed: CapabilitySet) -> Result<(), StoreError> {
        match needed.missing_from(self.supported).iter().next() {
            Some(capability) => Err(StoreError::Unsupported { capability }),
            None => Ok(()),
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

/// The condition that failed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A stream is not at the expected revision.
    #[error("stream {stream} {}, expected {expected}", state_text(.head))]
    Stream {
        /// The stream's name.
        stream: StreamName,
        /// The expectation of the writer.
        expected: ExpectedRevision,
        /// The stream's head. `None` if the stream does not exist, and for a deleted stream unless
        /// the expectation is [`ExpectedRevision::Exact`].
        head: Option<Revision>,
    },
    /// An event matches the append condition.
    #[error("the event at position {matching} matches the append condition")]
    Condition {
        /// Position of a matching event.
        matching: Position,
    },
    /// The first event id belongs to an earlier append that differs from this one: an id was
    /// reused. See the rule of repeats at [`EventStore::append`](crate::EventStore::append).
    #[error("event id {first_event} was already used by another append")]
    PartialRepeat {
        /// The reused id.
        first_event: EventId,
    },
}

fn state_text(head: &Option<Revision>) -> String {
    match head {
        Some(revision) => format!("is at revision {revision}"),
        None => "does not exist".to_owned(),
    }
}

/// The reason why input is invalid.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A text is not a valid name.
    #[error("{0}")]
    Name(InvalidName),
    /// A limit of the store is exceeded.
    #[error("{limit} must be at most {max}; got {actual}")]
    Limit {
        /// Name of the limit.
        limit: &'static str,
        /// Size of the input.
        actual: usize,
        /// Maximum size.
        max: usize,
    },
    /// An append without streams.
    #[error("an append must name at least one stream")]
    NoStreams,
    /// A stream gets events in two parts of one append that could be one, or of which the later has
    /// an expectation.
    #[error(
        "stream {stream} gets events in two parts of one append; put them into one part, or events \
         of other streams between them and the expectation on the first part only"
    )]
    StreamTwice {
        /// The stream's name.
        stream: StreamName,
    },
    /// An event id occurs twice in one append.
    #[error("event id {id} occurs twice in one append")]
    EventTwice {
        /// The repeated id.
        id: EventId,
    },
    /// Events for a reserved stream, whose name begins with `$`.
    #[error(
        "stream {stream} is reserved; use the calls for stream metadata, deletion and tombstones"
    )]
    SystemStream {
        /// The stream's name.
        stream: StreamName,
    },
    /// Malformed stream metadata.
    #[error("invalid stream metadata: {reason}")]
    Metadata {
        /// The part that is malformed, and what was expected.
        reason: String,
    },
    /// A regular expression that cannot be compiled, or that needs too many steps on a name.
    #[error("invalid regular expression `{pattern}`: {reason}")]
    Pattern {
        /// The regular expression.
        pattern: String,
        /// The part that is invalid, or the name that it was tried on.
        reason: String,
    },
    /// Input that a server of the store refuses by a rule of its own.
    #[error("the server refuses it: {reason}")]
    Refused {
        /// The server's reason.
        reason: String,
    },
    /// A position that the store has not reached.
    #[error("position {position} is beyond the head {head}")]
    BeyondHead {
        /// The given position.
        position: Position,
        /// The store's head.
        head: Position,
    },
    /// A checkpoint of another incarnation, beyond the last event that the store kept from it:
    /// the consumer has seen events that are lost. Rebuild the state of the consumer.
    #[error(
        "checkpoint at position {position} is beyond the last event that this store kept from \
        incarnation {incarnation}"
    )]
    OtherIncarnation {
        /// The consumer's position.
        position: Position,
        /// The incarnation of that position.
        incarnation: Incarnation,
    },
}

/// The exhausted resource.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overload {
    /// The queue of appends is full.
    #[error("the queue of appends holds {queued_bytes} bytes; the limit is {max}")]
    Queue {
        /// Bytes in the queue.
        queued_bytes: usize,
        /// Maximum number of bytes in the queue.
        max: usize,
    },
    /// The device is full.
    #[error("no space left on the device: {reason}")]
    DiskFull {
        /// The directory, or the server with its own words.
        reason: String,
    },
    /// The operating system lacks a resource, such as file descriptors or memory, or refused a
    /// request for another reason that may pass. Nothing of the append was written.
    #[error("the operating system refused a request during the append: {reason}")]
    System {
        /// The failed operation and the system's error.
        reason: String,
    },
    /// The store limits the rate of calls.
    #[error("the store limits the rate of calls{}", pause_text(.retry_after))]
    Throttled {
        /// Time to wait before the next try, if the store says so.
        retry_after: Option<Duration>,
    },
    /// A server of the store has no connection left for this user.
    #[error("no connection is left: {reason}{}", connections_text(*max))]
    Connections {
        /// The server with its address, and its own words.
        reason: String,
        /// Maximum number of connections of the server, or 0 if it has not told it yet.
        max: usize,
    },
}

fn connections_text(max: usize) -> String {
    if max == 0 { String::new() } else { format!("; the server takes {max} in all") }
}

fn pause_text(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(pause) => format!("; retry after {} ms", pause.as_millis()),
        None => String::new(),
    }
}

/// Location and kind of damage.
///
/// ```
/// use gesta_store::{Damage, Position};
///
/// let damage = Damage::new("0000000001.seg", 4_096, "record checksum")
///     .positions(Position::new(17)..=Position::new(17));
/// assert_eq!(
///     damage.to_string(),
///     "0000000001.seg at offset 4096, positions 17 to 17: record checksum",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at offset {offset}, {}: {what}", positions_text(.positions))]
#[non_exhaustive]
pub struct Damage {
    /// Name of the file, or of whatever unit the store uses.
    pub file: String,
    /// Start of the damaged range, in bytes.
    pub offset: u64,
    /// Positions of the affected events, if known.
    pub positions: Option<RangeInclusive<Position>>,
    /// The failed check.
    pub what: String,
}

impl Damage {
    /// Creates a report of a failed check at a place, with unknown positions.
    pub fn new(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self { file: file.into(), offset, positions: None, what: what.into() }
    }

    /// Sets the positions of the affected events.
    #[must_use]
    pub fn positions(self, positions: impl Into<Option<RangeInclusive<Position>>>) -> Self {
        Self { positions: positions.into(), ..self }
    }
}

fn positions_text(positions: &Option<RangeInclusive<Position>>) -> String {
    match positions {
        Some(range) => format!("positions {} to {}", range.start(), range.end()),
        None => "positions unknown".to_owned(),
    }
}
