//! JSON that its own type can decode.
//!
//! Owns: the encoding of everything stored as JSON: events, timers and commands of processes,
//! snapshots. Invariant: returned data has been decoded by the type that encoded it; non-finite
//! numbers and values nested deeper than readers accept are rejected with their path. Not here:
//! storage of the data.

mod guard;

use std::{cell::Cell, fmt};

use serde::{Serialize, de::DeserializeOwned};

use guard::{DEPTH_MAX, Guard, GuardFault};

/// The reason for which a value has no JSON form that can be decoded.
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
    /// A number that JSON lacks: NaN or an infinity. Reject it where it is computed, or give the
    /// field a type that represents it, such as an `Option` or a text.
    NotFinite {
        /// The number.
        value: f64,
    },
    /// Arrays and objects are nested deeper than JSON readers accept. Flatten the type.
    TooDeep {
        /// Maximum nesting.
        depth_max: u8,
    },
    /// The type has no JSON form, such as a map with tuples as keys. Fix the type.
    NotWritable(serde_json::Error),
    /// The type does not decode its own output: its `Serialize` and `Deserialize` differ. Fix the
    /// type.
    NotReadable(serde_json::Error),
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { value } => {
                write!(f, "is {value}; a number must be finite to be recorded as JSON")
            }
            Self::TooDeep { depth_max } => {
                write!(
                    f,
                    "is nested more than {depth_max} levels deep, which is too deep to decode"
                )
            }
            Self::NotWritable(error) => write!(f, "has no JSON form: {error}"),
            Self::NotReadable(error) => write!(f, "would not decode again: {error}"),
        }
    }
}

/// A value without a JSON form that can be decoded.
#[derive(Debug)]
pub(crate) struct JsonError {
    /// Name of the value.
    pub(crate) what: String,
    /// Path of the field at fault; empty for the value as a whole.
    pub(crate) field: String,
    pub(crate) reason: JsonFault,
}

/// Encodes a value as JSON and checks that the result decodes.
///
/// Used for all data that is stored as JSON and decoded by its type: payloads of events, timers and
/// commands of processes, states of snapshots. `what` names the value in the error.
///
/// # Errors
/// [`JsonError`] with the path of the field at fault.
pub(crate) fn to_json<T: Serialize + DeserializeOwned>(
    what: &str,
    value: &T,
) -> Result<Vec<u8>, JsonError> {
    let json = write(what, value)?;
    match serde_json::from_slice::<T>(&json) {
        Ok(_) => Ok(json),
        Err(error) => Err(not_readable::<T>(what, &json, error)),
    }
}

/// Encodes a value as JSON. The caller checks that the result decodes.
pub(crate) fn write<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, JsonError> {
    let fault = Cell::new(None);
    let mut json = Vec::with_capacity(128);
    let written = value.serialize(Guard::new(&mut serde_json::Serializer::new(&mut json), &fault));
    match written {
        Ok(()) => Ok(json),
        Err(error) => Err(not_writable(what, value, error)),
    }
}

/// Returns the error of a value that failed to encode, encoding it again to find the path.
fn not_writable<T: Serialize>(what: &str, value: &T, error: serde_json::Error) -> JsonError {
    let fault = Cell::new(None);
    let mut json = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let mut serializer = serde_json::Serializer::new(&mut json);
    let guard = Guard::new(&mut serializer, &fault);
    // Paths are tracked only on failure, since tracking slows encoding down.
    let again = value.serialize(serde_path_to_error::Serializer::new(guard, &mut track));
    let reason = match fault.take() {
        Some(GuardFault::NotFinite(value)) => JsonFault::NotFinite { value },
        Some(GuardFault::TooDeep) => JsonFault::TooDeep { depth_max: DEPTH_MAX },
        None => JsonFault::NotWritable(again.err().unwrap_or(error)),
    };
    JsonError { what: what.to_owned(), field: field(&track.path()), reason }
}

/// Returns the error of JSON that failed to decode, decoding it again to find the path.
pub(crate) fn not_readable<T: DeserializeOwned>(
    what: &str,
    json: &[u8],
    error: serde_json::Error,
) -> JsonError {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let again = serde_path_to_error::deserialize::<_, T>(&mut reader);
    let (field, error) = match again {
        Ok(_) => (String::new(), error),
        Err(error) => (field(error.path()), error.into_inner()),
    };
    let reason = JsonFault::NotReadable(error);
    JsonError { what: what.to_owned(), field, reason }
}

/// Formats a path; empty for the value as a whole.
fn field(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_none() { String::new() } else { path.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::EncodeError;

    #[derive(Serialize, Deserialize, Debug)]
    enum Rule {
        Not(Box<Rule>),
        Is(bool),
    }

    fn nested(levels: usize) -> Rule {
        (0..levels).fold(Rule::Is(true), |inner, _| Rule::Not(Box::new(inner)))
    }

    fn refusal<T: Serialize + DeserializeOwned + fmt::Debug>(value: &T) -> String {
        EncodeError::from(to_json("thing", value).unwrap_err()).to_string()
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
        assert!(refused.contains("inner would not decode again: missing field"), "{refused}");
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
