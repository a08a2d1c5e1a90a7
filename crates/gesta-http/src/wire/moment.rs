//! Times and moments in requests.
//!
//! Invariant: the schema of each type accepts exactly the texts that its deserialization accepts.

use gesta::{AsOf, Position, RecordedAt, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::{Schema, Schemas, wire::headers::whole_number};

/// A time with an offset (RFC 3339), of the years 1 to 8999.
///
/// ```
/// use gesta_http::Time;
///
/// let noon: Time = serde_json::from_str("\"2011-01-31T12:00:00+01:00\"")?;
/// assert_eq!(noon.0.to_string(), "2011-01-31T11:00:00Z");
/// assert!(serde_json::from_str::<Time>("\"2011-01-31\"").is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl Time {
    fn parse(text: &str) -> Option<Self> {
        // The parser accepts more than RFC 3339: short forms, other separators, zone annotations.
        // The checks match the schema's pattern and format, so that a client which validates
        // against the OpenAPI document and this server agree on every text.
        let plain = text.is_ascii() && text.len() >= "0000-00-00T00:00:00Z".len();
        let year = text.get(..4).filter(|year| year.bytes().all(|byte| byte.is_ascii_digit()));
        let in_range = year.is_some_and(|year| ("0001".."9000").contains(&year));
        let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
        let bare = !text.ends_with(']');
        text.parse().ok().filter(|_| plain && in_range && separated && bare).map(Self)
    }
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let odd = "must be a time with an offset, such as 2011-01-31T12:00:00Z";
        Self::parse(&text).ok_or_else(|| D::Error::custom(odd))
    }
}

impl Schema for Time {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "format": "date-time", "pattern": "^[0-8][0-9]{3}-" })
    }

    fn example() -> Option<Value> {
        Some(json!("2011-01-31T12:00:00Z"))
    }
}

/// A moment in the past to read at: a time, `revision:3` or `position:42`.
///
/// ```
/// use gesta::{AsOf, Revision};
/// use gesta_http::Moment;
///
/// let moment: Moment = serde_json::from_str("\"revision:3\"")?;
/// assert_eq!(moment.0, AsOf::Revision(Revision::new(3)));
/// assert!(serde_json::from_str::<Moment>("\"yesterday\"").is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub AsOf);

impl Moment {
    fn parse(text: &str) -> Option<AsOf> {
        // The prefixes are no beginnings of a time, so the forms cannot be confused.
        if let Some(revision) = text.strip_prefix("revision:") {
            return Some(AsOf::Revision(Revision::new(whole_number(revision)?)));
        }
        if let Some(position) = text.strip_prefix("position:") {
            return Some(AsOf::Position(Position::new(whole_number(position)?)));
        }
        // No store has events from before 1970, so an earlier time reads as the epoch.
        let micros = Time::parse(text)?.0.as_microsecond().try_into().unwrap_or_default();
        Some(AsOf::Time(RecordedAt::from_micros(micros)))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let odd = "must be a time such as 2011-01-31T12:00:00Z, or revision:3, or position:42";
        let moment = Self::parse(&String::deserialize(deserializer)?);
        moment.map(Self).ok_or_else(|| D::Error::custom(odd))
    }
}

impl Schema for Moment {
    fn schema(schemas: &mut Schemas) -> Value {
        let place = "^(revision|position):(0|[1-9][0-9]{0,17})$";
        let place = json!({ "type": "string", "pattern": place });
        json!({ "oneOf": [Time::schema(schemas), place] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_an_offset_and_a_year_that_can_be_counted_with() {
        for fine in ["2011-01-31T12:00:00Z", "2011-01-31t12:00:00.5+05:30", "0001-01-01T00:00:00Z"]
        {
            assert!(Time::parse(fine).is_some(), "{fine}");
        }
        for odd in
            ["2011-01-31", "2011-01-31T12:00:00", "9999-12-31T23:59:59Z", "-2011-01-31T12:00:00Z"]
        {
            assert!(Time::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_moment_has_one_spelling_of_each_number() {
        assert_eq!(Moment::parse("position:42"), Some(AsOf::Position(Position::new(42))));
        for odd in ["revision:", "revision:03", "revision:-1", "position:1234567890123456789", "3"]
        {
            assert_eq!(Moment::parse(odd), None, "{odd}");
        }
    }
}
