//! The contents of a process's stream: inputs with their effects, and settled commands.
//!
//! Invariant: an effect is identified by its place, the revision and the ordinal within it. All
//! references to timers and commands use this place. The stored forms are events: a change needs a
//! new version.

use std::{fmt, str::FromStr};

use gesta_store::{EventId, RecordedEvent, Revision, StreamName};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{CommandId, EncodeError, Event, EventSet, json};

/// Maximum size of event data copied into a process's stream, in bytes.
pub(super) const COPY_BYTES_MAX: usize = 64 << 10;

/// Events of a process's stream.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub(super) enum ProcessEvent {
    Reacted(ProcessReacted),
    Settled(CommandSettled),
    Cancelled(ProcessCancelled),
    Resent(CommandResent),
    TimerSkipped(TimerSkipped),
}

/// An input was handled, and these effects were decided.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-reacted")]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessReacted {
    pub(super) input: StoredInput,
    /// Handling time, in microseconds since 1970.
    pub(super) at: u64,
    pub(super) effects: Vec<StoredEffect>,
    /// Set on the first input of a run. Earlier programs did not set it: without it, a process has
    /// one run, which begins at the stream's first revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begins: Option<Begins>,
}

/// The kind of run that an input begins.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Begins {
    First,
    AfterEnd,
    AfterCancellation,
}

impl ProcessReacted {
    /// The last input that the process reacts to.
    pub(super) fn ends(&self) -> bool {
        self.effects.contains(&StoredEffect::End)
    }
}

/// A command is settled: it is not sent again, and the process does not react.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-command-settled")]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandSettled {
    pub(super) command: EffectId,
    pub(super) outcome: CommandOutcome,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum CommandOutcome {
    Executed,
    /// Refused after the end of the run that decided it.
    Refused(Refusal),
    /// Cancelled by an operator or by the definition.
    Skipped,
}

/// An operator ended the process. Timers and unsent commands are cancelled.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-cancelled")]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessCancelled {
    /// The process was running. `None` if its stream could not be read.
    pub(super) was_running: Option<bool>,
}

/// An operator sends a refused command again as a new command, whose place is this event.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-command-resent")]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandResent {
    pub(super) refused: EffectId,
    pub(super) command: String,
    pub(super) payload: Json,
}

/// A timer is cancelled by an operator or by the definition, without a reaction of the process.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-timer-skipped")]
#[serde(rename_all = "camelCase")]
pub(super) struct TimerSkipped {
    pub(super) timer: EffectId,
}

/// The reason why a command will never be executed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) reason: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum StoredInput {
    /// Contains a copy of the data, so that loading a process reads one stream only. Data beyond
    /// [`COPY_BYTES_MAX`] are stored as a reference.
    Event {
        id: String,
        position: u64,
        event_type: String,
        schema_version: u16,
        // `null` is a valid event payload, so it must not decode as a missing copy.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        data: Option<Json>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<Source>,
    },
    Timer {
        timer: EffectId,
    },
    Rejected {
        command: EffectId,
        refusal: Refusal,
    },
}

impl StoredInput {
    /// Returns whether this is a reference to the event, without a copy of its data.
    pub(super) fn refers_to(&self, event: &RecordedEvent) -> bool {
        match self {
            Self::Event { source: Some(source), data: None, id, .. } => {
                source.revision == event.revision.number()
                    && source.stream == event.stream.as_str()
                    && id.parse() == Ok(event.id)
            }
            Self::Event { .. } | Self::Timer { .. } | Self::Rejected { .. } => false,
        }
    }
}

/// Reference to an event whose data are not copied.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) stream: String,
    pub(super) revision: u64,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum StoredEffect {
    Send {
        command: String,
        payload: Json,
    },
    /// Due time, in microseconds since 1970.
    SetTimer {
        due: u64,
        timer: Json,
        /// Version of the timer's type. 1 for timers stored before versions existed.
        #[serde(default = "first_version", skip_serializing_if = "is_first")]
        version: u16,
    },
    CancelTimer {
        timer: EffectId,
    },
    End,
}

const fn first_version() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_first(version: &u16) -> bool {
    *version == 1
}

/// Identifier of an effect: its revision in the instance's stream, and its ordinal there.
///
/// Timers and commands are identified by it.
///
/// ```
/// use gesta::EffectId;
///
/// let id: EffectId = "3.1".parse()?;
/// assert_eq!(id, EffectId { revision: 3, ordinal: 1 });
/// assert_eq!(id.to_string(), "3.1");
/// # Ok::<(), gesta::ParseEffectIdError>(())
/// ```
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// Revision in the instance's stream.
    pub revision: u64,
    /// Ordinal among the effects decided at this revision, from 0.
    pub ordinal: u64,
}

/// The text is not a valid [`EffectId`].
///
/// ```
/// let error = "three".parse::<gesta::EffectId>().unwrap_err();
/// assert!(error.to_string().starts_with("`three` is not an effect id; expected REVISION"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an effect id; expected REVISION.ORDINAL, such as `3.0`")]
#[non_exhaustive]
pub struct ParseEffectIdError {
    /// The rejected text.
    pub text: String,
}

impl FromStr for EffectId {
    type Err = ParseEffectIdError;

    fn from_str(text: &str) -> Result<Self, ParseEffectIdError> {
        let none = || ParseEffectIdError { text: text.to_owned() };
        let (revision, ordinal) = text.split_once('.').ok_or_else(none)?;
        let number = |text: &str| text.parse().map_err(|_| none());
        Ok(Self { revision: number(revision)?, ordinal: number(ordinal)? })
    }
}

impl EffectId {
    pub(super) fn at(revision: Revision, ordinal: usize) -> Self {
        let ordinal = u64::try_from(ordinal).expect("a count has at most 64 bits");
        Self { revision: revision.number(), ordinal }
    }

    /// Returns the id of the command decided here. The same on every attempt, so a repeat is
    /// recognised.
    pub(super) fn command_id(self, stream: &StreamName) -> CommandId {
        let id = EventId::derived_from(&format!("{stream}@{}", self.revision), self.ordinal);
        CommandId::new(id.to_string()).expect("a UUID's text is a command id")
    }

    /// Returns the id of the event that settles the command.
    pub(super) fn settled_id(self, stream: &StreamName) -> EventId {
        EventId::derived_from(&format!("{stream}@{} settled", self.revision), self.ordinal)
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.ordinal)
    }
}

/// JSON as it was written, with all digits of its numbers.
#[derive(Serialize, Deserialize, Clone)]
#[serde(transparent)]
pub(super) struct Json(Box<RawValue>);

impl Json {
    /// Encodes a command or a timer as JSON.
    ///
    /// # Errors
    /// [`EncodeError::Json`] if the value has no JSON form that can be decoded: a map with keys
    /// other than strings, a non-finite number, or values nested too deep.
    pub(super) fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self, EncodeError> {
        let what = std::any::type_name::<T>();
        let bytes = json::to_json(what, value)?;
        Self::parse(&bytes).map_err(|error| json::not_readable::<T>(what, &bytes, error).into())
    }

    /// Wraps JSON from another source.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }

    pub(super) fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_the_one_that_stored_processes_have() {
        let timer = EffectId { revision: 3, ordinal: 1 };
        let reacted = ProcessReacted {
            input: StoredInput::Timer { timer },
            at: 7,
            effects: vec![
                StoredEffect::Send {
                    command: "ship".to_owned(),
                    payload: Json::parse(br#"{"price":1.10}"#).unwrap(),
                },
                StoredEffect::SetTimer {
                    due: 8,
                    timer: Json::of(&"again".to_owned()).unwrap(),
                    version: 1,
                },
                StoredEffect::CancelTimer { timer },
                StoredEffect::End,
            ],
            begins: None,
        };
        let json = concat!(
            r#"{"input":{"timer":{"timer":{"revision":3,"ordinal":1}}},"at":7,"effects":["#,
            r#"{"send":{"command":"ship","payload":{"price":1.10}}},"#,
            r#"{"setTimer":{"due":8,"timer":"again"}},"#,
            r#"{"cancelTimer":{"timer":{"revision":3,"ordinal":1}}},"end"]}"#,
        );
        assert_eq!(serde_json::to_string(&reacted).unwrap(), json);
        assert_eq!(serde_json::from_str::<ProcessReacted>(json).unwrap(), reacted);
    }

    #[test]
    fn a_copy_that_the_version_before_wrote_is_read_also_where_it_is_null() {
        let json =
            r#"{"event":{"id":"x","position":7,"eventType":"t","schemaVersion":1,"data":null}}"#;
        let read: StoredInput = serde_json::from_str(json).unwrap();
        let StoredInput::Event { data, source, .. } = &read else { panic!("it is an event") };
        assert_eq!((data.as_ref().unwrap().text(), source), ("null", &None));
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }

    #[test]
    fn what_cannot_be_read_again_is_not_written() {
        assert!(Json::of(&f64::NAN).is_err());
        assert!(Json::of(&Some(f64::NAN)).is_err());
        assert!(Json::of(&f32::INFINITY).is_err());
        assert!(Json::of(&std::collections::BTreeMap::from([((1, 2), 3)])).is_err());
        assert_eq!(Json::of(&1.10_f64).unwrap().text(), "1.1");
    }

    #[test]
    fn each_effect_has_a_command_id_of_its_own_for_ever() {
        let stream = |name: &str| StreamName::new(name).unwrap();
        let id = |revision, ordinal| EffectId { revision, ordinal };
        let known = id(1, 0).command_id(&stream("process:welcome-ann"));
        assert_eq!(known, id(1, 0).command_id(&stream("process:welcome-ann")));
        for other in [
            id(1, 1).command_id(&stream("process:welcome-ann")),
            id(2, 0).command_id(&stream("process:welcome-ann")),
            id(1, 0).command_id(&stream("process:welcome-bob")),
        ] {
            assert_ne!(known, other);
        }
    }
}
