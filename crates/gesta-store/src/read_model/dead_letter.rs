//! Events that a projection could not apply, set aside with the reason.
//!
//! Always holds: a dead letter is kept in the same transaction that moves the checkpoint past its
//! event, so an event is applied or set aside, and never neither. Not here: who retries it.

use crate::{EventId, EventType, Position, RecordedAt, RecordedEvent, Revision, StreamName};

/// An event that was set aside after its retries, with the reason.
///
/// The event itself stays in the event store; this says which one it is.
///
/// ```
/// use gesta_store::{
///     DeadLetter, EventId, EventType, Position, RecordedAt, Revision, SetAside, StreamName,
/// };
///
/// let letter = DeadLetter {
///     position: Position::new(7),
///     event: EventId::derived_from("request-42", 0),
///     event_type: EventType::new("order-placed")?,
///     stream: StreamName::new("order-1")?,
///     revision: Revision::FIRST,
///     recorded_at: RecordedAt::from_micros(1),
///     reason: SetAside::Failed { error: "no such customer".to_owned(), attempts: 5 },
/// };
/// assert_eq!(letter.reason.to_string(), "failed 5 times: no such customer");
/// # Ok::<(), gesta_store::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event's place in the store; a read model has at most one dead letter for it.
    pub position: Position,
    /// Which event.
    pub event: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Its stream.
    pub stream: StreamName,
    /// Its place in the stream.
    pub revision: Revision,
    /// When the event was recorded.
    pub recorded_at: RecordedAt,
    /// Why it was set aside.
    pub reason: SetAside,
}

/// Why an event was set aside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetAside {
    /// It could not be applied.
    #[error("failed {attempts} times: {error}")]
    Failed {
        /// What the last attempt said.
        error: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// An earlier event of its stream is a dead letter, and a stream's events are applied in
    /// order.
    #[error("waits behind the dead letter at position {first}")]
    Behind {
        /// Where the earlier one is.
        first: Position,
    },
}

impl DeadLetter {
    /// Sets this event aside for this reason.
    #[must_use]
    pub fn of(event: &RecordedEvent, reason: SetAside) -> Self {
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
