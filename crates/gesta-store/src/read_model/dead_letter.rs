//! Events that a projection could not apply.
//!
//! A dead letter is stored in the transaction that moves the checkpoint past its event, so every
//! event is either applied or a dead letter. Not here: retries.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{EventId, EventType, Position, RecordedAt, RecordedEvent, Revision, StreamName};

/// Characters of an error's text in the JSON of a letter, so that it fits into an item of any
/// database.
const ERROR_CHARS_MAX: usize = 30_000;

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

    /// Returns the letter as a JSON object, for stores. The text of an error is cut after 30,000
    /// characters.
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
    ///     reason: DeadLetterReason::Behind { first: Position::new(5) },
    /// };
    /// assert_eq!(DeadLetter::from_json(&letter.to_json()), Some(letter));
    /// # Ok::<(), gesta_store::InvalidName>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> Value {
        let reason = match &self.reason {
            DeadLetterReason::Failed { error, attempts } => {
                let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
                json!({ "error": error, "attempts": attempts })
            }
            DeadLetterReason::Behind { first } => json!({ "behind": first.number() }),
        };
        json!({
            "position": self.position.number(),
            "event": self.event.as_uuid().to_string(),
            "type": self.event_type.as_str(),
            "stream": self.stream.as_str(),
            "revision": self.revision.number(),
            "recordedAt": self.recorded_at.micros(),
            "reason": reason,
        })
    }

    /// Reads a letter from its [JSON object](Self::to_json). `None` if it is damaged.
    #[must_use]
    pub fn from_json(object: &Value) -> Option<Self> {
        let number = |name: &str| object.get(name)?.as_u64();
        let text = |name: &str| object.get(name)?.as_str();
        let reason = object.get("reason")?;
        let reason = match reason.get("behind") {
            Some(first) => DeadLetterReason::Behind { first: Position::new(first.as_u64()?) },
            None => DeadLetterReason::Failed {
                error: reason.get("error")?.as_str()?.to_owned(),
                attempts: u32::try_from(reason.get("attempts")?.as_u64()?).ok()?,
            },
        };
        Some(Self {
            position: Position::new(number("position")?),
            event: EventId::from(text("event")?.parse::<Uuid>().ok()?),
            event_type: EventType::stored(text("type")?).ok()?,
            stream: StreamName::stored(text("stream")?).ok()?,
            revision: Revision::new(number("revision")?),
            recorded_at: RecordedAt::from_micros(number("recordedAt")?),
            reason,
        })
    }
}
