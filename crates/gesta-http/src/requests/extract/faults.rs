//! Collects all faults of a request, not only the first one.
//!
//! serde stops at the first fault. The collector records it, removes the faulty value and
//! deserializes the rest again, until it succeeds or nothing can be removed. Missing fields come
//! from the schema.
//!
//! Invariant: the first fault is the one that deserializing the unchanged request reports.

use gesta::InvalidField;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::{
    parsing::{field_of, named_in, of_values_once},
    url_value::UrlValues,
};
use crate::{Fields, Schema, Schemas};

/// Maximum number of faults reported for one request.
const FAULTS_MAX: usize = 20;

/// Maximum size of a body that is searched for further faults: each costs one more pass.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Returns the faults of a body: the first one, then all others.
pub(super) fn of_body<T: DeserializeOwned + Schema>(
    json: &[u8],
    first: InvalidField,
) -> Vec<InvalidField> {
    let mut faults = Faults::new(first);
    if json.len() > BODY_BYTES_MAX {
        return faults.all;
    }
    // A body that is not JSON has no further faults.
    let Ok(mut rest) = serde_json::from_slice::<Value>(json) else { return faults.all };
    let whole = rest.clone();
    // Each pass finds one fault and removes its value.
    while faults.all.len() < FAULTS_MAX {
        let Err(error) = serde_path_to_error::deserialize::<_, T>(&rest) else { break };
        if !faults.remove(&mut rest, error.path(), &error.inner().to_string()) {
            break;
        }
    }
    // serde reports a missing field only once nothing before it fails; the schema knows all.
    let mut schemas = Schemas::default();
    let schema = T::schema(&mut schemas);
    RequiredFields { schemas: schemas.into_json() }.missing(&whole, &schema, "", &mut faults);
    faults.all
}

/// Returns the faults of parameters, checking the values of each name alone.
pub(super) fn of_parameters<T: DeserializeOwned + Fields>(
    groups: &[UrlValues<'_>],
    first: InvalidField,
) -> Vec<InvalidField> {
    let mut faults = Faults::new(first);
    for group in groups {
        let Err(fault) = of_values_once::<T>(vec![group.clone()]) else { continue };
        if !fault.reason.starts_with(MISSING) {
            faults.add(fault);
        }
    }
    let fields = T::fields(&mut Schemas::default());
    for field in fields.iter().filter(|field| field.required) {
        if !groups.iter().any(|group| group.name == field.name) {
            faults.add(missing(&field.name, &field.name));
        }
    }
    faults.all
}

const MISSING: &str = "missing field `";

fn missing(field: &str, name: &str) -> InvalidField {
    InvalidField::new(field, format!("{MISSING}{name}`"))
}

/// The faults found so far, and the values removed because of them.
struct Faults {
    all: Vec<InvalidField>,
    /// Paths of the removed values, in the unchanged request.
    removed: Vec<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Faults {
    fn new(first: InvalidField) -> Self {
        Self { all: vec![first], removed: Vec::new() }
    }

    fn add(&mut self, fault: InvalidField) {
        let known = self.all.iter().any(|known| known.field == fault.field);
        if !known && self.all.len() < FAULTS_MAX {
            self.all.push(fault);
        }
    }

    /// Records a fault and removes its value from `rest`. Returns `false` if nothing was removed.
    fn remove(&mut self, rest: &mut Value, path: &Path, message: &str) -> bool {
        // serde's path of an unknown or duplicate field ends at its object: add the field.
        let mut steps = steps(path);
        if let Some(name) = named_in(message)
            && !message.starts_with(MISSING)
            && steps.last() != Some(&Step::Key(name.to_owned()))
        {
            steps.push(Step::Key(name.to_owned()));
        }
        let original = self.original(&steps);
        // A parent that fails only because a value was removed from it is not at fault.
        let is_artifact = self.removed.iter().any(|path| path.starts_with(&original));
        if !is_artifact {
            self.add(InvalidField::new(field_of(&shown(&original), message), message));
        }
        let Some((last, container)) = steps.split_last() else { return false };
        let found = container.iter().try_fold(rest, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        });
        let removed = match (found, last) {
            (Some(Value::Object(members)), Step::Key(key)) => members.remove(key).is_some(),
            (Some(Value::Array(elements)), Step::Index(index)) if *index < elements.len() => {
                elements.remove(*index);
                true
            }
            _ => false,
        };
        self.removed.push(original);
        removed
    }

    /// Returns the path in the unchanged request: removed elements have shifted later indices.
    fn original(&self, steps: &[Step]) -> Vec<Step> {
        let mut original: Vec<Step> = Vec::with_capacity(steps.len());
        for step in steps {
            let Step::Index(index) = step else {
                original.push(step.clone());
                continue;
            };
            let of_this_list = |path: &&Vec<Step>| {
                path.split_last().is_some_and(|(_, container)| container == original)
            };
            let mut gone: Vec<usize> = self
                .removed
                .iter()
                .filter(of_this_list)
                .filter_map(|path| match path.last() {
                    Some(Step::Index(index)) => Some(*index),
                    Some(Step::Key(_)) | None => None,
                })
                .collect();
            // In ascending order, each removed element before the index shifts it by one.
            gone.sort_unstable();
            let index = gone.into_iter().fold(*index, |at, gone| at + usize::from(gone <= at));
            original.push(Step::Index(index));
        }
        original
    }
}

fn steps(path: &Path) -> Vec<Step> {
    let known = path.iter().map_while(|segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    known.collect()
}

/// Formats a path as in a problem's `field`: `orderItems[1].quantity`.
fn shown(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
        }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

/// The required fields of a request's objects, by their schemas.
struct RequiredFields {
    schemas: Value,
}

impl RequiredFields {
    fn missing(&self, value: &Value, schema: &Value, path: &str, faults: &mut Faults) {
        let schema = self.resolved(schema);
        match value {
            Value::Object(members) => {
                let required = schema["required"].as_array().into_iter().flatten();
                for name in required.filter_map(Value::as_str) {
                    if !members.contains_key(name) {
                        faults.add(missing(&under(path, name), name));
                    }
                }
                for (name, value) in members {
                    let properties = schema.get("properties");
                    let schema = properties.and_then(|all| all.get(name)).unwrap_or(&Value::Null);
                    self.missing(value, schema, &under(path, name), faults);
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    self.missing(value, &schema["items"], &format!("{path}[{index}]"), faults);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Follows references, and unwraps nullable schemas.
    fn resolved<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        // Bounds a cycle of references.
        const DEPTH_MAX: usize = 8;
        for _ in 0..DEPTH_MAX {
            let reference = schema["$ref"].as_str().and_then(|text| text.rsplit('/').next());
            let may_be_null = schema.pointer("/anyOf/1/type").is_some_and(|kind| kind == "null");
            schema = match (reference, may_be_null) {
                (Some(name), _) => self.schemas.get(name).unwrap_or(&Value::Null),
                (None, true) => schema.pointer("/anyOf/0").unwrap_or(&Value::Null),
                (None, false) => return schema,
            };
        }
        schema
    }
}

fn under(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
