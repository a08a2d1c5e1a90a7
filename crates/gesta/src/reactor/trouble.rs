//! Errors of a reactor: those of operations, and those that end a session.

use gesta_store::{EventId, InvalidName, StoreError};

use crate::{EncodeError, UndecodableEvent, following::PlaceError};

/// The reason why an operation on a reactor failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReactorError {
    /// No reactor of this name is registered. [`Gesta::reactors`](crate::Gesta::reactors) lists
    /// them.
    #[error("reactor {reactor} is not registered")]
    NotRegistered {
        /// The name.
        reactor: String,
    },
    /// Another node runs the reactor. Send the operation to it.
    #[error(transparent)]
    RunsElsewhere(#[from] crate::RunsElsewhere),
    /// The event is no dead letter: it was retried or discarded, or never failed. List the dead
    /// letters.
    #[error("reactor {reactor} has no dead letter {event}")]
    NoSuchDeadLetter {
        /// Name of the reactor.
        reactor: String,
        /// Id of the event.
        event: EventId,
    },
    /// The effect failed again, and the event stays a dead letter. Remove the cause, or discard
    /// the dead letter.
    #[error("the effect of event {event} still fails: {error}")]
    StillFails {
        /// Id of the event.
        event: EventId,
        /// Error of this attempt.
        error: String,
    },
    /// The reactor is recovering from an error, is retrying the event already, or has stopped.
    /// Check its status and try again.
    #[error("the reactor cannot run the operation now: {reason}")]
    Unavailable {
        /// The known cause.
        reason: String,
    },
}

/// The reason why a session ended. The reactor continues from its journal after a pause.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReactorTrouble {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored position was not found in the store.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The journal cannot be decoded.
    #[error(transparent)]
    Unreadable(#[from] UndecodableEvent),
    /// An event of the journal cannot be encoded.
    #[error(transparent)]
    Unencodable(#[from] EncodeError),
    /// An event type of the set has an invalid name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A task of the reactor ended early.
    #[error("a task of the reactor failed: {message}")]
    Task { message: String },
}
