//! Streams that are read by themselves: those that wait for an operator, and those that catch up
//! afterwards.
//!
//! Owns: [`HeldStream`] and its dead letter, in the form that the journal stores.
//!
//! Invariant: of a held stream, exactly the events before `next` are handled. The subscription's
//! events of the stream are not handled; the stream is read from `next` once it no longer waits.

use std::collections::BTreeMap;

use gesta_store::{EventId, EventType, Position, RecordedAt, RecordedEvent, Revision, StreamName};
use serde::{Deserialize, Serialize};

use super::EffectDeadLetter;

/// Maximum length of a stored error, in bytes.
const ERROR_BYTES_MAX: usize = 1_000;

/// The held streams of a reactor.
pub(super) type HeldStreams = BTreeMap<StreamName, HeldStream>;

/// A stream whose events are taken from the stream itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldStream {
    /// First event that is not handled.
    pub(super) next: Revision,
    /// Greatest position of the events that were handled or set aside while the stream was held.
    /// Until the reactor's position has reached it, the stream stays held: its events would be
    /// delivered once more after a restart.
    pub(super) through: Position,
    /// The event at `next`, while it waits for an operator.
    pub(super) letter: Option<StoredLetter>,
}

/// A dead letter, without its stream.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredLetter {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) position: u64,
    pub(super) error: String,
    pub(super) attempts: u32,
    /// Microseconds since 1970.
    pub(super) since: u64,
}

/// A held stream, in its stored form.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredStream {
    stream: String,
    next: u64,
    through: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    letter: Option<StoredLetter>,
}

impl HeldStream {
    /// Creates the held stream of an event that failed for the last time.
    pub(super) fn of_letter(
        event: &RecordedEvent,
        (error, attempts): (String, u32),
        since: RecordedAt,
    ) -> Self {
        let letter = StoredLetter {
            id: event.id.to_string(),
            event_type: event.event_type.as_str().to_owned(),
            position: event.position.number(),
            error: bounded(error),
            attempts,
            since: since.micros(),
        };
        Self { next: event.revision, through: event.position, letter: Some(letter) }
    }

    /// Returns the stream after the event at `next`, handled or discarded.
    pub(super) fn past(&self, revision: Revision, position: Position) -> Self {
        let through = self.through.max(position);
        Self { next: revision.next().max(self.next), through, letter: None }
    }

    /// Returns the stream after one more attempt that failed.
    pub(super) fn failed_again(&self, error: String) -> Self {
        let letter = self.letter.clone().map(|letter| StoredLetter {
            error: bounded(error),
            attempts: letter.attempts.saturating_add(1),
            ..letter
        });
        Self { letter, ..self.clone() }
    }

    pub(super) fn is_of(&self, event: &EventId) -> bool {
        self.letter.as_ref().is_some_and(|letter| letter.id == event.to_string())
    }
}

impl StoredStream {
    pub(super) fn of(stream: &StreamName, held: &HeldStream) -> Self {
        Self {
            stream: stream.as_str().to_owned(),
            next: held.next.number(),
            through: held.through.number(),
            letter: held.letter.clone(),
        }
    }

    /// Returns the stream; `None` for a name that no store has.
    pub(super) fn read(self) -> Option<(StreamName, HeldStream)> {
        let stream = StreamName::stored(self.stream).ok()?;
        let (next, through) = (Revision::new(self.next), Position::new(self.through));
        Some((stream, HeldStream { next, through, letter: self.letter }))
    }
}

/// Returns the dead letters in the operators' form, by stream.
pub(super) fn letters_of(streams: &HeldStreams) -> Vec<EffectDeadLetter> {
    let letters = streams.iter().filter_map(|(stream, held)| {
        let letter = held.letter.as_ref()?;
        Some(EffectDeadLetter {
            id: event_id(&letter.id)?,
            event_type: EventType::new(letter.event_type.clone()).ok()?,
            stream: stream.clone(),
            revision: held.next,
            position: Position::new(letter.position),
            error: letter.error.clone(),
            attempts: letter.attempts,
            since: RecordedAt::from_micros(letter.since),
        })
    });
    letters.collect()
}

pub(super) fn event_id(text: &str) -> Option<EventId> {
    text.parse().ok()
}

fn bounded(mut error: String) -> String {
    if error.len() > ERROR_BYTES_MAX {
        error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        error.push('…');
    }
    error
}
