//! Errors of executing and loading, sorted by what the caller does next.
//!
//! Owns: [`ExecuteError`] and [`LoadError`]. Invariant: only [`ExecuteError::Unavailable`] leaves
//! the outcome unknown; every other variant guarantees that nothing was appended. Not here: their
//! representation at an edge (status codes, problem documents).

use std::time::Duration;

use gesta_store::{Conflict, InvalidName, Revision, StoreError, StreamName};
use tower::BoxError;

use crate::{
    AnyRejection, CommandId, EncodeError, InvalidField, OtherRole, Rejection, TruncatedHistory,
    UndecodableEvent, read::ReadFailure,
};

/// An error of executing a command.
///
/// ```
/// use gesta::{ExecuteError, InvalidField};
///
/// let error: ExecuteError<std::convert::Infallible> =
///     ExecuteError::Invalid(InvalidField::new("quantity", "must be at least 1"));
/// assert_eq!(error.to_string(), "invalid: quantity: must be at least 1");
/// assert!(error.is_definite());
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError<R> {
    /// The business refused the command. Show the rejection to the caller; its code is stable.
    #[error("rejected: {0}")]
    Rejected(R),
    /// Validation failed. Correct the field.
    #[error("invalid: {0}")]
    Invalid(InvalidField),
    /// The actor may not execute this command.
    #[error("{0}")]
    Unauthorized(Unauthorized),
    /// The command requires an aggregate that does not exist.
    #[error("{stream} does not exist")]
    NotFound {
        /// The stream without events.
        stream: StreamName,
    },
    /// The command creates an aggregate that already exists.
    #[error("{stream} already exists")]
    AlreadyExists {
        /// The stream with events.
        stream: StreamName,
    },
    /// The expected revision differs from the actual one. Load the current state and decide again.
    #[error("{stream} is not at revision {expected}")]
    RevisionMismatch {
        /// Stream of the first aggregate.
        stream: StreamName,
        /// Revision that the caller expected.
        expected: Revision,
        /// Actual head, or `None` for a stream without events.
        head: Option<Revision>,
    },
    /// The command id was used before by another command. Use a new id.
    #[error("command id {command_id} was already used for another command")]
    CommandIdReused {
        /// The id.
        command_id: CommandId,
    },
    /// Still conflicting after all retries. Load the current state and decide again.
    #[error("{0}")]
    Conflict(Conflict),
    /// A queue is full, or the store cannot be reached; the command was not executed. Back off and
    /// retry.
    #[error("overloaded: {reason}")]
    Overloaded {
        /// The resource that is exhausted.
        reason: String,
        /// Time to wait before a retry, if the store says so.
        retry_after: Option<Duration>,
    },
    /// **Unknown outcome**: the command may or may not be executed, now or later. Retry it with the
    /// same command id.
    #[error("outcome unknown: {reason}")]
    Unavailable {
        /// The known facts.
        reason: String,
        /// The underlying error.
        #[source]
        source: Option<BoxError>,
    },
    /// A stored event does not decode. Deploy code that can decode it.
    #[error(transparent)]
    Undecodable(UndecodableEvent),
    /// The first events of a stream are hidden or removed, so its state cannot be folded. The error
    /// explains the options.
    #[error(transparent)]
    Truncated(TruncatedHistory),
    /// A decided event has no form that can be decoded. The error names the event and the field.
    /// Fix the event type or the decision.
    #[error(transparent)]
    Unencodable(EncodeError),
    /// The store refused the append: a limit, an unsupported capability, a deleted stream,
    /// corruption or a stop. The error says what to do.
    #[error(transparent)]
    Store(StoreError),
    /// The application was closed; the command was not executed. Open it again.
    #[error("the application is closed")]
    Closed,
    /// The node executes no commands; the command was not executed. Send it to another node.
    #[error(transparent)]
    OtherRole(OtherRole),
}

/// An [`ExecuteError`] with the rejection of any command, as layers of the pipeline see it.
///
/// ```
/// use gesta::CommandError;
///
/// let reason = "the shop is closed at noon".to_owned();
/// let busy = CommandError::Overloaded { reason, retry_after: None };
/// assert_eq!((busy.kind(), busy.is_definite()), ("overloaded", true));
/// ```
pub type CommandError = ExecuteError<AnyRejection>;

/// A refusal by [`Authorize`](crate::Authorize), with its reason.
///
/// ```
/// use gesta::Unauthorized;
///
/// let refused = Unauthorized::because("only clerks ship");
/// assert_eq!(refused.to_string(), "not allowed: only clerks ship");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not allowed: {reason}")]
#[non_exhaustive]
pub struct Unauthorized {
    /// The reason shown to the caller.
    pub reason: String,
}

impl Unauthorized {
    /// Creates a refusal with a reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl<R> ExecuteError<R> {
    /// Creates an error with an unknown outcome.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Returns whether it is certain that nothing was appended.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.kind() != UNKNOWN
    }

    /// Returns a name for the variant, for traces and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Invalid(_) => "invalid",
            Self::Unauthorized(_) => "unauthorized",
            Self::NotFound { .. } => "not-found",
            Self::AlreadyExists { .. } => "already-exists",
            Self::RevisionMismatch { .. } => "revision-mismatch",
            Self::CommandIdReused { .. } => "command-id-reused",
            Self::Conflict(_) => "conflict",
            Self::Overloaded { .. } => "overloaded",
            Self::Unavailable { .. } => UNKNOWN,
            Self::Undecodable(_) => "undecodable",
            Self::Truncated(_) => "truncated-history",
            Self::Unencodable(_) => "unencodable",
            Self::Store(_) => "store",
            Self::Closed => "closed",
            Self::OtherRole(_) => "other-role",
        }
    }

    /// Returns whether the caller was answered as the domain foresees it, so that nothing is at
    /// fault but the request.
    pub(crate) const fn is_of_the_domain(&self) -> bool {
        match self {
            Self::Rejected(_)
            | Self::Invalid(_)
            | Self::Unauthorized(_)
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::RevisionMismatch { .. } => true,
            Self::CommandIdReused { .. }
            | Self::Conflict(_)
            | Self::Overloaded { .. }
            | Self::Unavailable { .. }
            | Self::Undecodable(_)
            | Self::Truncated(_)
            | Self::Unencodable(_)
            | Self::Store(_)
            | Self::Closed
            | Self::OtherRole(_) => false,
        }
    }

    /// Converts the rejection and keeps every other variant.
    fn map_rejection<S>(self, map: impl FnOnce(R) -> ExecuteError<S>) -> ExecuteError<S> {
        match self {
            Self::Rejected(rejection) => map(rejection),
            Self::Invalid(field) => ExecuteError::Invalid(field),
            Self::Unauthorized(why) => ExecuteError::Unauthorized(why),
            Self::NotFound { stream } => ExecuteError::NotFound { stream },
            Self::AlreadyExists { stream } => ExecuteError::AlreadyExists { stream },
            Self::RevisionMismatch { stream, expected, head } => {
                ExecuteError::RevisionMismatch { stream, expected, head }
            }
            Self::CommandIdReused { command_id } => ExecuteError::CommandIdReused { command_id },
            Self::Conflict(conflict) => ExecuteError::Conflict(conflict),
            Self::Overloaded { reason, retry_after } => {
                ExecuteError::Overloaded { reason, retry_after }
            }
            Self::Unavailable { reason, source } => ExecuteError::Unavailable { reason, source },
            Self::Undecodable(event) => ExecuteError::Undecodable(event),
            Self::Truncated(history) => ExecuteError::Truncated(history),
            Self::Unencodable(error) => ExecuteError::Unencodable(error),
            Self::Store(error) => ExecuteError::Store(error),
            Self::Closed => ExecuteError::Closed,
            Self::OtherRole(role) => ExecuteError::OtherRole(role),
        }
    }
}

const UNKNOWN: &str = "unknown-outcome";

/// The outcome of a command whose caller gave up before there was another one.
pub(crate) const ABANDONED: &str = "abandoned";

/// All outcomes of commands, as metrics and traces name them: `executed`, each
/// [kind](ExecuteError::kind) of error, and [`ABANDONED`].
pub(crate) const OUTCOMES: [&str; 18] = [
    "executed",
    "rejected",
    "invalid",
    "unauthorized",
    "not-found",
    "already-exists",
    "revision-mismatch",
    "command-id-reused",
    "conflict",
    "overloaded",
    UNKNOWN,
    "undecodable",
    "truncated-history",
    "unencodable",
    "store",
    "closed",
    "other-role",
    ABANDONED,
];

impl CommandError {
    /// Restores the type of the rejection.
    pub(crate) fn typed<R: Rejection>(self) -> ExecuteError<R> {
        self.map_rejection(|any| match any.downcast() {
            Ok(rejection) => ExecuteError::Rejected(rejection),
            Err(other) => ExecuteError::Unavailable {
                reason: "a layer answered with another command's rejection".to_owned(),
                source: Some(other.into()),
            },
        })
    }

    /// Converts an error of the pipeline. The outcome is unknown for errors of foreign layers,
    /// which may have failed before or after the append.
    pub(crate) fn from_pipeline(error: BoxError) -> Self {
        // An own error may come through layers boxed, but unchanged.
        error.downcast::<Self>().map_or_else(
            |foreign| Self::Unavailable {
                reason: "a layer of the pipeline failed".to_owned(),
                source: Some(foreign),
            },
            |own| *own,
        )
    }
}

impl<R> From<StoreError> for ExecuteError<R> {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(conflict) => Self::Conflict(conflict),
            StoreError::Overloaded(ref overload) => {
                let retry_after = error.retry_after();
                Self::Overloaded { reason: overload.to_string(), retry_after }
            }
            // Nothing was appended, so the reaction is the same.
            StoreError::Unreachable { .. } => {
                Self::Overloaded { reason: error.to_string(), retry_after: None }
            }
            StoreError::Unavailable { reason, source } => {
                Self::Unavailable { reason, source: source.map(BoxError::from) }
            }
            _ => Self::Store(error),
        }
    }
}

impl<R> From<InvalidField> for ExecuteError<R> {
    fn from(field: InvalidField) -> Self {
        Self::Invalid(field)
    }
}

impl<R> From<EncodeError> for ExecuteError<R> {
    /// Maps an invalid name to `Invalid`: its text came with the command.
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Name(name) => name.into(),
            EncodeError::Json { .. }
            | EncodeError::Unreadable { .. }
            | EncodeError::Codec { .. }
            | EncodeError::Schema { .. }
            | EncodeError::DuplicateEventName(_)
            | EncodeError::NotForEach { .. } => Self::Unencodable(error),
        }
    }
}

impl<R> From<InvalidName> for ExecuteError<R> {
    /// Names the kind of name as the field; the path of the command's own field is not known here.
    fn from(error: InvalidName) -> Self {
        let field = match &error {
            InvalidName::Empty { kind }
            | InvalidName::TooLong { kind, .. }
            | InvalidName::ZeroByte { kind, .. }
            | InvalidName::ControlCharacter { kind, .. } => *kind,
            InvalidName::EmptyId { .. } => "id",
            InvalidName::CategoryHasDash { .. } => "category",
            InvalidName::KeyHasColon { .. } => "tag key",
            _ => "name",
        };
        Self::Invalid(InvalidField::new(field, error.to_string()))
    }
}

impl<R> From<ReadFailure> for ExecuteError<R> {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Undecodable(event) => Self::Undecodable(event),
            ReadFailure::Truncated(history) => Self::Truncated(history),
            ReadFailure::Store(error) => error.into(),
        }
    }
}

/// An error of loading an aggregate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The id does not form a valid stream name. Correct it.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A stored event does not decode. Deploy code that can decode it.
    #[error(transparent)]
    Undecodable(#[from] UndecodableEvent),
    /// The first events of the stream are hidden or removed, so its state cannot be folded. The
    /// error explains the options.
    #[error(transparent)]
    Truncated(#[from] TruncatedHistory),
    /// A revision was requested of an aggregate that reads tags. Its events span several streams,
    /// so it has no single revision. Load as of a position or a time.
    #[error("the aggregate of {stream} reads several streams, so it has no revision")]
    NoRevision {
        /// The aggregate's own stream.
        stream: StreamName,
    },
    /// The store failed to read. The error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadFailure> for LoadError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Undecodable(event) => Self::Undecodable(event),
            ReadFailure::Truncated(history) => Self::Truncated(history),
            ReadFailure::Store(error) => Self::Store(error),
        }
    }
}
