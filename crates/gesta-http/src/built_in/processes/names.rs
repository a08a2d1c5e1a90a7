//! Path and query values of the process managers' routes: names, ids, states, effects.

use gesta::{EffectId, InstanceState, Subject};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{Schema, Schemas};

/// The name of a process manager in a path.
#[derive(Clone, Debug)]
pub(super) struct ProcessName(pub(super) String);

impl<'de> Deserialize<'de> for ProcessName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = |letter: char| letter.is_alphanumeric() || "-_.:".contains(letter);
        if (1..=200).contains(&text.chars().count()) && text.chars().all(plain) {
            return Ok(Self(text));
        }
        Err(D::Error::custom("must be a name of 1 to 200 letters, digits, `-`, `_`, `.` and `:`"))
    }
}

impl Schema for ProcessName {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": 200 })
    }
}

/// The id of an instance, or a prefix of one.
#[derive(Clone, Debug)]
pub(super) struct InstanceId(pub(super) String);

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if (1..=1_000).contains(&text.len()) && !text.contains('\0') {
            return Ok(Self(text));
        }
        Err(D::Error::custom("must have 1 to 1,000 bytes, none of them zero"))
    }
}

impl Schema for InstanceId {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": 1_000 })
    }
}

/// Declares a URL value that is parsed with `FromStr`.
macro_rules! parsed {
    ($(#[doc = $about:literal])* $name:ident($kind:ty), $schema:expr) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub(super) struct $name(pub(super) $kind);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map(Self).map_err(D::Error::custom)
            }
        }

        impl Schema for $name {
            fn schema(_: &mut Schemas) -> Value {
                $schema
            }
        }
    };
}
parsed!(
    /// The state of an instance.
    StateName(InstanceState),
    json!({ "enum": ["running", "troubled", "ended", "cancelled"] })
);
parsed!(
    /// The subject of set-aside inputs.
    SubjectName(Subject),
    json!({ "type": "string", "pattern": "^(instance|stream):.+$" })
);
parsed!(
    /// The id of a timer or command: where it was decided in the instance's stream.
    EffectName(EffectId),
    json!({ "type": "string", "pattern": "^[0-9]{1,20}\\.[0-9]{1,20}$" })
);
