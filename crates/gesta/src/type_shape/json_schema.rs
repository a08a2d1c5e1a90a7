//! JSON schemas of traced types.
//!
//! Invariant: a schema accepts every value that the type reads without a default, and every value
//! that it writes if it reads what it writes. Parts that cannot be traced accept anything, as do
//! places inside of themselves in types that contain themselves.
//!
//! Objects are open: a reader must expect optional fields that are added later.

use serde_json::{Map, Value, json};

/// Returns the schema of a kind of value without inner places.
pub(super) fn leaf(kind: &str) -> Value {
    let whole = |least: Value, greatest: Value| json!({ "type": "integer", "minimum": least, "maximum": greatest });
    match kind {
        "bool" => json!({ "type": "boolean" }),
        "i8" => whole(i8::MIN.into(), i8::MAX.into()),
        "i16" => whole(i16::MIN.into(), i16::MAX.into()),
        "i32" => whole(i32::MIN.into(), i32::MAX.into()),
        "i64" => whole(i64::MIN.into(), i64::MAX.into()),
        "u8" => whole(0.into(), u8::MAX.into()),
        "u16" => whole(0.into(), u16::MAX.into()),
        "u32" => whole(0.into(), u32::MAX.into()),
        "u64" => whole(0.into(), u64::MAX.into()),
        // Numbers of JSON schemas have 64 bits in most programs.
        "i128" => json!({ "type": "integer" }),
        "u128" => json!({ "type": "integer", "minimum": 0 }),
        "f32" | "f64" => json!({ "type": "number" }),
        "char" => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        "text" => json!({ "type": "string" }),
        "bytes" => list(whole(0.into(), u8::MAX.into())),
        "null" => json!({ "type": "null" }),
        // Any JSON, and types that are known only by the text of their expectation.
        _ => anything(),
    }
}

pub(super) fn anything() -> Value {
    json!({})
}

pub(super) fn option(inner: Value) -> Value {
    json!({ "anyOf": [inner, { "type": "null" }] })
}

pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub(super) fn map(values: Value) -> Value {
    json!({ "type": "object", "additionalProperties": values })
}

pub(super) fn tuple(parts: Vec<Value>) -> Value {
    let count = parts.len();
    json!({ "type": "array", "prefixItems": parts, "minItems": count, "maxItems": count })
}

pub(super) fn object(properties: Vec<(&str, Value)>, required: &[&str]) -> Value {
    let properties = properties.into_iter().map(|(name, schema)| (name.to_owned(), schema));
    let mut object = json!({
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
    });
    if let (false, Some(members)) = (required.is_empty(), object.as_object_mut()) {
        members.insert("required".to_owned(), json!(required));
    }
    object
}

/// Returns the schema of an externally tagged enum. `None` is the content of a unit variant.
pub(super) fn variants(variants: Vec<(&str, Option<Value>)>) -> Value {
    let names = variants.iter().filter(|(_, content)| content.is_none()).map(|(name, _)| *name);
    let names: Vec<_> = names.collect();
    let mut forms = Vec::new();
    if !names.is_empty() {
        forms.push(json!({ "type": "string", "enum": names }));
    }
    forms.extend(variants.into_iter().filter_map(|(name, content)| {
        Some(json!({
            "type": "object",
            "properties": { name: content? },
            "required": [name],
            "additionalProperties": false,
        }))
    }));
    match forms.len() {
        // No value has the type.
        0 => json!(false),
        1 => forms.remove(0),
        _ => json!({ "anyOf": forms }),
    }
}
