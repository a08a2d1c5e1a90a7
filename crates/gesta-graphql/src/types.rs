//! Types of GraphQL, read from the JSON schemas of the HTTP interface.
//!
//! Owns: [`TypeBook`], the named types of one schema, and [`Shape`], the type of one value.
//!
//! Invariants:
//! - Types have distinct names. A component keeps its name; its input form ends in `Input`.
//! - What GraphQL cannot express is a scalar, whose values the HTTP interface checks.
//!
//! Not here: registering the types with the library ([`schema`](crate::schema)), and values
//! ([`values`](crate::values)).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::names;

/// The scalar of whole numbers with up to 64 bits; GraphQL's `Int` has 32.
pub(crate) const LONG: &str = "Long";
/// The scalar of any JSON.
pub(crate) const ANY: &str = "JSON";

/// Pattern of positions, which JSON has as texts and GraphQL as numbers.
const POSITION_PATTERN: &str = "^(0|[1-9][0-9]{0,17})$";
/// Names that the schema has taken before it reads any component.
const TAKEN: [&str; 13] = [
    "Query",
    "Mutation",
    "Subscription",
    "Int",
    "Float",
    "String",
    "Boolean",
    "ID",
    LONG,
    ANY,
    "Rejection",
    "OtherRejection",
    "Done",
];

/// Direction of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

/// The type of a value that is not null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    /// A whole number of 32 bits.
    Int,
    Long,
    /// A position, a text of digits in requests.
    Position,
    Float,
    Boolean,
    /// Any JSON.
    Any,
    /// A scalar of the application, by its name.
    Scalar(String),
    Enum(Arc<EnumType>),
    /// An object, by its name.
    Object(String),
    List(Box<Typed>),
}

/// A type, with or without null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) shape: Shape,
    pub(crate) is_nullable: bool,
}

/// An enum, whose items have a value in JSON each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnumType {
    pub(crate) name: String,
    /// Names in GraphQL, and in JSON.
    pub(crate) items: Vec<(String, String)>,
}

/// A field of an object, or of an input object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectField {
    pub(crate) name: String,
    /// The member in JSON.
    pub(crate) member: String,
    pub(crate) description: String,
    pub(crate) typed: Typed,
}

/// An object type.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectType {
    pub(crate) description: String,
    pub(crate) fields: Vec<ObjectField>,
}

/// The named types of a schema.
#[derive(Debug, Default)]
pub(crate) struct TypeBook {
    components: Map<String, Value>,
    /// Objects by name; names of inputs end in `Input`.
    pub(crate) outputs: BTreeMap<String, ObjectType>,
    pub(crate) inputs: BTreeMap<String, ObjectType>,
    pub(crate) enums: Vec<Arc<EnumType>>,
    /// Scalars of the application.
    pub(crate) scalars: BTreeSet<String>,
    /// Types of rejections by code.
    pub(crate) rejections: BTreeMap<String, String>,
    /// Names of other types, such as unions.
    claimed: BTreeSet<String>,
}

impl TypeBook {
    /// Creates a book of the components of an OpenAPI document.
    pub(crate) fn of_document(document: &Value) -> Self {
        let components =
            document.pointer("/components/schemas").and_then(Value::as_object).cloned();
        Self { components: components.unwrap_or_default(), ..Self::default() }
    }

    /// Reads the type of a schema. `hint` names the type if the schema has no name of its own.
    pub(crate) fn read(&mut self, schema: &Value, hint: &str, side: Side) -> Typed {
        if let Some(name) = component_name(schema) {
            return self.component(name, side);
        }
        let alternatives = schema.get("anyOf").or_else(|| schema.get("oneOf"));
        if let Some(alternatives) = alternatives.and_then(Value::as_array) {
            return self.one_of(alternatives, hint, side);
        }
        if let Some(items) = schema["enum"].as_array() {
            return some(self.enumeration(items, hint));
        }
        some(match schema["type"].as_str() {
            Some("object") => self.object(schema, hint, side),
            Some("array") => {
                Shape::List(Box::new(self.read(&schema["items"], &format!("{hint}Item"), side)))
            }
            Some("integer") => whole_number(schema),
            Some("number") => Shape::Float,
            Some("boolean") => Shape::Boolean,
            Some("string") if schema["pattern"] == POSITION_PATTERN => Shape::Position,
            Some("string") => Shape::Text,
            None if schema["const"].is_string() => Shape::Text,
            _ => Shape::Any,
        })
    }

    /// Returns a name that no other type has.
    pub(crate) fn claim(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while self.is_taken(&name) {
            name.push('_');
        }
        self.claimed.insert(name.clone());
        name
    }

    fn is_taken(&self, name: &str) -> bool {
        TAKEN.contains(&name)
            || self.claimed.contains(name)
            || self.outputs.contains_key(name)
            || self.inputs.contains_key(name)
            || self.scalars.contains(name)
            || self.enums.iter().any(|known| known.name == name)
            || self.components.contains_key(name)
    }

    fn component(&mut self, name: &str, side: Side) -> Typed {
        let schema = self.components.get(name).cloned().unwrap_or_default();
        let mut type_name = names::plain(name);
        if TAKEN.contains(&type_name.as_str()) {
            type_name.push('_');
        }
        let typed = self.read(&schema, &type_name, side);
        // Several types of one value, such as an amount as text or number.
        if typed.shape == Shape::Any && schema.get("anyOf").is_some() {
            self.scalars.insert(type_name.clone());
            return Typed { shape: Shape::Scalar(type_name), ..typed };
        }
        typed
    }

    fn one_of(&mut self, alternatives: &[Value], hint: &str, side: Side) -> Typed {
        let (nulls, others): (Vec<_>, Vec<_>) =
            alternatives.iter().partition(|it| it["type"] == "null");
        let is_nullable = !nulls.is_empty();
        if let [only] = others.as_slice() {
            let typed = self.read(only, hint, side);
            return Typed { is_nullable: is_nullable || typed.is_nullable, ..typed };
        }
        let resolved: Vec<_> = others.iter().map(|schema| self.resolved(schema)).collect();
        if !resolved.is_empty() && resolved.iter().all(|it| it["properties"].is_object()) {
            let merged = merged(&resolved);
            return Typed { shape: self.object(&merged, hint, side), is_nullable };
        }
        let mut shapes = others.iter().map(|schema| self.read(schema, hint, side).shape);
        let first = shapes.next().unwrap_or(Shape::Any);
        let shape = if shapes.all(|shape| shape == first) { first } else { Shape::Any };
        Typed { shape, is_nullable }
    }

    /// Returns a schema, or the component that it refers to.
    fn resolved(&self, schema: &Value) -> Value {
        let component = component_name(schema).and_then(|name| self.components.get(name));
        component.unwrap_or(schema).clone()
    }

    fn object(&mut self, schema: &Value, hint: &str, side: Side) -> Shape {
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        // GraphQL has neither maps nor objects without fields.
        if properties.is_empty() {
            return Shape::Any;
        }
        let name = match side {
            Side::Output => hint.to_owned(),
            Side::Input => format!("{hint}Input"),
        };
        if self.objects(side).contains_key(&name) {
            return Shape::Object(name);
        }
        // First, because an object may contain itself.
        let description = text(&schema["description"]);
        let known = ObjectType { description, fields: Vec::new() };
        self.objects(side).insert(name.clone(), known);
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut fields = Vec::new();
        for (member, property) in properties {
            let hint = format!("{hint}{}", names::type_name(&member));
            let mut typed = self.read(&property, &hint, side);
            typed.is_nullable |= !required.iter().any(|it| *it == member);
            let description = property.get("description").map(text).unwrap_or_default();
            fields.push(ObjectField { name: names::plain(&member), member, description, typed });
        }
        if let Some(object) = self.objects(side).get_mut(&name) {
            object.fields = fields;
        }
        Shape::Object(name)
    }

    fn objects(&mut self, side: Side) -> &mut BTreeMap<String, ObjectType> {
        match side {
            Side::Input => &mut self.inputs,
            Side::Output => &mut self.outputs,
        }
    }

    /// Returns the enum with these values; the same values are the same enum.
    fn enumeration(&mut self, values: &[Value], hint: &str) -> Shape {
        let texts: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
        let Some(texts) = texts else { return Shape::Any };
        let items: Vec<_> =
            texts.iter().map(|text| (names::plain(text), (*text).to_owned())).collect();
        let distinct: BTreeSet<_> = items.iter().map(|(name, _)| name).collect();
        // Values that differ in characters that names cannot have.
        if distinct.len() < items.len() || items.is_empty() {
            return Shape::Text;
        }
        if let Some(known) = self.enums.iter().find(|known| known.items == items) {
            return Shape::Enum(Arc::clone(known));
        }
        let name = self.claim(hint);
        let new = Arc::new(EnumType { name, items });
        self.enums.push(Arc::clone(&new));
        Shape::Enum(new)
    }
}

impl Shape {
    /// Returns the name of the type; of a list, that of its items.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Text => "String",
            Self::Int => "Int",
            Self::Long | Self::Position => LONG,
            Self::Float => "Float",
            Self::Boolean => "Boolean",
            Self::Any => ANY,
            Self::Scalar(name) | Self::Object(name) => name,
            Self::Enum(of) => &of.name,
            Self::List(items) => items.shape.type_name(),
        }
    }
}

fn some(shape: Shape) -> Typed {
    Typed { shape, is_nullable: false }
}

fn component_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

fn whole_number(schema: &Value) -> Shape {
    let within = |bound: &Value| bound.as_i64().is_some_and(|it| i32::try_from(it).is_ok());
    let is_small = within(&schema["minimum"]) && within(&schema["maximum"]);
    if is_small { Shape::Int } else { Shape::Long }
}

/// Returns an object with the properties of all alternatives. One that some of them lack may be
/// absent; constants of one property become an enum.
fn merged(alternatives: &[Value]) -> Value {
    let mut properties: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut required: Option<BTreeSet<String>> = None;
    for alternative in alternatives {
        let members = alternative["properties"].as_object().into_iter().flatten();
        for (name, schema) in members {
            properties.entry(name.clone()).or_default().push(schema.clone());
        }
        let own = alternative["required"].as_array().into_iter().flatten();
        let own: BTreeSet<_> = own.filter_map(Value::as_str).map(str::to_owned).collect();
        let both = required.map(|known| known.intersection(&own).cloned().collect());
        required = Some(both.unwrap_or(own));
    }
    let properties: Map<_, _> =
        properties.into_iter().map(|(name, schemas)| (name, united(schemas))).collect();
    serde_json::json!({
        "type": "object",
        "properties": properties,
        "required": required.unwrap_or_default(),
    })
}

/// Returns a schema that accepts what one of these accepts.
fn united(mut schemas: Vec<Value>) -> Value {
    let constants: Option<Vec<_>> = schemas.iter().map(|it| it.get("const").cloned()).collect();
    if let Some(constants) = constants {
        return serde_json::json!({ "enum": constants });
    }
    schemas.dedup();
    match schemas.len() {
        1 => schemas.remove(0),
        _ => serde_json::json!({ "anyOf": schemas }),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn book(schemas: Value) -> TypeBook {
        TypeBook::of_document(&json!({ "components": { "schemas": schemas } }))
    }

    fn reference(name: &str) -> Value {
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    #[test]
    fn a_component_is_one_type_for_each_direction() {
        let door = json!({
            "type": "object",
            "properties": { "no": { "type": "integer", "minimum": 0, "maximum": 255 } },
            "required": ["no"],
        });
        let mut book = book(json!({ "Door": door }));
        let out = book.read(&reference("Door"), "", Side::Output);
        let input = book.read(&reference("Door"), "", Side::Input);
        assert_eq!((out.shape.type_name(), input.shape.type_name()), ("Door", "DoorInput"));
        let field = &book.outputs["Door"].fields[0];
        assert_eq!((field.typed.shape.clone(), field.typed.is_nullable), (Shape::Int, false));
    }

    #[test]
    fn a_component_that_contains_itself_is_read_once() {
        let tree = json!({
            "type": "object",
            "properties": { "children": { "type": "array", "items": reference("Tree") } },
        });
        let mut book = book(json!({ "Tree": tree }));
        book.read(&reference("Tree"), "", Side::Output);
        assert_eq!(book.outputs["Tree"].fields.len(), 1);
    }

    #[test]
    fn alternatives_of_an_object_become_one_object_with_an_enum() {
        let change = |kind: &str, more: &str| {
            json!({
                "type": "object",
                "properties": { "type": { "const": kind }, more: { "type": "string" } },
                "required": ["type", more],
            })
        };
        let mut book = book(json!({ "Change": { "oneOf": [change("a", "x"), change("b", "y")] } }));
        book.read(&reference("Change"), "", Side::Input);
        let fields = &book.inputs["ChangeInput"].fields;
        let listed: Vec<_> = fields
            .iter()
            .map(|it| (it.name.as_str(), it.typed.shape.type_name(), it.typed.is_nullable))
            .collect();
        assert_eq!(
            listed,
            [("type", "ChangeType", false), ("x", "String", true), ("y", "String", true)]
        );
    }

    #[test]
    fn a_component_of_several_types_is_a_scalar_of_its_name() {
        let amount = json!({ "anyOf": [{ "type": "string" }, { "type": "number" }] });
        let mut book = book(json!({ "Amount": amount }));
        let typed = book.read(&reference("Amount"), "", Side::Input);
        assert_eq!(typed.shape, Shape::Scalar("Amount".to_owned()));
    }

    #[test]
    fn enums_of_the_same_values_are_one_and_names_of_others_differ() {
        let mut book = book(json!({}));
        let kinds = json!({ "type": "string", "enum": ["sliding", "french-door"] });
        let first = book.read(&kinds, "DoorKind", Side::Output);
        assert_eq!(book.read(&kinds, "SearchKind", Side::Input), first);
        let other = book.read(&json!({ "enum": ["x"] }), "DoorKind", Side::Output);
        assert_eq!(other.shape.type_name(), "DoorKind_");
    }
}
