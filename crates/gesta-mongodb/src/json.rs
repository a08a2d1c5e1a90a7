//! JSON values as BSON, so that other programs can query them, and back.
//!
//! Owns: the translation, and the mark of values that BSON does not hold exactly. Those are stored
//! as text, too, and come back from it. Not here: documents of rows (`read_models/rows.rs`).
//!
//! | JSON | BSON | exact |
//! | --- | --- | --- |
//! | integer up to `i64::MAX` | 64-bit integer | yes |
//! | integer above | double | no |
//! | other number | double | yes |
//! | object with a key that is `$…`, has `.` or a null character | object without that key | no |
//! | array in an array, on a server that has none | null | no |

use mongodb::bson::{Bson, Document};
use serde_json::{Map, Number, Value};

/// A value as BSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) value: Bson,
    /// `false` if the value does not come back from BSON as it was.
    pub(crate) is_exact: bool,
}

/// Translates a value.
pub(crate) fn encode(value: &Value, has_nested_arrays: bool) -> Encoded {
    let mut encoder = Encoder { has_nested_arrays, is_exact: true };
    let value = encoder.value(value);
    Encoded { value, is_exact: encoder.is_exact }
}

struct Encoder {
    has_nested_arrays: bool,
    is_exact: bool,
}

impl Encoder {
    fn value(&mut self, value: &Value) -> Bson {
        match value {
            Value::Null => Bson::Null,
            Value::Bool(value) => Bson::Boolean(*value),
            Value::Number(number) => self.number(number),
            Value::String(text) => Bson::String(text.clone()),
            Value::Array(items) => Bson::Array(items.iter().map(|item| self.item(item)).collect()),
            Value::Object(fields) => Bson::Document(self.object(fields)),
        }
    }

    fn number(&mut self, number: &Number) -> Bson {
        match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Bson::Int64(integer),
            (None, Some(double)) => {
                self.is_exact &= number.is_f64();
                Bson::Double(double)
            }
            (None, None) => {
                self.is_exact = false;
                Bson::Null
            }
        }
    }

    fn item(&mut self, item: &Value) -> Bson {
        if item.is_array() && !self.has_nested_arrays {
            self.is_exact = false;
            return Bson::Null;
        }
        self.value(item)
    }

    fn object(&mut self, fields: &Map<String, Value>) -> Document {
        let mut document = Document::new();
        for (key, value) in fields {
            if key.starts_with('$') || key.contains(['.', '\0']) {
                self.is_exact = false;
                continue;
            }
            document.insert(key, self.value(value));
        }
        document
    }
}

/// Translates a value back. `None` for a type that JSON does not have.
pub(crate) fn decode(value: &Bson) -> Option<Value> {
    Some(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(value) => Value::Bool(*value),
        Bson::Int32(number) => Value::from(*number),
        Bson::Int64(number) => Value::from(*number),
        Bson::Double(number) => Value::Number(Number::from_f64(*number)?),
        Bson::String(text) => Value::String(text.clone()),
        Bson::Array(items) => Value::Array(items.iter().map(decode).collect::<Option<_>>()?),
        Bson::Document(fields) => {
            let field = |(key, value): (&String, &Bson)| Some((key.clone(), decode(value)?));
            Value::Object(fields.iter().map(field).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// Returns the number of levels of arrays and objects in a value.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::bson;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_comes_back_as_it_was() {
        for value in [
            json!(null),
            json!([true, 0, -1, i64::MIN, i64::MAX, 0.1, 3.0, "é\0"]),
            json!({"": {"a b": [{"c": null}]}, "_id": "x"}),
        ] {
            let encoded = encode(&value, false);
            assert!(encoded.is_exact, "{value}");
            assert_eq!(decode(&encoded.value), Some(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_marked_and_the_rest_stays() {
        let value = json!({"n": u64::MAX, "$set": 1, "a.b": 2, "a\0": 3, "kept": [[1], 2]});
        let encoded = encode(&value, false);
        assert!(!encoded.is_exact);
        let double = 18_446_744_073_709_551_615.0;
        assert_eq!(encoded.value, bson!({"kept": [null, 2_i64], "n": double}));
        assert!(encode(&json!([[1]]), true).is_exact, "a server with arrays in arrays");
    }

    #[test]
    fn levels_are_counted() {
        assert_eq!(depth(&json!(1)), 0);
        assert_eq!(depth(&json!({"a": [{}, 1], "b": 2})), 3);
    }
}
