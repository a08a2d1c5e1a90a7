//! Why an input could not be handled, and who has to wait for it: one instance or the manager.

use gesta_store::{EventId, InvalidName, Position, Revision, StoreError, StreamName};

use super::history::EffectId;
use crate::{DecodeError, EncodeError, UndecodableEvent};

/// Why an input could not be handled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The store's word.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event of the process, or for it, cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UndecodableEvent),
    /// A timer cannot be read any more.
    #[error("effect {effect} of {stream} cannot be read")]
    UnreadableEffect { stream: StreamName, effect: EffectId, source: super::UnreadableTimer },
    /// A command cannot be read any more.
    #[error("command {command} of {stream} cannot be read")]
    UnreadableCommand { stream: StreamName, command: EffectId, source: crate::UnreadableCommand },
    /// The stream speaks of an effect that it does not have.
    #[error("{stream} has no effect {effect} to speak of")]
    NoSuchEffect { stream: StreamName, effect: EffectId },
    /// An event in the process's stream is not of the set any more.
    #[error("the input at revision {revision} of {stream} cannot be read")]
    UnreadableInput { stream: StreamName, revision: Revision, source: DecodeError },
    /// The stream has a reference to an event that the store does not show any more.
    #[error("the event {event} at revision {revision} of {stream} is gone")]
    EventGone { stream: String, revision: u64, event: String },
    /// The first events of the stream are hidden or scavenged.
    #[error("{stream} is truncated: the first event that is left of it is at revision {first}")]
    Truncated { stream: StreamName, first: Revision },
    /// All events of the stream are hidden, and it is not deleted.
    #[error("{stream} does not accept the next event, because its events are hidden")]
    Hidden { stream: StreamName },
    /// The event's data cannot be copied.
    #[error("the event at {position} is not JSON")]
    NotJson { position: Position, source: serde_json::Error },
    /// The reaction cannot be written.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
    /// A timer has no JSON form that can be read again.
    #[error("timer {timer} has no JSON form that can be read again")]
    UnencodableTimer { timer: String, source: EncodeError },
    /// A name or an id is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// An upcaster splits an event into some for different processes.
    #[error("the event is split into some for {first} and some for {other}; route all to one")]
    SeveralProcesses { first: String, other: String },
    /// The manager panicked.
    #[error("process {process} panicked: {message}")]
    Panicked { process: &'static str, message: String },
    /// Sending a command panicked.
    #[error("sending command {name} panicked: {message}")]
    Sending { name: String, message: String },
    /// A task of the manager ended before its time.
    #[error("a task of the manager failed: {message}")]
    Task { message: String },
    /// The checkpoint belongs to another store or to another life of this one.
    #[error(
        "the checkpoint {position} is of another store, and its event {event} is not in this one"
    )]
    ForeignCheckpoint { position: Position, event: EventId },
    /// More inputs fail than may be set aside.
    #[error("{count} inputs are set aside, and no more may be; retry or skip some of them")]
    Full { count: usize },
}

impl Trouble {
    /// Whether the instance is at fault and not the store or the manager: it is set aside then,
    /// and the manager goes on. What is damaged is damaged for one stream, as far as is known.
    pub(super) fn is_of_the_instance(&self) -> bool {
        match self {
            Self::Store(error) => match error {
                StoreError::Rejected(_)
                | StoreError::Unsupported { .. }
                | StoreError::Deleted { .. }
                | StoreError::Corrupt(_) => true,
                StoreError::Conflict(_)
                | StoreError::Overloaded(_)
                | StoreError::Unavailable { .. }
                | StoreError::Stopped { .. } => false,
            },
            Self::Task { .. } | Self::ForeignCheckpoint { .. } | Self::Full { .. } => false,
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
