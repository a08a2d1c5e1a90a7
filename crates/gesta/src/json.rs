//! JSON that can be read back.
//!
//! Owns: the one way in which values become stored JSON: events, timers and commands of processes,
//! snapshots. Always holds: bytes that are returned were read back as the type that wrote them;
//! numbers that JSON lacks and values that are nested too deep for a reader are refused with the
//! path to them. Not here: which bytes are stored where.

mod guard;

use std::{cell::Cell, fmt};

use serde::{Serialize, de::DeserializeOwned};

use crate::EncodeError;
use guard::{Fault, Guard};

/// How deep arrays and objects may be nested: one level less than readers refuse.
const DEPTH_MAX: u8 = 127;

/// Why a value has no JSON form that can be read back.
///
/// ```
/// use gesta::{EncodeError, EncodedEvent, JsonFault, prelude::*};
///
/// #[derive(Event, Serialize, Deserialize, Clone)]
/// #[event(name = "measured")]
/// struct Measured {
///     value: f64,
/// }
///
/// let refused = EncodedEvent::of(&Measured { value: f64::NAN }).unwrap_err();
/// let EncodeError::Json { field, reason, .. } = refused else { unreachable!("it is no number") };
/// assert_eq!(field, "value");
/// assert!(matches!(reason, JsonFault::NotFinite { .. }));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonFault {
    /// A number that JSON lacks: NaN or an infinity. Refuse it where it is computed, or give the
    /// field a type that has a form for it, such as an `Option` or a text.
    NotFinite {
        /// The number.
        value: f64,
    },
    /// Arrays and objects are nested deeper than readers of JSON admit. Flatten the type.
    TooDeep {
        /// How deep they may be nested.
        depth_max: u8,
    },
    /// The type has no JSON form, such as a map whose keys are tuples. Fix the type.
    NotWritable(serde_json::Error),
    /// What is written is not what the type reads: its `Serialize` and `Deserialize` differ. Fix
    /// the type.
    NotReadable(serde_json::Error),
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { value } => {
                write!(f, "is {value}; a number has to be finite to be recorded as JSON")
            }
            Self::TooDeep { depth_max } => {
                write!(f, "is nested more than {depth_max} levels deep, and could not be read back")
            }
            Self::NotWritable(error) => write!(f, "has no JSON form: {error}"),
            Self::NotReadable(error) => write!(f, "could not be read back: {error}"),
        }
    }
}

/// Writes a value as JSON and proves that it can be read back.
///
/// The one function for everything that is stored as JSON and read by its type: payloads of
/// events, timers and commands of processes, states of snapshots. `what` names the value in the
/// error.
///
/// # Errors
/// [`EncodeError::Json`] with the path to the field at fault.
pub(crate) fn to_json<T: Serialize + DeserializeOwned>(
    what: &str,
    value: &T,
) -> Result<Vec<u8>, EncodeError> {
    let json = write(what, value)?;
    match serde_json::from_slice::<T>(&json) {
        Ok(_) => Ok(json),
        Err(error) => Err(not_readable::<T>(what, &json, error)),
    }
}

/// Writes a value as JSON; whether it can be read back is the caller's to prove.
pub(crate) fn write<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, EncodeError> {
    let fault = Cell::new(None);
    let mut json = Vec::with_capacity(128);
    let written = value.serialize(Guard::new(&mut serde_json::Serializer::new(&mut json), &fault));
    match written {
        Ok(()) => Ok(json),
        Err(error) => Err(not_writable(what, value, error)),
    }
}

/// The error of a value that could not be written: it is written once more, with its path.
fn not_writable<T: Serialize>(what: &str, value: &T, error: serde_json::Error) -> EncodeError {
    let fault = Cell::new(None);
    let mut json = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    let guard = Guard::new(&mut serializer, &fault);
    let again = value.serialize(serde_path_to_error::Serializer::new(guard, &mut track));
    let reason = match fault.take() {
        Some(Fault::NotFinite(value)) => JsonFault::NotFinite { value },
        Some(Fault::TooDeep) => JsonFault::TooDeep { depth_max: DEPTH_MAX },
        None => JsonFault::NotWritable(again.err().unwrap_or(error)),
    };
    EncodeError::Json { what: what.to_owned(), field: field(&track.path()), reason }
}

/// The error of JSON that its own type does not read: it is read once more, with its path.
pub(crate) fn not_readable<T: DeserializeOwned>(
    what: &str,
    json: &[u8],
    error: serde_json::Error,
) -> EncodeError {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let again = serde_path_to_error::deserialize::<_, T>(&mut reader);
    let (field, error) = match again {
        Ok(_) => (String::new(), error),
        Err(error) => (field(error.path()), error.into_inner()),
    };
    let reason = JsonFault::NotReadable(error);
    EncodeError::Json { what: what.to_owned(), field, reason }
}

/// The path as a person reads it; empty for the value as a whole.
fn field(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_none() { String::new() } else { path.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug)]
    enum Rule {
        Not(Box<Rule>),
        Is(bool),
    }

    fn nested(levels: usize) -> Rule {
        (0..levels).fold(Rule::Is(true), |inner, _| Rule::Not(Box::new(inner)))
    }

    fn refusal<T: Serialize + DeserializeOwned + fmt::Debug>(value: &T) -> String {
        to_json("thing", value).unwrap_err().to_string()
    }

    #[test]
    fn numbers_that_json_lacks_are_refused_with_their_path() {
        #[derive(Serialize, Deserialize, Debug)]
        struct Line {
            price: Option<f64>,
        }
        let lines = BTreeMap::from([("a".to_owned(), vec![Line { price: Some(f64::NAN) }])]);
        let refused = refusal(&lines);
        assert!(refused.starts_with("thing cannot be recorded: a[0].price is NaN;"), "{refused}");
        assert!(refusal(&(1.0, f32::INFINITY)).contains("[1] is inf;"));
        assert!(to_json("thing", &vec![Line { price: None }]).is_ok());
    }

    #[test]
    fn what_is_nested_as_deep_as_readers_go_is_written_and_one_level_more_refused() {
        let deepest = to_json("rule", &nested(126)).unwrap();
        assert!(serde_json::from_slice::<Rule>(&deepest).is_ok());
        assert!(refusal(&nested(127)).contains("nested more than 127 levels deep"));
    }

    #[test]
    fn a_value_nested_a_million_deep_does_not_overflow_the_stack() {
        let deep = nested(1_000_000);
        assert!(to_json("rule", &deep).is_err());
        // Its destructor would recurse as deep.
        std::mem::forget(deep);
    }

    #[test]
    fn maps_whose_keys_are_no_texts_are_refused() {
        let refused = refusal(&BTreeMap::from([((1, 2), 3)]));
        assert!(refused.contains("has no JSON form: key must be a string"), "{refused}");
    }

    #[test]
    fn a_type_that_does_not_read_what_it_writes_is_refused() {
        #[derive(Serialize, Deserialize, Debug)]
        struct Lossy {
            inner: Inner,
        }
        #[derive(Serialize, Deserialize, Debug)]
        #[expect(dead_code, reason = "only written and read")]
        struct Inner {
            #[serde(skip_serializing)]
            secret: u8,
        }
        let refused = refusal(&Lossy { inner: Inner { secret: 1 } });
        assert!(refused.contains("inner could not be read back: missing field"), "{refused}");
    }

    #[test]
    fn keys_that_a_flattened_field_writes_twice_are_refused() {
        #[derive(Serialize, Deserialize, Debug)]
        struct Twice {
            id: u8,
            #[serde(flatten)]
            rest: BTreeMap<String, u8>,
        }
        let rest = BTreeMap::from([("id".to_owned(), 2)]);
        assert!(refusal(&Twice { id: 1, rest }).contains("duplicate field"));
    }

    #[test]
    fn long_numbers_and_raw_json_are_written_as_they_are() {
        use serde_json::value::RawValue;
        let long = i128::MIN;
        assert_eq!(to_json("n", &long).unwrap(), long.to_string().into_bytes());
        let raw: Box<RawValue> = serde_json::from_str(r#"{"b":1.10,"a":1e2}"#).unwrap();
        assert_eq!(to_json("raw", &raw).unwrap(), br#"{"b":1.10,"a":1e2}"#);
    }
}
