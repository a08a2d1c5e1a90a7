//! Identifiers in the operator's URLs: names, ids, states, subjects, effects, events.
//!
//! Invariant: a schema here accepts exactly the texts that deserialization accepts. An identifier
//! of the right form that names nothing is a 404 of its handler, even if nothing could have that
//! name: the limits of names are in bytes and in Unicode's classes, which no JSON schema expresses.

use gesta::{DeadLetterId, EffectId, EventId, InstanceState, Subject};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{Problem, Schema, Schemas, wire::headers::whole_number};

/// A non-empty text: the name of a projection, process manager or reactor, an instance's id, or a
/// prefix.
#[derive(Clone, Debug)]
pub(super) struct Name(pub(super) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Err(D::Error::custom("must not be empty")) } else { Ok(Self(text)) }
    }
}

impl Schema for Name {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// The id of a dead letter.
#[derive(Clone, Debug)]
pub(super) struct LetterId(pub(super) DeadLetterId);

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The last `@`: a projection's name may have some, too.
        let parts = text.rsplit_once('@').filter(|(projection, _)| !projection.is_empty());
        let position = parts.and_then(|(_, digits)| whole_number(digits));
        let id = position.and_then(|_| text.parse().ok());
        id.map(Self).ok_or_else(|| {
            D::Error::custom(format!("must be PROJECTION@POSITION, such as users@17; got `{text}`"))
        })
    }
}

impl Schema for LetterId {
    fn schema(_: &mut Schemas) -> Value {
        // `.` would exclude line breaks.
        json!({ "type": "string", "pattern": r"^[\s\S]+@(0|[1-9][0-9]{0,17})$" })
    }

    fn example() -> Option<Value> {
        Some(json!("users@17"))
    }
}

/// The state of an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateName(pub(super) InstanceState);

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            D::Error::custom(format!("must be running, troubled, ended or cancelled; got `{text}`"))
        })
    }
}

impl Schema for StateName {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "enum": ["running", "troubled", "ended", "cancelled"] })
    }
}

/// The subject of set-aside inputs.
#[derive(Clone, Debug)]
pub(super) struct SubjectName(String);

impl SubjectName {
    /// Returns the subject.
    ///
    /// # Errors
    /// A 404 for a stream name that no store accepts.
    pub(super) fn subject(&self) -> Result<Subject, Problem> {
        self.0.parse().map_err(|_| Problem::not_found("subject"))
    }
}

impl<'de> Deserialize<'de> for SubjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = text.strip_prefix("instance:").or_else(|| text.strip_prefix("stream:"));
        if name.is_some_and(|name| !name.is_empty()) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format!("must be instance:ID or stream:NAME; got `{text}`")))
    }
}

impl Schema for SubjectName {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": r"^(instance|stream):[\s\S]+$" })
    }

    fn example() -> Option<Value> {
        Some(json!("instance:ann"))
    }
}

/// The id of a timer or command: where it was decided in the instance's stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct EffectName(pub(super) EffectId);

impl<'de> Deserialize<'de> for EffectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers = text.split_once('.').and_then(|(revision, ordinal)| {
            Some(EffectId { revision: whole_number(revision)?, ordinal: whole_number(ordinal)? })
        });
        numbers.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "must be REVISION.ORDINAL, such as 3.0, each a whole number of up to 18 digits \
                 without leading zeros; got `{text}`"
            ))
        })
    }
}

impl Schema for EffectName {
    fn schema(_: &mut Schemas) -> Value {
        let number = "(0|[1-9][0-9]{0,17})";
        json!({ "type": "string", "pattern": format!(r"^{number}\.{number}$") })
    }

    fn example() -> Option<Value> {
        Some(json!("0.0"))
    }
}

/// The id of an event, as a UUID with hyphens.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventName(pub(super) EventId);

impl EventName {
    /// Length of a UUID with hyphens. The forms without them have other lengths.
    const CHARS: usize = 36;
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = if text.len() == Self::CHARS { text.parse().ok() } else { None };
        id.map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "must be an event id, such as 0192d3f0-7c1e-7000-8000-3f1c5a7b9e21; got `{text}`"
            ))
        })
    }
}

impl Schema for EventName {
    fn schema(_: &mut Schemas) -> Value {
        let hex = "[0-9a-fA-F]";
        let pattern = format!("^{hex}{{8}}-{hex}{{4}}-{hex}{{4}}-{hex}{{4}}-{hex}{{12}}$");
        json!({ "type": "string", "pattern": pattern })
    }

    fn example() -> Option<Value> {
        Some(json!("0192d3f0-7c1e-7000-8000-3f1c5a7b9e21"))
    }
}
