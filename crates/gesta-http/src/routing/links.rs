//! Links from the objects of answers to what other operations find, and lists that find several
//! resources at once.
//!
//! Owns: [`Link`], its places in the OpenAPI document, and [`FindsMany`].
//!
//! Invariant: a link is in each JSON success answer that has an object of its type.
//!
//! Not here: links between the pages of a list ([`PageLinks`](crate::PageLinks)).

use std::any::type_name;

use serde_json::{Map, Value, json};

use crate::{Schema, Schemas};

/// Prefix of a reference to a named schema.
const COMPONENTS: &str = "#/components/schemas/";
/// Place of the schema of a query's JSON answer in its operation.
const ANSWER: &str = "/responses/200/content/application~1json/schema";

/// A link from an object of answers to what another operation finds by a member of the object.
///
/// The OpenAPI document has it in each answer with such an object. `gesta-graphql` makes it a field
/// of the object's type.
///
/// ```
/// use gesta_http::{Link, Schema};
///
/// /// A door.
/// #[derive(Schema)]
/// struct DoorDetails {
///     /// Number of the house.
///     house: u32,
/// }
///
/// // A door's `house` in GraphQL is a number; its `building` is what `findHouse` answers with.
/// let link = Link::of::<DoorDetails>("building").to("findHouse").parameter("no", "house");
/// assert_eq!((link.component(), link.operation()), ("DoorDetails", "findHouse"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    component: String,
    name: String,
    operation: String,
    parameter: String,
    member: String,
}

/// A link without its operation.
#[must_use = "a link needs an operation"]
#[derive(Clone, Debug)]
pub struct LinkSource {
    component: String,
    name: String,
    members: Vec<String>,
}

/// A link without the parameter of its operation.
#[must_use = "a link needs a parameter"]
#[derive(Clone, Debug)]
pub struct LinkTarget {
    source: LinkSource,
    operation: String,
}

impl Link {
    /// Begins a link called `name` from objects of type `T`.
    ///
    /// # Panics
    /// If `T` is no object with a name in the document, or the link has the name of one of its
    /// members, or a name with other characters than ASCII letters and digits.
    pub fn of<T: Schema>(name: &str) -> LinkSource {
        let mut schemas = Schemas::default();
        let schema = T::schema(&mut schemas);
        let component = component_of(&schema).unwrap_or_default().to_owned();
        let schemas = schemas.into_json();
        let properties = schemas.get(&component).and_then(|it| it.get("properties")?.as_object());
        let Some(properties) = properties else {
            panic!(
                "`{}` cannot have the link `{name}`: it is no object with a name in the document",
                type_name::<T>()
            );
        };
        let members: Vec<_> = properties.keys().cloned().collect();
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric());
        assert!(is_name, "the link `{name}` of {component} must have letters and digits alone");
        let is_free = !members.iter().any(|member| member == name);
        assert!(is_free, "{component} has a member `{name}`; give the link another name");
        LinkSource { component, name: name.to_owned(), members }
    }

    /// Returns the name of the objects' schema in the document.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Returns the name of the link.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the id of the operation that finds what is linked.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Returns the parameter of the operation that takes the member.
    #[must_use]
    pub fn parameter(&self) -> &str {
        &self.parameter
    }

    /// Returns the member of the objects, in JSON. An object without it links to nothing.
    #[must_use]
    pub fn member(&self) -> &str {
        &self.member
    }
}

impl LinkSource {
    /// Sets the operation that finds what is linked: one of `GET`.
    pub fn to(self, operation: &str) -> LinkTarget {
        LinkTarget { source: self, operation: operation.to_owned() }
    }
}

impl LinkTarget {
    /// Completes the link with the parameter of the operation that takes a member of the object.
    ///
    /// # Panics
    /// If the objects have no such member.
    #[must_use]
    pub fn parameter(self, parameter: &str, member: &str) -> Link {
        let Self { source: LinkSource { component, name, members }, operation } = self;
        let is_known = members.iter().any(|known| known == member);
        assert!(is_known, "{component} has no member `{member}` for the link `{name}`");
        let (parameter, member) = (parameter.to_owned(), member.to_owned());
        Link { component, name, operation, parameter, member }
    }
}

/// The declaration of a list that finds several resources of another operation at once.
#[derive(Clone, Debug)]
pub(super) struct FindsMany {
    /// Id of the operation that finds one.
    pub(super) operation: String,
    /// Parameter of the list that takes several ids, which the entries have as a member.
    pub(super) parameter: String,
}

impl FindsMany {
    pub(super) fn to_json(&self) -> Value {
        json!({ "operationId": self.operation, "parameter": self.parameter })
    }
}

/// Adds the links to the operations of a document with these components.
pub(crate) fn add_links(
    links: &[Link],
    paths: &mut Map<String, Value>,
    components: &Map<String, Value>,
) {
    if links.is_empty() {
        return;
    }
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (status, response) in responses.into_iter().flatten() {
            let found = of_response(links, status, response, components);
            if let (false, Some(members)) = (found.is_empty(), response.as_object_mut()) {
                members.insert("links".to_owned(), Value::Object(found));
            }
        }
    }
}

/// Returns the links of a response, which has some only if it is a success.
fn of_response(
    links: &[Link],
    status: &str,
    response: &Value,
    components: &Map<String, Value>,
) -> Map<String, Value> {
    let mut search = Search { links, components, open: Vec::new(), found: Map::new() };
    if status.starts_with('2') {
        let content = response.pointer("/content/application~1json/schema");
        search.schema(content.unwrap_or(&Value::Null), &mut Vec::new());
    }
    search.found
}

/// A search for objects with links in an answer.
struct Search<'d> {
    links: &'d [Link],
    components: &'d Map<String, Value>,
    /// Components around the place, because one may contain itself.
    open: Vec<&'d str>,
    found: Map<String, Value>,
}

impl<'d> Search<'d> {
    fn schema(&mut self, schema: &Value, path: &mut Vec<String>) {
        if let Some(name) = component_of(schema) {
            self.component(name, path);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            path.push(name.clone());
            self.schema(property, path);
            path.pop();
        }
        if let Some(items) = schema.get("items") {
            // OpenAPI has no expression for each entry, so the first one stands for all.
            path.push("0".to_owned());
            self.schema(items, path);
            path.pop();
        }
        for alternatives in ["anyOf", "oneOf"] {
            for schema in schema[alternatives].as_array().into_iter().flatten() {
                self.schema(schema, path);
            }
        }
    }

    fn component(&mut self, name: &str, path: &mut Vec<String>) {
        let components = self.components;
        let Some((name, schema)) = components.get_key_value(name) else { return };
        if self.open.contains(&name.as_str()) {
            return;
        }
        for link in self.links.iter().filter(|link| link.component == *name) {
            self.found.insert(key(link, path), described(link, path));
        }
        self.open.push(name);
        self.schema(schema, path);
        self.open.pop();
    }
}

/// Returns the key of a link: `items.customer` for a list.
fn key(link: &Link, path: &[String]) -> String {
    let names = path.iter().filter(|part| *part != "0").map(String::as_str);
    names.chain([link.name.as_str()]).collect::<Vec<_>>().join(".")
}

fn described(link: &Link, path: &[String]) -> Value {
    let parts = path.iter().chain([&link.member]);
    let pointer: String =
        parts.map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect();
    json!({
        "operationId": link.operation,
        "parameters": { &link.parameter: format!("$response.body#{pointer}") },
    })
}

/// Checks the links and the lists that find several against the operations of a document.
///
/// # Panics
/// If one of them names an operation, a parameter or a member that there is not.
pub(crate) fn check_links(links: &[Link], document: &Value) {
    for (number, link) in links.iter().enumerate() {
        let shown = format!("the link `{}` of {}", link.name, link.component);
        let is_same =
            |other: &&Link| (&other.component, &other.name) == (&link.component, &link.name);
        let others = links.iter().take(number).filter(is_same).count();
        assert!(others == 0, "{shown} is declared twice");
        let found = operation(document, &link.operation);
        let (method, target) = found.unwrap_or_else(|| no_operation(&shown, &link.operation));
        assert!(method == "get", "{shown} leads to `{}`, which is no query", link.operation);
        let takes =
            parameters(target).any(|it| it["name"] == link.parameter && it["in"] != "header");
        let id = &link.operation;
        assert!(takes, "{shown} needs a parameter `{}`, which `{id}` has not", link.parameter);
        assert!(
            is_answered(link, document),
            "{shown} is in no answer, because no operation answers with its type"
        );
    }
    for list in operations(document).filter(|it| it.get(X_FINDS_MANY).is_some()) {
        check_finds_many(list, document);
    }
}

/// The extension of lists that find several resources of another operation.
pub(super) const X_FINDS_MANY: &str = "x-finds-many";

fn check_finds_many(list: &Value, document: &Value) {
    let shown = format!("the list {}", list["operationId"]);
    let many = |member: &str| list.get(X_FINDS_MANY)?.get(member)?.as_str();
    let id = many("operationId").unwrap_or_default();
    let (_, single) = operation(document, id).unwrap_or_else(|| no_operation(&shown, id));
    let ids = parameters(single).filter(|parameter| parameter["in"] == "path").count();
    assert!(ids == 1, "{shown} cannot find several of `{id}`, which has {ids} path parameters");
    let component = component_of(answer(single)).unwrap_or_default();
    let page = resolved(answer(list), document);
    let entry = page.pointer("/properties/items/items").and_then(component_of).unwrap_or_default();
    assert!(
        !entry.is_empty() && entry == component,
        "{shown} does not find what `{id}` finds: its entries are `{entry}`, and not `{component}`"
    );
    let parameter = many("parameter").unwrap_or_default();
    let entry = components(document).and_then(|components| components.get(entry));
    let is_known =
        entry.is_some_and(|it| it.pointer(&format!("/properties/{parameter}")).is_some());
    assert!(is_known, "{shown}: its entries have no member `{parameter}` to be known by");
}

fn no_operation(shown: &str, id: &str) -> ! {
    panic!("{shown} names the operation `{id}`, which there is not")
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let paths = document["paths"].as_object().into_iter().flat_map(Map::values);
    paths.filter_map(Value::as_object).flat_map(Map::values)
}

/// Returns an operation with its method.
fn operation<'d>(document: &'d Value, id: &str) -> Option<(&'d str, &'d Value)> {
    let paths = document["paths"].as_object().into_iter().flat_map(Map::values);
    let mut operations = paths.filter_map(Value::as_object).flatten();
    let (method, found) = operations.find(|(_, operation)| operation["operationId"] == id)?;
    Some((method.as_str(), found))
}

fn parameters(operation: &Value) -> impl Iterator<Item = &Value> {
    operation["parameters"].as_array().into_iter().flatten()
}

/// Returns whether an answer has an object with this link.
fn is_answered(link: &Link, document: &Value) -> bool {
    let Some(components) = components(document) else { return false };
    let responses = operations(document).filter_map(|operation| operation["responses"].as_object());
    let found = |(status, response): (&String, &Value)| {
        !of_response(std::slice::from_ref(link), status, response, components).is_empty()
    };
    responses.flatten().any(found)
}

/// Returns the schema of the JSON answer of a query.
fn answer(operation: &Value) -> &Value {
    operation.pointer(ANSWER).unwrap_or(&Value::Null)
}

fn resolved<'d>(schema: &'d Value, document: &'d Value) -> &'d Value {
    let component = component_of(schema).and_then(|name| components(document)?.get(name));
    component.unwrap_or(schema)
}

fn components(document: &Value) -> Option<&Map<String, Value>> {
    document.pointer("/components/schemas")?.as_object()
}

fn component_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(COMPONENTS)
}
