//! Schemas: what JSON looks like (JSON Schema 2020-12, the one of OpenAPI 3.1).
//!
//! Owns: [`Schema`], [`Fields`], and the macros that make both from the fields of a struct:
//! [`request!`](crate::request) and [`response!`](crate::response). Always holds: an object is
//! closed, its fields are named as serde names them, and each has the schema of its Rust type. Not
//! here: limits of values; they belong to the types of the values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A type with a JSON form.
pub trait Schema {
    /// Whether a field of this type has to be there.
    const REQUIRED: bool = true;

    /// What its JSON looks like.
    fn schema(schemas: &mut Schemas) -> Value;
}

/// The named schemas of a document.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// A reference to the schema of this name, which is made if it is not there yet.
    pub fn component(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.0.contains_key(name) {
            // Keeps a schema that contains itself from being made for ever.
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
pub struct Field {
    /// As JSON names it.
    pub name: String,
    /// What it is for.
    pub description: &'static str,
    /// Whether it has to be there.
    pub required: bool,
    /// What it looks like.
    pub schema: Value,
}

impl Field {
    /// A field of a type, by its name in Rust.
    pub fn of<T: Schema>(
        rust_name: &str,
        description: &'static str,
        schemas: &mut Schemas,
    ) -> Self {
        let (name, required) = (wire_name(rust_name), T::REQUIRED);
        Self { name, description: description.trim(), required, schema: T::schema(schemas) }
    }
}

/// A type with named fields: an object, or the parameters of a request.
pub trait Fields {
    /// What the object is called in the document.
    const NAME: &'static str;
    /// What it is.
    const DESCRIPTION: &'static str;

    /// Its fields, in order.
    fn fields(schemas: &mut Schemas) -> Vec<Field>;
}

/// The closed object that has these fields.
pub(crate) fn object(description: &str, fields: Vec<Field>) -> Value {
    let required: Vec<_> =
        fields.iter().filter(|field| field.required).map(|field| json!(field.name)).collect();
    let properties = fields.into_iter().map(|field| (field.name.clone(), described(field)));
    let mut object = json!({
        "type": "object",
        "description": description.trim(),
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    if let (false, Some(members)) = (required.is_empty(), object.as_object_mut()) {
        members.insert("required".to_owned(), required.into());
    }
    object
}

/// Beside a reference a description is allowed since JSON Schema 2019-09.
fn described(field: Field) -> Value {
    let Field { description, mut schema, .. } = field;
    if let (false, Some(members)) = (description.is_empty(), schema.as_object_mut()) {
        members.insert("description".to_owned(), description.into());
    }
    schema
}

/// `first_name` is `firstName`, as with serde's `rename_all = "camelCase"`.
pub(crate) fn wire_name(rust_name: &str) -> String {
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
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "type": "array", "items": T::schema(schemas) })
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

/// RFC 3339.
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

/// JSON as it was written.
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

/// Declares what a request carries, and what its JSON looks like, in one: a struct that reads
/// camelCase, refuses fields that it does not know, and leaves out what is an `Option`.
///
/// ```
/// gesta_http::request! {
///     /// Opens a door.
///     pub struct OpenDoor {
///         /// How wide.
///         width: u8,
///         /// Why.
///         reason: Option<String>,
///     }
/// }
///
/// let open: OpenDoor = serde_json::from_str(r#"{"width": 2}"#)?;
/// assert_eq!((open.width, open.reason), (2, None));
/// assert!(serde_json::from_str::<OpenDoor>(r#"{"width": 2, "depth": 1}"#).is_err());
/// assert!(serde_json::from_str::<OpenDoor>("[2, null]").is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[macro_export]
macro_rules! request {
    (
        $(#[doc = $about:literal])*
        $visible:vis struct $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident: $kind:ty, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive($crate::__macros::serde::Deserialize, Clone, Debug)]
        #[serde(crate = "gesta_http::__macros::serde", remote = "Self")]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        $visible struct $name {
            $( $(#[doc = $doc])* $visible $field: $kind, )*
        }

        $crate::object_only!($name);

        impl $crate::Fields for $name {
            const NAME: &'static str = stringify!($name);
            const DESCRIPTION: &'static str = concat!($($about),*);

            fn fields(_schemas: &mut $crate::Schemas) -> Vec<$crate::Field> {
                vec![$( $crate::Field::of::<$kind>(
                    stringify!($field), concat!($($doc),*), _schemas,
                ), )*]
            }
        }

        $crate::__object!($name);
    };
}

/// Lets a struct that derives `Deserialize` with `#[serde(remote = "Self")]` be read from objects
/// only, not from lists of its fields' values.
#[macro_export]
macro_rules! object_only {
    ($name:ident) => {
        impl<'de> $crate::__macros::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::__macros::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                // The derived function, not this one.
                Self::deserialize($crate::ObjectOnly(deserializer))
            }
        }
    };
}

/// Says what the JSON of a struct looks like that is answered, field by field. That each field has
/// the type that is told, the compiler checks; that none is left out, a closed schema does.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct Door { width: u8 }
///
/// gesta_http::response! {
///     /// A door.
///     Door {
///         /// How wide it is.
///         width: u8,
///     }
/// }
/// ```
#[macro_export]
macro_rules! response {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident $(as $wire:literal)?: $kind:ty, )*
        }
    ) => {
        impl $crate::Fields for $name {
            const NAME: &'static str = stringify!($name);
            const DESCRIPTION: &'static str = concat!($($about),*);

            fn fields(schemas: &mut $crate::Schemas) -> Vec<$crate::Field> {
                $( let _ = |it: &$name| -> *const $kind { &raw const it.$field }; )*
                vec![$( $crate::Field::of::<$kind>(
                    $crate::__wire_name!($field $($wire)?), concat!($($doc),*), schemas,
                ), )*]
            }
        }

        $crate::__object!($name);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __object {
    ($name:ident) => {
        impl $crate::Schema for $name {
            fn schema(schemas: &mut $crate::Schemas) -> $crate::__macros::serde_json::Value {
                schemas.object::<$name>()
            }
        }
    };
}

impl Schemas {
    /// A reference to the closed object of these fields.
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
    fn an_object_is_closed_and_says_what_it_needs() {
        let mut schemas = Schemas::default();
        let fields = vec![
            Field::of::<u8>("width", " How wide.", &mut schemas),
            Field::of::<Option<String>>("reason", "", &mut schemas),
        ];
        let object = object(" A door.", fields);
        assert_eq!(object["additionalProperties"], false);
        assert_eq!(object["required"], json!(["width"]));
        assert_eq!(object["properties"]["width"]["description"], "How wide.");
        assert_eq!(object["properties"]["reason"]["anyOf"][1]["type"], "null");
    }
}
