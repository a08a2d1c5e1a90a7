//! Members with their default values inside the JSON of a field.
//!
//! Owns: the search for them. Invariant: a member is found only if the field's type decodes the
//! JSON without it to the same value. Not here: defaults of whole fields, which the derive knows.

use serde_json::Value;

/// Maximum number of members of one field that are looked at; each costs a decoding of the field.
const MEMBERS_LOOKED_AT_MAX: usize = 64;

/// A member of a payload that has its default value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultMember {
    /// Index of the field.
    pub(super) field: usize,
    /// Steps from the field's value to the member; empty for the field itself.
    pub(super) path: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    /// Each item of an array: the items of a list have one type.
    Items,
}

impl DefaultMember {
    pub(super) const fn field(field: usize) -> Self {
        Self { field, path: Vec::new() }
    }

    /// Removes the member from the value of its field.
    pub(super) fn remove_from(&self, value: &mut Value) {
        remove(value, &self.path);
    }
}

/// Returns the members inside a field's value whose absence changes nothing for its type.
pub(super) fn inside(
    field: usize,
    value: &Value,
    renew: fn(Value) -> Option<Value>,
) -> Vec<DefaultMember> {
    let mut paths = Vec::new();
    collect(value, &mut Vec::new(), &mut paths);
    let without = |path: &[Step]| {
        let mut value = value.clone();
        remove(&mut value, path);
        value
    };
    let defaults = paths.into_iter().filter(|path| renew(without(path)).as_ref() == Some(value));
    defaults.map(|path| DefaultMember { field, path }).collect()
}

/// Collects the path of each member, once for all items of an array.
fn collect(value: &Value, path: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                path.push(Step::Key(key.clone()));
                if paths.len() < MEMBERS_LOOKED_AT_MAX && !paths.contains(path) {
                    paths.push(path.clone());
                }
                collect(member, path, paths);
                path.pop();
            }
        }
        Value::Array(items) => {
            path.push(Step::Items);
            items.iter().for_each(|item| collect(item, path, paths));
            path.pop();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn remove(value: &mut Value, path: &[Step]) {
    match (path, value) {
        ([Step::Key(key)], Value::Object(members)) => {
            members.remove(key);
        }
        ([Step::Key(key), rest @ ..], Value::Object(members)) => {
            if let Some(member) = members.get_mut(key) {
                remove(member, rest);
            }
        }
        ([Step::Items, rest @ ..], Value::Array(items)) => {
            items.iter_mut().for_each(|item| remove(item, rest));
        }
        // An item of another variant has no such member.
        (_, _) => {}
    }
}
