//! Dead letters as JSON.

use gesta_store::{
    DeadLetter, DeadLetterReason, EventId, EventType, Position, RecordedAt, Revision, StreamName,
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Characters of an error's text that are kept, so that a letter stays short.
const ERROR_CHARS_MAX: usize = 30_000;

pub(super) fn encode(letter: &DeadLetter) -> Value {
    let reason = match &letter.reason {
        DeadLetterReason::Failed { error, attempts } => {
            let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
            json!({ "error": error, "attempts": attempts })
        }
        DeadLetterReason::Behind { first } => json!({ "behind": first.number() }),
    };
    json!({
        "position": letter.position.number(),
        "event": letter.event.as_uuid().to_string(),
        "type": letter.event_type.as_str(),
        "stream": letter.stream.as_str(),
        "revision": letter.revision.number(),
        "recordedAt": letter.recorded_at.micros(),
        "reason": reason,
    })
}

/// Reads a letter. `None` if it is damaged.
pub(super) fn decode(value: &Value) -> Option<DeadLetter> {
    let number = |name: &str| value.get(name)?.as_u64();
    let text = |name: &str| value.get(name)?.as_str();
    let reason = value.get("reason")?;
    let reason = match reason.get("behind") {
        Some(first) => DeadLetterReason::Behind { first: Position::new(first.as_u64()?) },
        None => DeadLetterReason::Failed {
            error: reason.get("error")?.as_str()?.to_owned(),
            attempts: u32::try_from(reason.get("attempts")?.as_u64()?).ok()?,
        },
    };
    Some(DeadLetter {
        position: Position::new(number("position")?),
        event: EventId::from(text("event")?.parse::<Uuid>().ok()?),
        event_type: EventType::stored(text("type")?).ok()?,
        stream: StreamName::stored(text("stream")?).ok()?,
        revision: Revision::new(number("revision")?),
        recorded_at: RecordedAt::from_micros(number("recordedAt")?),
        reason,
    })
}
