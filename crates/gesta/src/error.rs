//! Why a command was not executed, sorted by what the caller does next.
//!
//! Owns: [`ExecuteError`], and [`LoadError`] for loads. Always holds: only
//! [`ExecuteError::Unavailable`] leaves the outcome open; every other variant is certain that
//! nothing was appended. Not here: how an edge says it (a status code, a problem document).

use gesta_store::{Conflict, InvalidName, Revision, StoreError, StreamName};
use tower::BoxError;

use crate::{
    AnyRejection, CommandId, EncodeError, InvalidField, Rejection, TruncatedHistory,
    UndecodableEvent, read::ReadFailure,
};

/// Why a command was not executed.
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
pub enum ExecuteError<R> {
    /// The business said no. Tell who asked; its code is stable.
    #[error("rejected: {0}")]
    Rejected(R),
    /// The request makes no sense. Correct the field.
    #[error("invalid: {0}")]
    Invalid(InvalidField),
    /// Who asked may not do this.
    #[error("{0}")]
    Unauthorized(Unauthorized),
    /// The command needs something that is not there.
    #[error("{stream} does not exist")]
    NotFound {
        /// The stream that has no events.
        stream: StreamName,
    },
    /// The command creates something that is there already.
    #[error("{stream} exists already")]
    AlreadyExists {
        /// The stream that has events.
        stream: StreamName,
    },
    /// The caller expected another revision. Load, show what changed, ask again.
    #[error("{stream} is not at revision {expected}")]
    RevisionMismatch {
        /// The stream of the first aggregate.
        stream: StreamName,
        /// What the caller expected.
        expected: Revision,
        /// Where it is, if it has events.
        head: Option<Revision>,
    },
    /// The command id was used before, for another command. Use a fresh one.
    #[error("command id {command_id} was already used for another command")]
    CommandIdReused {
        /// The id.
        command_id: CommandId,
    },
    /// Others were faster, each time that it was tried. Try again later.
    #[error("{0}")]
    Conflict(Conflict),
    /// No room at the moment; definitely not executed. Back off and try again.
    #[error("overloaded: {reason}")]
    Overloaded {
        /// What there is no room for.
        reason: String,
    },
    /// **Unknown outcome**: it may or may not be executed, now or later. Give the same command
    /// again with the same command id.
    #[error("outcome unknown: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
        /// What went wrong.
        #[source]
        source: Option<BoxError>,
    },
    /// A stored event is not known to this program. Deploy code that knows it.
    #[error(transparent)]
    Undecodable(UndecodableEvent),
    /// The first events of a stream are hidden or gone, so there is no state to decide on. The error
    /// says what there is to do.
    #[error(transparent)]
    Truncated(TruncatedHistory),
    /// A decision has no form that can be read back, so nothing was appended. The error names the
    /// event and the field. Fix the event type or the decision.
    #[error(transparent)]
    Unencodable(EncodeError),
    /// The store refuses: a limit, a capability that it lacks, a deleted stream, damage, a stop.
    /// What to do next is said by the error.
    #[error(transparent)]
    Store(StoreError),
    /// The application was closed before; definitely not executed. Open it again.
    #[error("the application is closed")]
    Closed,
}

/// An [`ExecuteError`] whose rejection may be any command's: what layers of the pipeline see.
///
/// ```
/// use gesta::CommandError;
///
/// let busy = CommandError::Overloaded { reason: "the shop is closed at noon".to_owned() };
/// assert_eq!((busy.kind(), busy.is_definite()), ("overloaded", true));
/// ```
pub type CommandError = ExecuteError<AnyRejection>;

/// Who asked may not do this, and why.
///
/// ```
/// use gesta::Unauthorized;
///
/// assert_eq!(Unauthorized::because("only clerks ship").to_string(), "not allowed: only clerks ship");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not allowed: {reason}")]
pub struct Unauthorized {
    /// Why.
    pub reason: String,
}

impl Unauthorized {
    /// Not allowed, for this reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl<R> ExecuteError<R> {
    /// An unknown outcome for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Whether it is certain that nothing was appended.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.kind() != UNKNOWN
    }

    /// One word for each variant, for traces and metrics.
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
        }
    }

    /// The same error with another rejection in it.
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
            Self::Overloaded { reason } => ExecuteError::Overloaded { reason },
            Self::Unavailable { reason, source } => ExecuteError::Unavailable { reason, source },
            Self::Undecodable(event) => ExecuteError::Undecodable(event),
            Self::Truncated(history) => ExecuteError::Truncated(history),
            Self::Unencodable(error) => ExecuteError::Unencodable(error),
            Self::Store(error) => ExecuteError::Store(error),
            Self::Closed => ExecuteError::Closed,
        }
    }
}

const UNKNOWN: &str = "unknown-outcome";

impl CommandError {
    /// The rejection with its type again.
    pub(crate) fn typed<R: Rejection>(self) -> ExecuteError<R> {
        self.map_rejection(|any| match any.downcast() {
            Ok(rejection) => ExecuteError::Rejected(rejection),
            Err(other) => ExecuteError::Unavailable {
                reason: "a layer answered with another command's rejection".to_owned(),
                source: Some(other.into()),
            },
        })
    }

    /// What comes out of a pipeline: an error of ours, or of a layer that somebody put around it,
    /// of which nobody knows what it did.
    pub(crate) fn from_pipeline(error: BoxError) -> Self {
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
            StoreError::Overloaded(overload) => Self::Overloaded { reason: overload.to_string() },
            StoreError::Unavailable { reason, source } => {
                Self::Unavailable { reason, source: source.map(BoxError::from) }
            }
            StoreError::Rejected(_)
            | StoreError::Unsupported { .. }
            | StoreError::Stopped { .. }
            | StoreError::Deleted { .. }
            | StoreError::Corrupt(_) => Self::Store(error),
        }
    }
}

impl<R> From<InvalidField> for ExecuteError<R> {
    fn from(field: InvalidField) -> Self {
        Self::Invalid(field)
    }
}

impl<R> From<EncodeError> for ExecuteError<R> {
    /// A text that makes no tag came with the command.
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Name(name) => name.into(),
            EncodeError::Json { .. }
            | EncodeError::Unreadable { .. }
            | EncodeError::NameTwice(_)
            | EncodeError::NotForEach { .. } => Self::Unencodable(error),
        }
    }
}

impl<R> From<InvalidName> for ExecuteError<R> {
    /// A text that makes no name came with the command: the kind of name is the best field there is.
    fn from(error: InvalidName) -> Self {
        let field = match &error {
            InvalidName::Empty { kind }
            | InvalidName::TooLong { kind, .. }
            | InvalidName::ZeroByte { kind, .. }
            | InvalidName::ControlCharacter { kind, .. } => *kind,
            InvalidName::EmptyId { .. } => "id",
            InvalidName::CategoryHasDash { .. } => "category",
            InvalidName::KeyHasColon { .. } => "tag key",
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

/// Why an aggregate was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The id makes no stream's name. Correct it.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A stored event is not known to this program. Deploy code that knows it.
    #[error(transparent)]
    Undecodable(#[from] UndecodableEvent),
    /// The first events of the stream are hidden or gone, so its state cannot be folded. The error
    /// says what there is to do.
    #[error(transparent)]
    Truncated(#[from] TruncatedHistory),
    /// A revision was asked for of an aggregate that reads tags: its events are of many streams,
    /// so it has none. Ask for a position or a time.
    #[error("{stream} reads the events of many streams, so it has no revision")]
    NoRevision {
        /// The aggregate's own stream.
        stream: StreamName,
    },
    /// The store could not be read. What to do next is said by the error.
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
