//! JSON schemas (JSON Schema 2020-12, as in OpenAPI 3.1).
//!
//! Owns: [`Schema`] and [`Fields`]. The derives [`RequestFields`](crate::RequestFields) and
//! [`Schema`](derive@crate::Schema) implement both from the fields of a struct.
//!
//! Invariants: objects are closed, fields are named as by serde, and each field has the schema of
//! its Rust type.
//!
//! Not here: constraints of values, which belong to the schemas of their types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A type with a JSON schema.
pub trait Schema {
    /// `false` if a field of this type may be absent.
    const REQUIRED: bool = true;

    /// Returns the schema, adding named ones to `schemas`.
    fn schema(schemas: &mut Schemas) -> Value;

    /// Returns an example of a value, with which the document shows a required field or parameter.
    #[must_use]
    fn example() -> Option<Value> {
        None
    }
}

/// The named schemas of an OpenAPI document.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// Returns a reference to a named schema, calling `make` for the first reference.
    pub fn component(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.0.contains_key(name) {
            // The placeholder ends the recursion of a schema that contains itself.
            self.0.insert(name.to_owned(), Value::Null);
            let schema = make(self);
            self.0.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    pub(crate) fn into_json(self) -> Value {
        Value::Object(self.0.into_iter().collect())
    }
}

/// One field of an object, or one parameter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Field {
    /// Name in JSON.
    pub name: String,
    /// Description in the document.
    pub description: &'static str,
    /// `false` if it may be absent.
    pub required: bool,
    /// Schema of its value.
    pub schema: Value,
    /// Example of its value. An optional field without one is left out of examples.
    pub example: Option<Value>,
}

impl Field {
    /// Creates a field of type `T` from its name in JSON.
    pub fn named<T: Schema>(name: &str, description: &'static str, schemas: &mut Schemas) -> Self {
        let (name, required) = (name.to_owned(), T::REQUIRED);
        let example = if required { T::example() } else { None };
        Self { name, description, required, schema: T::schema(schemas), example }
    }

    /// Sets the example of its value.
    #[must_use]
    pub fn with_example(self, example: impl Into<Value>) -> Self {
        Self { example: Some(example.into()), ..self }
    }

    /// Sets the example of type `T` as that of its value, also if it may be absent.
    #[must_use]
    pub fn with_example_of<T: Schema>(self) -> Self {
        Self { example: T::example(), ..self }
    }
}

/// A type with named fields: an object, or the parameters of a request.
pub trait Fields {
    /// Name of the schema in the document.
    const NAME: &'static str;
    /// Description of the schema in the document.
    const DESCRIPTION: &'static str;

    /// Its fields, in order.
    fn fields(schemas: &mut Schemas) -> Vec<Field>;

    /// Returns an example with all required fields and those that have an example, or `None` if a
    /// required field has none.
    #[must_use]
    fn example_object() -> Option<Value> {
        let fields = Self::fields(&mut Schemas::default()).into_iter();
        let members = fields.filter(|field| field.required || field.example.is_some());
        let members = members.map(|field| Some((field.name, field.example?)));
        Some(Value::Object(members.collect::<Option<_>>()?))
    }
}

/// Returns the schema of a closed object.
pub(crate) fn object(description: &str, fields: Vec<Field>) -> Value {
    let required: Vec<_> =
        fields.iter().filter(|field| field.required).map(|field| json!(field.name)).collect();
    let properties = fields.into_iter().map(|field| (field.name.clone(), described(field)));
    let mut object = json!({
        "type": "object",
        "description": description,
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    if let (false, Some(members)) = (required.is_empty(), object.as_object_mut()) {
        members.insert("required".to_owned(), required.into());
    }
    object
}

/// Adds the description, which may stand next to a `$ref` since JSON Schema 2019-09.
fn described(field: Field) -> Value {
    let Field { description, mut schema, .. } = field;
    if let (false, Some(members)) = (description.is_empty(), schema.as_object_mut()) {
        members.insert("description".to_owned(), description.into());
    }
    schema
}

/// Converts `first_name` to `firstName`, like serde's `rename_all = "camelCase"`.
pub(crate) fn wire_name(rust_name: &str) -> String {
    // A raw identifier is a keyword only in Rust.
    let mut words = rust_name.trim_start_matches("r#").split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

impl<T: Schema> Schema for Option<T> {
    const REQUIRED: bool = false;

    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "anyOf": [T::schema(schemas), { "type": "null" }] })
    }

    fn example() -> Option<Value> {
        T::example()
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(schemas) })
    }

    fn example() -> Option<Value> {
        T::example().map(|example| json!([example]))
    }
}

impl Schema for String {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string" })
    }
}

impl Schema for &'static str {
    fn schema(schemas: &mut Schemas) -> Value {
        String::schema(schemas)
    }
}

impl Schema for f64 {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "number" })
    }
}

/// A time as in RFC 3339.
impl Schema for jiff::Timestamp {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

impl Schema for bool {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "boolean" })
    }
}

impl Schema for Value {
    fn schema(_: &mut Schemas) -> Value {
        json!({})
    }
}

/// Any JSON, passed through unchanged.
impl Schema for Box<serde_json::value::RawValue> {
    fn schema(_: &mut Schemas) -> Value {
        json!({})
    }
}

macro_rules! whole_numbers {
    ($($kind:ty: $minimum:expr),+) => { $(
        impl Schema for $kind {
            fn schema(_: &mut Schemas) -> Value {
                json!({ "type": "integer", "minimum": $minimum, "maximum": <$kind>::MAX })
            }
        }
    )+ };
}
whole_numbers!(u8: 0, u16: 0, u32: 0, u64: 0, i64: i64::MIN);

/// Returns the schema of an enum without fields.
#[doc(hidden)]
#[must_use]
pub fn names(names: &[&str]) -> Value {
    json!({ "type": "string", "enum": names })
}

/// Returns the JSON of an example in the source.
#[doc(hidden)]
pub fn example(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("an example has a JSON form")
}

impl Schemas {
    /// Returns a reference to the schema of a closed object.
    pub fn object<T: Fields>(&mut self) -> Value {
        self.component(T::NAME, |schemas| object(T::DESCRIPTION, T::fields(schemas)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        assert_eq!(wire_name("first_name"), "firstName");
        assert_eq!(wire_name("r#type"), "type");
        assert_eq!(wire_name("id"), "id");
    }

    #[test]
    fn an_object_is_closed_and_lists_its_required_fields() {
        let mut schemas = Schemas::default();
        let fields = vec![
            Field::named::<u8>("width", "Width.", &mut schemas),
            Field::named::<Option<String>>("reason", "", &mut schemas),
        ];
        let object = object("A door.", fields);
        assert_eq!(object["additionalProperties"], false);
        assert_eq!(object["required"], json!(["width"]));
        assert_eq!(object["properties"]["width"]["description"], "Width.");
        assert_eq!(object["properties"]["reason"]["anyOf"][1]["type"], "null");
    }

    struct Door;

    impl Fields for Door {
        const NAME: &'static str = "Door";
        const DESCRIPTION: &'static str = "A door.";

        fn fields(schemas: &mut Schemas) -> Vec<Field> {
            vec![
                Field::named::<u8>("width", "Width.", schemas).with_example(80),
                Field::named::<Option<String>>("reason", "", schemas),
            ]
        }
    }

    #[test]
    fn an_example_has_the_required_fields_and_those_with_an_example() {
        assert_eq!(Door::example_object(), Some(json!({ "width": 80 })));
    }
}
