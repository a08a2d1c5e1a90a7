//! Receipts: durable records of decisions without events.
//!
//! Owns the stream [`STREAM`] and its one event type. A command with a caller's id and without
//! events appends a receipt, in the same append that checks its reads. The receipt has the id of
//! the command's first event, so a repeat is found like any other. A rejection leaves a receipt if
//! the application remembers rejections of the command. The cost is one event of about 300 bytes
//! for each such command; a `$maxAge` on the stream limits their number, once scavenged. Not here:
//! the lookup of the first execution.

use std::{collections::HashMap, fmt};

use gesta_store::{Appended, RecordedEvent, Revision, StreamName};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Value;

use super::CommandRequest;
use crate::{
    AnyRejection, CommandError, DecodeError, EncodedEvent, Event, EventSet, Receipt, Rejection,
    UndecodableEvent, event::decode_recorded,
};

/// Name of the stream of receipts.
const STREAM: &str = "receipts-commands";

/// The answer to a command without events.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[event(name = "command-answered")]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandAnswered {
    /// Heads of the streams that the command decided on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<JudgedHead>,
    /// The rejection as JSON, if the command was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejection: Option<String>,
}

/// Head of one stream.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct JudgedHead {
    stream: String,
    revision: u64,
}

/// Returns the name of the stream of receipts.
pub(super) fn stream() -> StreamName {
    StreamName::new(STREAM).expect("the stream of the receipts has a valid name")
}

#[derive(EventSet, Clone, Debug, PartialEq, Eq)]
enum ReceiptEvent {
    Answered(CommandAnswered),
}

impl CommandAnswered {
    /// Creates the answer of a decision on these heads.
    pub(super) fn at(heads: &[(StreamName, Revision)]) -> Self {
        let head = |(stream, revision): &(StreamName, Revision)| JudgedHead {
            stream: stream.to_string(),
            revision: revision.number(),
        };
        Self { heads: heads.iter().map(head).collect(), rejection: None }
    }

    pub(super) fn rejected(self, rejection: &Value) -> Self {
        Self { rejection: Some(rejection.to_string()), ..self }
    }

    pub(super) fn encode(self) -> Result<EncodedEvent, CommandError> {
        Ok(ReceiptEvent::Answered(self).encode()?)
    }

    /// Decodes the answer from an event, or returns `None` if it is not a receipt.
    ///
    /// # Errors
    /// [`CommandError::Undecodable`] if it is a receipt that does not decode.
    pub(super) fn of(event: &RecordedEvent) -> Result<Option<Self>, CommandError> {
        // The command's append had events, so its last event is one of them.
        if event.stream.as_str() != STREAM {
            return Ok(None);
        }
        match decode_recorded::<ReceiptEvent>(event) {
            Ok(ReceiptEvent::Answered(answered)) => Ok(Some(answered)),
            Err(error) => Err(CommandError::Undecodable(error.of(event))),
        }
    }

    fn heads(&self) -> Vec<(StreamName, Revision)> {
        let head = |head: &JudgedHead| {
            let stream = StreamName::new(head.stream.as_str()).ok()?;
            Some((stream, Revision::new(head.revision)))
        };
        self.heads.iter().filter_map(head).collect()
    }

    /// Returns the recorded answer.
    ///
    /// # Errors
    /// The recorded rejection.
    pub(super) fn again(
        &self,
        request: &CommandRequest,
        event: &RecordedEvent,
        remembered: &RememberedRejections,
    ) -> Result<Receipt, CommandError> {
        let Some(rejection) = &self.rejection else {
            let command_id = request.context.command_id.clone();
            let answered = Appended::new(event.position, Vec::new()).earlier();
            return Ok(Receipt::without_events(command_id, answered, self.heads()));
        };
        match remembered.read(request.name(), rejection) {
            Ok(rejection) => Err(CommandError::Rejected(rejection)),
            Err(source) => Err(CommandError::Undecodable(unreadable(event, source))),
        }
    }
}

fn unreadable(event: &RecordedEvent, source: serde_json::Error) -> UndecodableEvent {
    let (event_type, version) = (event.event_type.to_string(), event.schema_version);
    DecodeError::BadPayload { event_type, version, source }.of(event)
}

/// The commands with remembered rejections, by name.
#[derive(Clone, Default)]
pub(crate) struct RememberedRejections(HashMap<&'static str, Codec>);

#[derive(Clone, Copy)]
struct Codec {
    write: fn(&AnyRejection) -> Option<Value>,
    read: fn(&str) -> Result<AnyRejection, serde_json::Error>,
}

impl RememberedRejections {
    /// Adds a command.
    pub(crate) fn insert<R: Rejection + Serialize + DeserializeOwned>(
        &mut self,
        command: &'static str,
    ) {
        // Functions instead of type parameters, so that commands of all types share one table.
        let write = |any: &AnyRejection| serde_json::to_value(any.downcast_ref::<R>()?).ok();
        let read = |json: &str| serde_json::from_str::<R>(json).map(AnyRejection::new);
        self.0.insert(command, Codec { write, read });
    }

    /// Encodes a rejection as JSON, if the command's rejections are remembered.
    pub(super) fn write(&self, command: &str, rejection: &AnyRejection) -> Option<Value> {
        (self.0.get(command)?.write)(rejection)
    }

    fn read(&self, command: &str, json: &str) -> Result<AnyRejection, serde_json::Error> {
        // Another decision might accept the command, although its caller was told that it is
        // rejected.
        let Some(codec) = self.0.get(command) else {
            let reason = format!("the application no longer remembers rejections of {command}");
            return Err(serde_json::Error::custom(reason));
        };
        (codec.read)(json)
    }
}

impl fmt::Debug for RememberedRejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
