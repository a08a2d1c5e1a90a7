//! What stands in a process's stream: its inputs with their effects, and which commands are done.
//!
//! Always holds: an effect is known by its place, the revision and its ordinal there; whatever
//! speaks of a timer or of a command names that place. The stored forms are events like any other:
//! a change needs a new version of them.

use std::{fmt, str::FromStr};

use gesta_store::{EventId, Revision, StreamName};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{CommandId, EncodeError, Event, EventSet, json};

/// The most bytes of an event's data that a process's stream has a copy of.
pub(super) const COPY_BYTES_MAX: usize = 64 << 10;

/// What stands in a process's stream.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub(super) enum ProcessEvent {
    Reacted(ProcessReacted),
    Settled(CommandSettled),
    Cancelled(ProcessCancelled),
    Resent(CommandResent),
    TimerSkipped(TimerSkipped),
}

/// An input was handled, and these effects were decided upon it.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-reacted")]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessReacted {
    pub(super) input: StoredInput,
    /// When, in microseconds since 1970.
    pub(super) at: u64,
    pub(super) effects: Vec<StoredEffect>,
    /// Set on the first input of a life. The programs before this field did not set it: there, a
    /// process has one life, which begins at the stream's first revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begins: Option<Begins>,
}

/// Which life of a process begins.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Begins {
    First,
    AfterEnd,
    AfterCancellation,
}

impl ProcessReacted {
    /// Whether it is the last that the process reacts to.
    pub(super) fn ends(&self) -> bool {
        self.effects.contains(&StoredEffect::End)
    }
}

/// A command of the process needs no sending any more, and no reaction.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-command-settled")]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandSettled {
    pub(super) command: EffectId,
    pub(super) outcome: Outcome,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    Executed,
    /// Refused after the life of the process had ended that it was decided in.
    Refused(Refusal),
    /// Not to be sent any more, as an operator or the definition says.
    Skipped,
}

/// An operator ended the process: its timers are cancelled, its commands are not sent any more.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-cancelled")]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessCancelled {
    /// Whether it was running before; unknown where its stream could not be read.
    pub(super) was_running: Option<bool>,
}

/// An operator has a command sent again that was refused, as a new command: its place is here.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-command-resent")]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandResent {
    pub(super) refused: EffectId,
    pub(super) command: String,
    pub(super) payload: Json,
}

/// A timer is not pending any more, though the process did not react to it: so an operator or the
/// definition says.
#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "process-timer-skipped")]
#[serde(rename_all = "camelCase")]
pub(super) struct TimerSkipped {
    pub(super) timer: EffectId,
}

/// Why a command will never be executed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) reason: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum StoredInput {
    /// With a copy of the data, so that a process needs no stream but its own; beyond
    /// [`COPY_BYTES_MAX`] with a reference, by which the event is read again.
    Event {
        id: String,
        position: u64,
        event_type: String,
        schema_version: u16,
        // JSON's `null` is data of an event, and not the absence of a copy.
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

/// The place of an event whose data are not copied.
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
    /// When it is due, in microseconds since 1970.
    SetTimer {
        due: u64,
        timer: Json,
        /// The version of the timer's type; of timers from before there were versions, 1.
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

/// The place of an effect: the revision in the instance's stream, and which effect there. Timers
/// and commands are known by it.
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
    /// The revision in the instance's stream.
    pub revision: u64,
    /// The place among the effects that were decided there, from 0.
    pub ordinal: u64,
}

/// A text that is no [`EffectId`].
///
/// ```
/// let error = "three".parse::<gesta::EffectId>().unwrap_err();
/// assert_eq!(error.to_string(), "`three` is no revision, `.` and an ordinal, such as `3.0`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no revision, `.` and an ordinal, such as `3.0`")]
pub struct ParseEffectIdError {
    /// The text.
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

    /// The id of the command that was decided here: the same each time that it is sent.
    pub(super) fn command_id(self, stream: &StreamName) -> CommandId {
        let id = EventId::derived_from(&format!("{stream}@{}", self.revision), self.ordinal);
        CommandId::new(id.to_string()).expect("a UUID's text is a command id")
    }

    /// The id of the event that says that the command needs no sending any more.
    pub(super) fn settled_id(self, stream: &StreamName) -> EventId {
        EventId::derived_from(&format!("{stream}@{} settled", self.revision), self.ordinal)
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.ordinal)
    }
}

/// JSON as it was written, down to the last digit of its numbers.
#[derive(Serialize, Deserialize, Clone)]
#[serde(transparent)]
pub(super) struct Json(Box<RawValue>);

impl Json {
    /// The JSON form of a command or a timer.
    ///
    /// # Errors
    /// [`EncodeError::Json`] when it has none that can be read back: a map whose keys are no texts,
    /// a number that is not finite, values nested too deep.
    pub(super) fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<Self, EncodeError> {
        let what = std::any::type_name::<T>();
        let bytes = json::to_json(what, value)?;
        Self::parse(&bytes).map_err(|error| json::not_readable::<T>(what, &bytes, error))
    }

    /// JSON that comes from elsewhere.
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
