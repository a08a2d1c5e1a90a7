//! The instances of a process manager as operators see them: states, details, set-aside inputs.
//!
//! Owns the public types of the operations on processes. Not here: the operations
//! ([`process_side`](crate::process_side)), what an instance is set aside for
//! ([`instance`](super::instance)).

use std::{fmt, str::FromStr};

use gesta_store::{EventId, EventType, Position, RecordedAt, Revision, StoreError, StreamName};

use super::history::EffectId;

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
    /// Begun, and neither ended nor set aside.
    Running,
    /// Set aside: an input failed, and what comes for the instance waits behind it.
    Troubled,
    /// Ended by itself.
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

/// A text that names no state of an instance.
///
/// ```
/// let error = "stuck".parse::<gesta::InstanceState>().unwrap_err();
/// assert_eq!(error.to_string(), "`stuck` is none of running, troubled, ended, cancelled");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of running, troubled, ended, cancelled")]
pub struct ParseInstanceStateError {
    /// The text.
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

/// The numbers of a manager's instances by state, as of one position.
///
/// ```
/// use gesta::{InstanceCounts, Position};
///
/// let counts = InstanceCounts { running: 3, troubled: 1, ..InstanceCounts::default() };
/// assert_eq!(counts.as_of, Position::START);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceCounts {
    /// Begun and not ended. A troubled instance that has begun is counted here, too.
    pub running: u64,
    /// Set aside.
    pub troubled: u64,
    /// Ended by themselves.
    pub ended: u64,
    /// Ended by an operator.
    pub cancelled: u64,
    /// The position up to which the streams of the instances were counted.
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
pub struct InstanceQuery {
    /// The manager's name.
    pub process: String,
    /// Only instances in this state.
    pub state: Option<InstanceState>,
    /// Only instances whose ids begin with this.
    pub prefix: Option<String>,
    /// Only instances after this id, in byte order: [`InstancePage::next`] of the page before.
    pub after: Option<String>,
    /// Instances of the page at most; not more than [`LIMIT_MAX`](Self::LIMIT_MAX).
    pub limit: usize,
}

impl InstanceQuery {
    /// The most instances that one page has.
    pub const LIMIT_MAX: usize = 1_000;

    /// The first 100 instances in any state.
    pub fn of(process: impl Into<String>) -> Self {
        Self { process: process.into(), state: None, prefix: None, after: None, limit: 100 }
    }

    /// Only instances in this state.
    #[must_use]
    pub fn in_state(self, state: InstanceState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Only instances whose ids begin with this.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// Only instances after this id.
    #[must_use]
    pub fn after(self, id: impl Into<String>) -> Self {
        Self { after: Some(id.into()), ..self }
    }

    /// At most so many instances.
    #[must_use]
    pub fn limit(self, instances: usize) -> Self {
        Self { limit: instances, ..self }
    }
}

/// One page of instances.
///
/// ```
/// let page = gesta::InstancePage { instances: vec![], next: Some("order-7".to_owned()) };
/// assert!(page.next.is_some(), "the search goes on after this id");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePage {
    /// The instances, by id.
    pub instances: Vec<InstanceSummary>,
    /// Where the next page begins; none: this is the last one. A page may be short, even empty,
    /// and not the last: a call looks at a bounded number of instances.
    pub next: Option<String>,
}

/// One instance in a list.
///
/// ```
/// use gesta::{InstanceState, InstanceSummary};
///
/// let ann = InstanceSummary {
///     id: "ann".to_owned(),
///     state: InstanceState::Running,
///     revision: None,
///     set_aside: 0,
///     error: None,
/// };
/// assert_eq!(ann.state, InstanceState::Running);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSummary {
    /// Its id, as [`ProcessManager::route`](crate::ProcessManager::route) gave it.
    pub id: String,
    /// Its state.
    pub state: InstanceState,
    /// The last revision of its stream that can be read; none before its first input is recorded.
    pub revision: Option<Revision>,
    /// How many inputs are set aside.
    pub set_aside: usize,
    /// Why the first of them failed.
    pub error: Option<String>,
}

/// One instance in full.
///
/// ```
/// use gesta::{InstanceDetails, InstanceState};
///
/// fn is_waiting(instance: &InstanceDetails) -> bool {
///     instance.state == InstanceState::Running && !instance.timers.is_empty()
/// }
/// let ended = InstanceDetails {
///     id: "ann".to_owned(),
///     stream: gesta::StreamName::new("process:welcome-ann")?,
///     state: InstanceState::Ended,
///     revision: Some(gesta::Revision::FIRST),
///     timers: vec![],
///     commands: vec![],
///     refused: vec![],
///     set_aside: vec![],
///     trouble: None,
/// };
/// assert!(!is_waiting(&ended));
/// # Ok::<(), gesta::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceDetails {
    /// Its id.
    pub id: String,
    /// Its stream.
    pub stream: StreamName,
    /// Its state.
    pub state: InstanceState,
    /// The last revision of its stream that can be read.
    pub revision: Option<Revision>,
    /// The pending timers, by the place where they were set.
    pub timers: Vec<InstanceTimer>,
    /// The commands that were decided and are not executed yet, in order.
    pub commands: Vec<InstanceCommand>,
    /// The last commands that were refused for good and not sent again, in order.
    pub refused: Vec<RefusedCommand>,
    /// The inputs that are set aside, in order. The first one failed.
    pub set_aside: Vec<SetAsideInput>,
    /// Why the instance's stream cannot be read, if it cannot.
    pub trouble: Option<String>,
}

/// A pending timer of an instance.
///
/// ```
/// use gesta::{EffectId, InstanceTimer, RecordedAt};
///
/// let timer = InstanceTimer {
///     id: "3.1".parse()?,
///     due: RecordedAt::from_micros(7),
///     timer: "\"payment-due\"".to_owned(),
/// };
/// assert_eq!(timer.id, EffectId { revision: 3, ordinal: 1 });
/// # Ok::<(), gesta::ParseEffectIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceTimer {
    /// The place where it was set.
    pub id: EffectId,
    /// When it is due.
    pub due: RecordedAt,
    /// Its value, as JSON.
    pub timer: String,
}

/// A command of an instance that is not executed yet.
///
/// ```
/// use gesta::InstanceCommand;
///
/// let ship = InstanceCommand {
///     id: "4.0".parse()?,
///     name: "ship-order".to_owned(),
///     payload: "{}".to_owned(),
/// };
/// assert_eq!(ship.id.to_string(), "4.0");
/// # Ok::<(), gesta::ParseEffectIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceCommand {
    /// The place where it was decided.
    pub id: EffectId,
    /// Its name.
    pub name: String,
    /// The command, as JSON.
    pub payload: String,
}

/// A command of an instance that was refused for good.
///
/// ```
/// let refused = gesta::RefusedCommand {
///     id: "4.0".parse()?,
///     name: "ship-order".to_owned(),
///     payload: "{}".to_owned(),
///     code: "out-of-stock".to_owned(),
///     reason: "no mug is left".to_owned(),
/// };
/// assert_eq!(refused.code, "out-of-stock");
/// # Ok::<(), gesta::ParseEffectIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCommand {
    /// The place where it was decided.
    pub id: EffectId,
    /// Its name.
    pub name: String,
    /// The command, as JSON.
    pub payload: String,
    /// The kind of the refusal.
    pub code: String,
    /// The reason, for people.
    pub reason: String,
}

/// The stream by which inputs are set aside.
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

/// A text that is no [`Subject`].
///
/// ```
/// let error = "ann".parse::<gesta::Subject>().unwrap_err();
/// assert_eq!(error.to_string(), "`ann` is neither `instance:` and an id nor `stream:` and a name");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither `instance:` and an id nor `stream:` and a name")]
pub struct ParseSubjectError {
    /// The text.
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

/// What is set aside of one stream.
///
/// ```
/// use gesta::{SetAside, Subject};
///
/// let subject = Subject::Instance("ann".to_owned());
/// let set_aside = SetAside { subject, inputs: vec![] };
/// assert_eq!(set_aside.subject.to_string(), "instance:ann");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The stream.
    pub subject: Subject,
    /// The inputs, in order. The first one failed, the others wait behind it.
    pub inputs: Vec<SetAsideInput>,
}

/// An input that is set aside.
///
/// ```
/// use gesta::{RecordedAt, SetAsideInput, WaitingInput};
///
/// let input = SetAsideInput {
///     number: 12,
///     input: WaitingInput::Timer { timer: "3.1".parse()? },
///     error: Some("process reminder panicked".to_owned()),
///     attempts: 1,
///     since: RecordedAt::from_micros(7),
/// };
/// assert!(input.error.is_some(), "it failed; one that only waits has no error");
/// # Ok::<(), gesta::ParseEffectIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAsideInput {
    /// Its number, unique among all inputs that its manager ever set aside.
    pub number: u64,
    /// The input.
    pub input: WaitingInput,
    /// Why it failed the last time; none for one that waits behind another.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it is set aside.
    pub since: RecordedAt,
}

/// An input that waits: a reference, not a copy.
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
        /// Its id.
        id: EventId,
        /// Its type.
        event_type: EventType,
        /// Its stream.
        stream: StreamName,
        /// Its place there.
        revision: Revision,
        /// Its place in the store when it was set aside.
        position: Position,
    },
    /// A timer that is due.
    Timer {
        /// The place where it was set.
        timer: EffectId,
    },
    /// The refusal of a command.
    Refused {
        /// The place where the command was decided.
        command: EffectId,
        /// The kind of the refusal.
        code: String,
        /// The reason, for people.
        reason: String,
    },
    /// A command that could not be sent.
    Command {
        /// The place where the command was decided.
        command: EffectId,
    },
    /// The instance itself: something is outstanding, and its stream could not be read when the
    /// manager started.
    Stream,
}

/// Why an operation on a process was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// No process manager of this name runs here.
    #[error(transparent)]
    ProcessNotRegistered(#[from] crate::ProcessNotRegistered),
    /// Neither a stream nor a set-aside input belongs to this id.
    #[error("process manager {process} has no instance {id}")]
    NoSuchInstance {
        /// The manager's name.
        process: String,
        /// The id.
        id: String,
    },
    /// Nothing is set aside there: it was retried, skipped or cancelled before, or never failed.
    #[error("nothing is set aside of {subject}")]
    NotSetAside {
        /// The stream.
        subject: Subject,
    },
    /// No input with this number is set aside there. List what is set aside.
    #[error("no input {number} is set aside of {subject}")]
    NoSuchInput {
        /// The stream.
        subject: Subject,
        /// The number.
        number: u64,
    },
    /// The instance has no pending timer of this id: it fired, was cancelled, or never was set.
    #[error("instance {id} has no pending timer {timer}")]
    NoSuchTimer {
        /// The instance.
        id: String,
        /// The timer.
        timer: EffectId,
    },
    /// No command of this id was refused, or it was sent again since.
    #[error("instance {id} has no refused command {command}")]
    NoSuchRefusedCommand {
        /// The instance.
        id: String,
        /// The command.
        command: EffectId,
    },
    /// The instance has ended. There is nothing to cancel.
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
        /// Why its first input failed.
        error: String,
    },
    /// It was tried and fails again; everything is set aside as before. Deploy a correction, or
    /// skip the input.
    #[error("input {number} of {subject} still fails: {error}")]
    StillFails {
        /// The stream.
        subject: Subject,
        /// The number of the input.
        number: u64,
        /// Why it fails.
        error: String,
    },
    /// The instance cannot be read or written, so that nothing can be done with it but cancel it.
    #[error("instance {id} cannot be used: {error}")]
    Unusable {
        /// The instance.
        id: String,
        /// Why.
        error: String,
    },
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manager is in trouble or stopped. Look at its status and try again later.
    #[error("the process manager cannot do it now: {reason}")]
    Unavailable {
        /// What is known.
        reason: String,
    },
}
