//! Errors of encoding and decoding events.
//!
//! Not here: errors of reading a stream ([`read`](crate::read)) and of executing a command
//! ([`error`](crate::error)).

use gesta_store::{EventType, InvalidName, Position, RecordedEvent, Revision, StreamName};

use super::CodecError;
use crate::{JsonFault, json::JsonError};

/// An error of encoding an event or a command. Nothing was appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Invalid event type or tag. Tags derive from input, so this may be the caller's error.
    #[error("{0}")]
    Name(#[from] InvalidName),
    /// The value has no JSON form that can be decoded. Fix the event type or the decision.
    #[error("{what} cannot be recorded: {field}{}{reason}", if field.is_empty() { "" } else { " " })]
    Json {
        /// Name of the event, command or timer.
        what: String,
        /// Path of the field at fault; empty for the value as a whole.
        field: String,
        /// The problem with its value.
        reason: JsonFault,
    },
    /// The event's codec does not encode it. Fix the event type, the decision or the codec.
    #[error("{event_type} cannot be recorded: it has no form as {content_type}")]
    Codec {
        /// Event type.
        event_type: &'static str,
        /// Content type of the codec.
        content_type: &'static str,
        /// The error of the codec.
        source: CodecError,
    },
    /// The event's own `upcast` does not decode the version that it writes. Fix it.
    #[error("{event_type} cannot be recorded: its `upcast` does not decode the version it writes")]
    Unreadable {
        /// Event type.
        event_type: &'static str,
        /// The error of `upcast`.
        source: DecodeError,
    },
    /// The data does not have the JSON schema of its version
    /// ([`Builder::validate_events`](crate::Builder::validate_events)). Fix the event type, or
    /// give it a new version.
    #[error(
        "{event_type} version {version} cannot be recorded: {}{reason}",
        if path.is_empty() { String::new() } else { format!("at {path}: ") }
    )]
    Schema {
        /// Event type.
        event_type: String,
        /// Schema version.
        version: u16,
        /// JSON pointer to the value at fault; empty for the data as a whole.
        path: String,
        /// The difference from the schema.
        reason: String,
    },
    /// Another type of this program has the same event name. Rename one.
    #[error(transparent)]
    DuplicateEventName(#[from] DuplicateEventName),
    /// A decision over a `Vec` of aggregates returned a different number of `Events`. Fix `decide`.
    #[error("the decision covers {decided} aggregates, but the command names {aggregates}")]
    NotForEach {
        /// Number of aggregates that the command named.
        aggregates: usize,
        /// Number of `Events` that the decision returned.
        decided: usize,
    },
}

/// An error of decoding a stored event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The event type is not in the set. Deploy code that has it in the set, or declare it with
    /// `#[events(ignore("…"))]`.
    #[error("event type {event_type} is unknown")]
    UnknownEvent {
        /// Event type.
        event_type: String,
    },
    /// The event type is known, but not this version. Deploy code that has this version.
    #[error(
        "version {version} of event type {event_type} is unknown; the newest known version is \
         {newest}"
    )]
    UnknownVersion {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// Newest version that this program decodes.
        newest: u16,
    },
    /// The data does not decode as its declared version. Fix the type or its upcaster.
    #[error("the payload is not version {version} of event type {event_type}")]
    BadPayload {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// The error of serde.
        source: serde_json::Error,
    },
    /// Not exactly one event: an upcaster drops or splits this version. Decode with
    /// [`Event::upcast_each`](crate::Event::upcast_each).
    #[error(
        "version {version} of event type {event_type} decodes to {count} events; expected exactly \
         one"
    )]
    NotOne {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// Number of events that the upcaster returned.
        count: usize,
    },
    /// The codec does not decode the data. Fix the type, its upcaster or the codec.
    #[error("the payload, {content_type}, is not version {version} of event type {event_type}")]
    BadData {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// Stored content type.
        content_type: String,
        /// The error of the codec.
        source: CodecError,
    },
    /// The data is neither JSON nor in a form that the event's codec decodes. Give the event a
    /// codec for it; if another program wrote it, remove the type from the set.
    #[error(
        "version {version} of event type {event_type} is written as {content_type}; it needs a \
         codec that reads this, as in #[event(codec = …)]"
    )]
    UnknownContentType {
        /// Event type.
        event_type: String,
        /// Stored schema version.
        version: u16,
        /// Stored content type.
        content_type: String,
    },
}

impl DecodeError {
    /// Creates [`UnknownEvent`](Self::UnknownEvent).
    #[must_use]
    pub fn unknown_event(event_type: &str) -> Self {
        Self::UnknownEvent { event_type: event_type.to_owned() }
    }

    pub(crate) fn of(self, event: &RecordedEvent) -> UndecodableEvent {
        UndecodableEvent {
            event_type: event.event_type.clone(),
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
            source: self,
        }
    }
}

/// A recorded event that does not decode, with its place in the store.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event at revision {revision} of {stream} cannot be read \
     (type {event_type}, position {position})"
)]
#[non_exhaustive]
pub struct UndecodableEvent {
    /// Event type.
    pub event_type: EventType,
    /// Stream of the event.
    pub stream: StreamName,
    /// Revision within the stream.
    pub revision: Revision,
    /// Position within the store.
    pub position: Position,
    /// The decoding error.
    pub source: DecodeError,
}

/// Two types have the same event name, so the meaning of stored data depends on the reader.
///
/// Use one type, rename one while nothing is stored, or restrict the sets that read them to
/// categories: `#[events(categories("order"))]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event type {name} is declared by both {first} and {second}; rename one, or restrict the event \
     sets that read it to categories, as in #[events(categories(\"order\"))]"
)]
#[non_exhaustive]
pub struct DuplicateEventName {
    /// The event name.
    pub name: &'static str,
    /// The type registered first.
    pub first: &'static str,
    /// The type registered second.
    pub second: &'static str,
}

impl From<JsonError> for EncodeError {
    fn from(error: JsonError) -> Self {
        let JsonError { what, field, reason } = error;
        Self::Json { what, field, reason }
    }
}
