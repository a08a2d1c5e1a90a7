//! Values between JSON and GraphQL, by their [`Shape`].
//!
//! Invariant: only what a query selects is converted; the rest of an answer is borrowed.

use async_graphql::{Name, Value as GraphValue, dynamic::FieldValue};
use serde_json::{Map, Value};

use crate::types::{ObjectField, Shape, TypeBook, Typed};

/// Returns a member of an answer as the value of its field, or `None` for null.
pub(crate) fn shown<'v>(value: &'v Value, shape: &Shape) -> Option<FieldValue<'v>> {
    if value.is_null() {
        return None;
    }
    Some(match shape {
        Shape::Object(_) => FieldValue::borrowed_any(value),
        Shape::List(items) => list(value, items),
        _ => FieldValue::value(leaf(value, shape)),
    })
}

/// Returns a whole answer as the value of its field, or `None` for null.
pub(crate) fn owned(value: Value, shape: &Shape) -> Option<FieldValue<'static>> {
    match (shape, value) {
        (_, Value::Null) => None,
        (Shape::List(items), Value::Array(values)) => {
            let owned = |value| owned(value, &items.shape).unwrap_or(FieldValue::NULL);
            Some(FieldValue::list(values.into_iter().map(owned)))
        }
        (Shape::Object(_), value) => Some(FieldValue::owned_any(value)),
        (_, value) => Some(FieldValue::value(leaf(&value, shape))),
    }
}

/// Returns a value without a selection.
fn leaf(value: &Value, shape: &Shape) -> GraphValue {
    match shape {
        Shape::Enum(of) => {
            let text = value.as_str().unwrap_or_default();
            let item = of.items.iter().find(|(_, json)| json == text);
            GraphValue::Enum(Name::new(item.map_or(text, |(name, _)| name)))
        }
        Shape::Position => position_number(value),
        _ => graph_value(value),
    }
}

fn list<'v>(value: &'v Value, items: &Typed) -> FieldValue<'v> {
    let values = value.as_array().into_iter().flatten();
    let shown = |value: &'v Value| shown(value, &items.shape).unwrap_or(FieldValue::NULL);
    FieldValue::list(values.map(shown))
}

/// Returns a position in JSON, a text of digits, as a number.
fn position_number(value: &Value) -> GraphValue {
    let number = value.as_str().and_then(|text| text.parse::<u64>().ok());
    number.map_or_else(|| graph_value(value), GraphValue::from)
}

fn graph_value(value: &Value) -> GraphValue {
    // Fails for nothing that `serde_json` has read.
    GraphValue::from_json(value.clone()).unwrap_or_default()
}

/// Returns an argument as JSON.
pub(crate) fn given(value: &GraphValue, shape: &Shape, book: &TypeBook) -> Value {
    match (shape, value) {
        (Shape::Enum(of), GraphValue::Enum(name)) => {
            let item = of.items.iter().find(|(known, _)| known == name.as_str());
            item.map_or(Value::Null, |(_, json)| Value::String(json.clone()))
        }
        // A variable has its items as texts.
        (Shape::Enum(of), GraphValue::String(name)) => {
            let item = of.items.iter().find(|(known, _)| known == name);
            item.map_or(Value::Null, |(_, json)| Value::String(json.clone()))
        }
        (Shape::List(items), GraphValue::List(values)) => {
            values.iter().map(|value| given(value, &items.shape, book)).collect()
        }
        // A single value stands for a list with it (GraphQL, section 3.11).
        (Shape::List(items), single) if *single != GraphValue::Null => {
            Value::Array(vec![given(single, &items.shape, book)])
        }
        (Shape::Object(name), GraphValue::Object(values)) => {
            let fields = book.inputs.get(name).map(|object| object.fields.as_slice());
            let mut members = Map::new();
            for (name, value) in values {
                if let Some(field) = field_named(fields.unwrap_or_default(), name.as_str()) {
                    members.insert(field.member.clone(), given(value, &field.typed.shape, book));
                }
            }
            Value::Object(members)
        }
        (Shape::Long | Shape::Int, GraphValue::String(digits)) => {
            digits.parse::<i128>().map_or_else(
                |_| digits.clone().into(),
                |number| serde_json::Number::from_i128(number).map_or(Value::Null, Value::Number),
            )
        }
        (Shape::Position, GraphValue::Number(number)) => number.to_string().into(),
        (_, value) => value.clone().into_json().unwrap_or_default(),
    }
}

fn field_named<'f>(fields: &'f [ObjectField], name: &str) -> Option<&'f ObjectField> {
    fields.iter().find(|field| field.name == name)
}

/// Returns whether a value is a [`LONG`](crate::types::LONG): a whole number of 64 bits, or its
/// digits as a text.
pub(crate) fn is_long(value: &GraphValue) -> bool {
    match value {
        GraphValue::Number(number) => number.is_i64() || number.is_u64(),
        GraphValue::String(digits) => {
            digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok()
        }
        _ => false,
    }
}
