//! Places and directions of reads in query strings.

use gesta::{
    StreamName,
    store::{Category, Direction, RecordedAt},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{
    Schema, Schemas, Time,
    wire::headers::{position_schema, whole_number},
};

/// A position or a revision: a whole number of up to 18 digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(pub(super) u64);

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let odd = || {
            let wanted = "must be a whole number of up to 18 digits, without leading zeros";
            D::Error::custom(format!("{wanted}; got `{text}`"))
        };
        whole_number(&text).map(Self).ok_or_else(odd)
    }
}

impl Schema for Place {
    fn schema(_: &mut Schemas) -> Value {
        position_schema()
    }
}

/// A name of a stream, or a beginning of one: not empty, and without zero bytes.
#[derive(Clone, Debug)]
pub(super) struct StreamText(pub(super) String);

impl<'de> Deserialize<'de> for StreamText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_short = (1..=StreamName::BYTES_MAX).contains(&text.chars().count());
        if is_short && !text.contains('\0') {
            return Ok(Self(text));
        }
        let most = StreamName::BYTES_MAX;
        Err(D::Error::custom(format!("must have 1 to {most} characters, and no zero byte")))
    }
}

impl Schema for StreamText {
    fn schema(_: &mut Schemas) -> Value {
        name_schema(StreamName::BYTES_MAX, ZERO)
    }
}

/// The name of a category.
#[derive(Clone, Debug)]
pub(super) struct CategoryText(pub(super) Category);

impl<'de> Deserialize<'de> for CategoryText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Category::new(text).map(Self).map_err(D::Error::custom)
    }
}

impl Schema for CategoryText {
    fn schema(_: &mut Schemas) -> Value {
        name_schema(Category::BYTES_MAX, DASH)
    }
}

/// Characters that no stream's name has, for a regular expression's class.
pub(super) const ZERO: &str = r"\u0000";
/// Characters that no event type and no tag has.
pub(super) const CONTROL: &str = r"\u0000-\u001F\u007F-\u009F";
/// Characters that no category has.
pub(super) const DASH: &str = r"\u0000-\u001F\u007F-\u009F\-";

/// Returns the schema of a name without some characters. The limits are in bytes of UTF-8, but a
/// schema counts characters: a long name that is not ASCII may pass the schema and be refused.
pub(super) fn name_schema(bytes_max: usize, except: &str) -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": bytes_max,
        "pattern": format!("^[^{except}]+$"),
    })
}

/// The direction of a read.
#[derive(Deserialize, Schema, Clone, Copy, Debug)]
pub(super) enum Towards {
    #[serde(rename = "forwards")]
    Later,
    #[serde(rename = "backwards")]
    Earlier,
}

/// Returns the direction that was asked for: towards later events if none was.
pub(super) fn direction(towards: Option<Towards>) -> Direction {
    match towards {
        None | Some(Towards::Later) => Direction::Forwards,
        Some(Towards::Earlier) => Direction::Backwards,
    }
}

/// Returns a time as stores count. Times before 1970 read as the epoch.
pub(super) fn recorded_from(Time(time): Time) -> RecordedAt {
    RecordedAt::from_micros(time.as_microsecond().try_into().unwrap_or_default())
}
