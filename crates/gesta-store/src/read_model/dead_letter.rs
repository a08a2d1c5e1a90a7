//! Events that a projection could not apply.
//!
//! A dead letter is stored in the transaction that moves the checkpoint past its event, so every
//! event is either applied or a dead letter. Not here: retries.

use crate::{EventId, EventType, Position, RecordedAt, RecordedEvent, Revision, StreamName};

/// An event that was set aside after its retries.
///
/// Refers to the event, which stays in the event store.
///
/// ```
/// use gesta_store::{
///     DeadLetter, DeadLetterReason, EventId, EventType, Position, RecordedAt, Revision,
///     StreamName,
/// };
///
/// let letter = DeadLetter {
///     position: Position::new(7),
///     event: EventId::derived_from("request-42", 0),
///     event_type: EventType::new("order-placed")?,
///     stream: StreamName::new("order-1")?,
///     revision: Revision::FIRST,
///     recorded_at: RecordedAt::from_micros(1),
///     reason: DeadLetterReason::Failed { error: "no such customer".to_owned(), attempts: 5 },
/// };
/// assert_eq!(letter.reason.to_string(), "attempt 5 failed: no such customer");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Position of the event. A read model has at most one dead letter for a position.
    pub position: Position,
    /// Identity of the event.
    pub event: EventId,
    /// Type of the event.
    pub event_type: EventType,
    /// Stream of the event.
    pub stream: StreamName,
    /// Revision of the event.
    pub revision: Revision,
    /// Time at which the event was recorded.
    pub recorded_at: RecordedAt,
    /// The reason for setting the event aside.
    pub reason: DeadLetterReason,
}

/// The reason for setting an event aside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterReason {
    /// The event could not be applied.
    #[error("attempt {attempts} failed: {error}")]
    Failed {
        /// Error of the last attempt.
        error: String,
        /// Number of attempts.
        attempts: u32,
    },
    /// An earlier event of the same stream is a dead letter. The events of a stream are applied in
    /// order.
    #[error("waits behind the dead letter at position {first}")]
    Behind {
        /// Position of the earlier event.
        first: Position,
    },
}

impl DeadLetter {
    /// Creates the dead letter of an event.
    #[must_use]
    pub fn of(event: &RecordedEvent, reason: DeadLetterReason) -> Self {
        Self {
            position: event.position,
            event: event.id,
            event_type: event.event_type.clone(),
            stream: event.stream.clone(),
            revision: event.revision,
            recorded_at: event.recorded_at,
            reason,
        }
    }
}
