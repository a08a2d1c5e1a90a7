//! The operators' view of a process manager: instances, details and set-aside inputs.
//!
//! Owns the public types of operations on processes. Not here: the operations
//! ([`application`](crate::application)) and the failures of inputs
//! ([`instance`](super::instance)).

use std::{fmt, str::FromStr};

use gesta_store::{EventId, EventType, Position, RecordedAt, Revision, StoreError, StreamName};

use super::{RefusalKind, history::EffectId};

/// The state of one instance of a process manager.
///
/// ```
/// use gesta::InstanceState;
///
/// assert_eq!("troubled".parse(), Ok(InstanceState::Troubled));
/// assert_eq!(InstanceState::Ended.to_string(), "ended");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum InstanceState {
    /// Started, and neither ended nor set aside.
    Running,
    /// Set aside: an input failed, and later inputs of the instance wait behind it.
    Troubled,
    /// Ended by its own decision.
    Ended,
    /// Ended by an operator.
    Cancelled,
}

impl InstanceState {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Running, "running"),
        (Self::Troubled, "troubled"),
        (Self::Ended, "ended"),
        (Self::Cancelled, "cancelled"),
    ];
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(state, _)| state == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or("unknown"))
    }
}

/// The text is not a state of an instance.
///
/// ```
/// let error = "stuck".parse::<gesta::InstanceState>().unwrap_err();
/// assert!(error.to_string().starts_with("unknown state `stuck`; expected running"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state `{text}`; expected running, troubled, ended or cancelled")]
#[non_exhaustive]
pub struct ParseInstanceStateError {
    /// The rejected text.
    pub text: String,
}

impl FromStr for InstanceState {
    type Err = ParseInstanceStateError;

    fn from_str(text: &str) -> Result<Self, ParseInstanceStateError> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found
            .map(|(state, _)| *state)
            .ok_or_else(|| ParseInstanceStateError { text: text.to_owned() })
    }
}

/// Numbers of a manager's instances by state, at one position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceCounts {
    /// Instances that have started and not ended, including those set aside.
    pub running: u64,
    /// Instances that are set aside.
    pub troubled: u64,
    /// Instances that ended by themselves.
    pub ended: u64,
    /// Instances ended by an operator.
    pub cancelled: u64,
    /// Position up to which the instances were counted.
    pub as_of: Position,
}

/// A search for instances of one process manager.
///
/// ```
/// use gesta::{InstanceQuery, InstanceState};
///
/// let query = InstanceQuery::of("welcome").in_state(InstanceState::Troubled).limit(10);
/// assert_eq!((query.process.as_str(), query.limit), ("welcome", 10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceQuery {
    /// Name of the manager.
    pub process: String,
    /// State of the instances to return.
    pub state: Option<InstanceState>,
    /// Prefix of the ids to return.
    pub prefix: Option<String>,
    /// Exclusive lower bound of the ids, in byte order: [`InstancePage::next`] of the previous
    /// page.
    pub after: Option<String>,
    /// Maximum page size, up to [`LIMIT_MAX`](Self::LIMIT_MAX).
    pub limit: usize,
}

impl InstanceQuery {
    /// Largest page size.
    pub const LIMIT_MAX: usize = 1_000;

    /// Searches for the first 100 instances in any state.
    pub fn of(process: impl Into<String>) -> Self {
        Self { process: process.into(), state: None, prefix: None, after: None, limit: 100 }
    }

    /// Restricts the search to a state.
    #[must_use]
    pub fn in_state(self, state: InstanceState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Restricts the search to ids with a prefix.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// Starts after this id.
    #[must_use]
    pub fn after(self, id: impl Into<String>) -> Self {
        Self { after: Some(id.into()), ..self }
    }

    /// Sets the maximum page size.
    #[must_use]
    pub fn limit(self, instances: usize) -> Self {
        Self { limit: instances, ..self }
    }
}

/// One page of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstancePage {
    /// Instances, by id.
    pub instances: Vec<InstanceSummary>,
    /// Start of the next page. `None` on the last one.
    ///
    /// A call reads a bounded number of instances, so a page may be short or empty without being
    /// the last.
    pub next: Option<String>,
}

/// One instance in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceSummary {
    /// Id of the instance, as [`ProcessManager::route`](crate::ProcessManager::route) gave it.
    pub id: String,
    /// State of the instance.
    pub state: InstanceState,
    /// Last readable revision of its stream. `None` before its first input is recorded.
    pub revision: Option<Revision>,
    /// Number of its set-aside inputs.
    pub set_aside: usize,
    /// Error of the first set-aside input.
    pub error: Option<String>,
}

/// A pending timer of an instance, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueTimer {
    /// Id of the instance.
    pub instance: String,
    /// Effect id of the timer.
    pub timer: EffectId,
    /// Time at which it fires.
    pub due: RecordedAt,
}

/// A command of an instance that is not executed yet, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutstandingCommand {
    /// Id of the instance.
    pub instance: String,
    /// Effect id of the command.
    pub command: EffectId,
    /// Name of the command.
    pub name: String,
    /// The instance has inputs that are set aside, which may hold the command.
    pub troubled: bool,
}

/// One instance in full.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceDetails {
    /// Id of the instance.
    pub id: String,
    /// Stream of the instance.
    pub stream: StreamName,
    /// State of the instance.
    pub state: InstanceState,
    /// Last readable revision of its stream.
    pub revision: Option<Revision>,
    /// Pending timers, by effect id.
    pub timers: Vec<InstanceTimer>,
    /// Commands that are decided and not executed yet, in order.
    pub commands: Vec<InstanceCommand>,
    /// Latest commands that were permanently refused and not sent again, in order.
    pub refused: Vec<RefusedCommand>,
    /// Set-aside inputs, in order. The first one failed.
    pub set_aside: Vec<SetAsideInput>,
    /// The reason why the instance's stream cannot be read, if it cannot.
    pub trouble: Option<String>,
}

/// A pending timer of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceTimer {
    /// Effect id of the timer.
    pub id: EffectId,
    /// Due time.
    pub due: RecordedAt,
    /// Value of the timer, as JSON.
    pub timer: String,
}

/// A command of an instance that is not executed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceCommand {
    /// Effect id of the command.
    pub id: EffectId,
    /// Name of the command.
    pub name: String,
    /// The command, as JSON.
    pub payload: String,
}

/// A command of an instance that was permanently refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedCommand {
    /// Effect id of the command.
    pub id: EffectId,
    /// Name of the command.
    pub name: String,
    /// The command, as JSON.
    pub payload: String,
    /// Kind of the refusal.
    pub kind: RefusalKind,
    /// Reason, for people.
    pub reason: String,
}

/// The stream whose inputs are set aside.
///
/// ```
/// use gesta::Subject;
///
/// let ann: Subject = "instance:ann".parse()?;
/// assert_eq!(ann, Subject::Instance("ann".to_owned()));
/// let source: Subject = "stream:user-poison".parse()?;
/// assert_eq!(source.to_string(), "stream:user-poison");
/// # Ok::<(), gesta::ParseSubjectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The instance with this id.
    Instance(String),
    /// The stream of an event that could not be routed to an instance.
    Source(StreamName),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => write!(f, "instance:{id}"),
            Self::Source(stream) => write!(f, "stream:{stream}"),
        }
    }
}

/// The text is not a valid [`Subject`].
///
/// ```
/// let error = "ann".parse::<gesta::Subject>().unwrap_err();
/// let expected = "unknown subject `ann`; expected `instance:ID` or `stream:NAME`";
/// assert_eq!(error.to_string(), expected);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown subject `{text}`; expected `instance:ID` or `stream:NAME`")]
#[non_exhaustive]
pub struct ParseSubjectError {
    /// The rejected text.
    pub text: String,
}

impl FromStr for Subject {
    type Err = ParseSubjectError;

    fn from_str(text: &str) -> Result<Self, ParseSubjectError> {
        let none = || ParseSubjectError { text: text.to_owned() };
        if let Some(id) = text.strip_prefix("instance:") {
            return Ok(Self::Instance(id.to_owned()));
        }
        let stream = text.strip_prefix("stream:").ok_or_else(none)?;
        StreamName::stored(stream).map(Self::Source).map_err(|_| none())
    }
}

/// The set-aside inputs of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The instance, or the stream of events without one.
    pub subject: Subject,
    /// Its stream: that of the instance, which keeps the former name of a renamed manager, or that
    /// of the events.
    pub stream: StreamName,
    /// Inputs, in order. The first one failed, the others wait behind it.
    pub inputs: Vec<SetAsideInput>,
}

/// A set-aside input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAsideInput {
    /// Number of the input, unique within its manager.
    pub number: u64,
    /// The input.
    pub input: WaitingInput,
    /// Error of the last attempt. `None` for an input that waits behind another.
    pub error: Option<String>,
    /// Number of attempts.
    pub attempts: u32,
    /// Time at which it was set aside.
    pub since: RecordedAt,
}

/// A waiting input: a reference, not a copy.
///
/// ```
/// let refused = gesta::WaitingInput::Refused {
///     command: "4.0".parse()?,
///     code: "out-of-stock".to_owned(),
///     reason: "no mug is left".to_owned(),
/// };
/// assert_ne!(refused, gesta::WaitingInput::Command { command: "4.0".parse()? });
/// # Ok::<(), gesta::ParseEffectIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitingInput {
    /// An event.
    Event {
        /// Id of the event.
        id: EventId,
        /// Type of the event.
        event_type: EventType,
        /// Stream of the event.
        stream: StreamName,
        /// Revision of the event.
        revision: Revision,
        /// Position of the event when it was set aside.
        position: Position,
    },
    /// A due timer.
    Timer {
        /// Effect id of the timer.
        timer: EffectId,
    },
    /// The refusal of a command.
    Refused {
        /// Effect id of the command.
        command: EffectId,
        /// Kind of the refusal, as [`RefusalKind`] in text.
        code: String,
        /// Reason, for people.
        reason: String,
    },
    /// A command that could not be sent.
    Command {
        /// Effect id of the command.
        command: EffectId,
    },
    /// The instance itself: it has outstanding effects, and its stream could not be read at the
    /// start.
    Stream,
}

/// No process manager of this name is registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process manager {process} is not registered")]
#[non_exhaustive]
pub struct ProcessNotRegistered {
    /// The name.
    pub process: String,
}

/// The reason why an operation on a process failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// No process manager of this name is registered.
    #[error(transparent)]
    ProcessNotRegistered(#[from] crate::ProcessNotRegistered),
    /// Another node runs the process manager. Send the operation to it.
    #[error(transparent)]
    RunsElsewhere(#[from] crate::RunsElsewhere),
    /// The id has neither a stream nor a set-aside input.
    #[error("process manager {process} has no instance {id}")]
    NoSuchInstance {
        /// Name of the manager.
        process: String,
        /// The unknown id.
        id: String,
    },
    /// Nothing is set aside for the stream: it was retried, skipped or cancelled, or never failed.
    #[error("{subject} has no set-aside inputs")]
    NotSetAside {
        /// The stream.
        subject: Subject,
    },
    /// No input with this number is set aside for the stream. List the set-aside inputs.
    #[error("{subject} has no set-aside input {number}")]
    NoSuchInput {
        /// The stream.
        subject: Subject,
        /// The unknown number.
        number: u64,
    },
    /// The instance has no pending timer of this id: it fired, was cancelled, or was never set.
    #[error("instance {id} has no pending timer {timer}")]
    NoSuchTimer {
        /// The instance.
        id: String,
        /// The unknown timer.
        timer: EffectId,
    },
    /// No command of this id was refused, or it was sent again since.
    #[error("instance {id} has no refused command {command}")]
    NoSuchRefusedCommand {
        /// The instance.
        id: String,
        /// The unknown command.
        command: EffectId,
    },
    /// The instance has ended already.
    #[error("instance {id} has ended")]
    Ended {
        /// The instance.
        id: String,
    },
    /// The instance is set aside. Retry it, skip the input, or cancel the instance first.
    #[error("instance {id} is set aside: {error}")]
    IsSetAside {
        /// The instance.
        id: String,
        /// Error of its first input.
        error: String,
    },
    /// The input fails again, and everything stays set aside. Deploy a correction, or skip the
    /// input.
    #[error("input {number} of {subject} still fails: {error}")]
    StillFails {
        /// The stream.
        subject: Subject,
        /// Number of the input.
        number: u64,
        /// Error of this attempt.
        error: String,
    },
    /// The instance cannot be read or written. It can only be cancelled.
    #[error("instance {id} cannot be used: {error}")]
    Unusable {
        /// The instance.
        id: String,
        /// The error.
        error: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manager is recovering from an error, or has stopped. Check its status and try again.
    #[error("the process manager cannot run the operation now: {reason}")]
    Unavailable {
        /// The known cause.
        reason: String,
    },
}
