//! One pass of serde over a request's values, whose error is the first invalid field.
//!
//! Not here: the other faults of the request ([`faults`](super::faults)).

use std::collections::HashMap;

use gesta::InvalidField;
use serde::de::{
    DeserializeOwned,
    value::{Error as ValueError, MapDeserializer},
};

use super::url_value::UrlValues;

/// Parses a complete JSON text.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, InvalidField> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // Invalid JSON has no meaningful path.
        if error.inner().is_syntax() || error.inner().is_eof() {
            return not_json(error.inner());
        }
        let message = without_place(error.inner());
        InvalidField::new(field_of(&error.path().to_string(), &message), message)
    })?;
    // Anything after the value is an error, too.
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> InvalidField {
    InvalidField::new("body", format!("is not valid JSON: {error}"))
}

/// Returns the message of an error whose field is known, so that line and column say nothing more.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).map_or_else(|| message.clone(), str::to_owned)
}

/// Parses one value of a URL; the error is its reason.
pub(super) fn of_value<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    T::deserialize(UrlValues { name: "", values: vec![value] })
        .map_err(|error: ValueError| error.to_string())
}

/// Returns the values of each name, in the order of the first ones.
pub(super) fn by_name<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>) -> Vec<UrlValues<'p>> {
    let mut groups: Vec<UrlValues<'p>> = Vec::new();
    let mut places = HashMap::new();
    for (name, value) in pairs {
        let place = *places.entry(name).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.values.push(value),
            None => groups.push(UrlValues { name, values: vec![value] }),
        }
    }
    groups
}

/// Parses parameters, each given once.
pub(super) fn of_values_once<T: DeserializeOwned>(
    groups: Vec<UrlValues<'_>>,
) -> Result<T, InvalidField> {
    let values = groups.into_iter().map(|group| (group.name, group));
    let deserializer = MapDeserializer::<_, ValueError>::new(values);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let message = error.inner().to_string();
        InvalidField::new(field_of(&error.path().to_string(), &message), message)
    })
}

/// Returns the path of an invalid field. serde's path of a missing, unknown or duplicate field ends
/// at the object, and its message names the field in backquotes.
pub(super) fn field_of(path: &str, message: &str) -> String {
    match (path, named_in(message)) {
        (".", None) => "body".to_owned(),
        (".", Some(name)) => name.to_owned(),
        (path, Some(name)) if path.rsplit('.').next() != Some(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    }
}

/// Returns the field named in serde's message.
pub(super) fn named_in(message: &str) -> Option<&str> {
    ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next())
}
