//! Errors of inputs, and their scope: one instance, or the manager.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta_store::{InvalidName, Position, Revision, StoreError, StreamName};

use super::{ProcessManager, history::EffectId};
use crate::{DecodeError, EncodeError, UndecodableEvent, following::PlaceError, panics};

/// The reason why an input could not be handled.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of the process, or for it, cannot be decoded.
    #[error(transparent)]
    Unreadable(#[from] UndecodableEvent),
    /// A timer cannot be decoded.
    #[error("effect {effect} of {stream} cannot be read")]
    UnreadableEffect { stream: StreamName, effect: EffectId, source: super::UnreadableTimer },
    /// A command cannot be decoded.
    #[error("command {command} of {stream} cannot be read")]
    UnreadableCommand { stream: StreamName, command: EffectId, source: crate::UnreadableCommand },
    /// The stream refers to an effect that it does not contain.
    #[error("{stream} refers to effect {effect}, but does not contain it")]
    NoSuchEffect { stream: StreamName, effect: EffectId },
    /// An event in the process's stream is no longer in the set.
    #[error("the input at revision {revision} of {stream} cannot be read")]
    UnreadableInput { stream: StreamName, revision: Revision, source: DecodeError },
    /// The stream refers to an event that the store no longer shows.
    #[error("the event {event} at revision {revision} of {stream} no longer exists")]
    EventGone { stream: String, revision: u64, event: String },
    /// The first events of the stream are hidden or scavenged.
    #[error("{stream} is truncated: its first remaining event is at revision {first}")]
    Truncated { stream: StreamName, first: Revision },
    /// All events of the stream are hidden, and it is not deleted.
    #[error("{stream} does not accept the next event, because its events are hidden")]
    Hidden { stream: StreamName },
    /// The event's data cannot be copied.
    #[error("the event at position {position} is not JSON")]
    NotJson { position: Position, source: serde_json::Error },
    /// The reaction cannot be encoded.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
    /// A timer has no JSON form that can be decoded.
    #[error("timer {timer} cannot be encoded as JSON that decodes again")]
    UnencodableTimer { timer: String, source: EncodeError },
    /// A name or an id is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// An upcaster splits an event into events for different processes.
    #[error(
        "the event is split into events for {first} and events for {other}; route all of them to \
         one instance"
    )]
    SeveralProcesses { first: String, other: String },
    /// The manager panicked.
    #[error("process {process} panicked: {message}")]
    Panicked { process: &'static str, message: String },
    /// Sending a command panicked.
    #[error("sending command {name} panicked: {message}")]
    Sending { name: String, message: String },
    /// A task of the manager ended early.
    #[error("a task of the manager failed: {message}")]
    Task { message: String },
    /// The checkpoint's place was not found in the store.
    #[error(transparent)]
    Place(PlaceError),
    /// More inputs fail than may be set aside.
    #[error("the maximum of {count} set-aside inputs is reached; retry or skip some of them")]
    Full { count: usize },
}

impl From<PlaceError> for InputError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Store(error) => Self::Store(error),
            foreign @ PlaceError::Foreign { .. } => Self::Place(foreign),
        }
    }
}

impl InputError {
    /// Returns a name for the reaction to the error, for traces.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_of_the_instance() { "instance" } else { "infrastructure" }
    }

    /// Returns whether the instance is at fault, rather than the store or the manager.
    ///
    /// The instance is then set aside, and the manager continues. Damage is assumed to concern one
    /// stream only, and so is an archive: the manager's own events are in none.
    pub(super) fn is_of_the_instance(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error,
                StoreError::Rejected(_)
                    | StoreError::Unsupported { .. }
                    | StoreError::Deleted { .. }
                    | StoreError::Archived { .. }
                    | StoreError::Corrupt(_)
            ),
            Self::Task { .. } | Self::Place(_) | Self::Full { .. } => false,
            Self::Unreadable(_)
            | Self::UnreadableEffect { .. }
            | Self::UnreadableCommand { .. }
            | Self::NoSuchEffect { .. }
            | Self::UnreadableInput { .. }
            | Self::EventGone { .. }
            | Self::Truncated { .. }
            | Self::Hidden { .. }
            | Self::NotJson { .. }
            | Self::Unencodable(_)
            | Self::UnencodableTimer { .. }
            | Self::Name(_)
            | Self::SeveralProcesses { .. }
            | Self::Panicked { .. }
            | Self::Sending { .. } => true,
        }
    }
}

/// Runs the manager's code and converts a panic to the input's error.
pub(super) fn guarded<P: ProcessManager, T>(what: impl FnOnce() -> T) -> Result<T, InputError> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| InputError::Panicked {
        process: P::NAME,
        message: panics::message(panic.as_ref()),
    })
}

pub(super) fn joined<T>(task: Result<T, tokio::task::JoinError>) -> Result<T, InputError> {
    task.map_err(|error| InputError::Task { message: error.to_string() })
}
