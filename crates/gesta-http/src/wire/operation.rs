//! One operation of the OpenAPI document: its parameters, body and responses.
//!
//! Owns: [`Operation`], and [`Describe`], by which each extractor and response type adds its part.
//! Not here: routing.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::{Field, Fields, Problem, Schema, Schemas, wire::problem::PROBLEM_JSON};

/// An extractor or a response type that documents itself.
pub trait Describe {
    /// Adds its parameters, headers and responses to the operation.
    fn describe(operation: &mut Operation<'_>);
}

/// An operation under construction.
#[derive(Debug)]
pub struct Operation<'s> {
    schemas: &'s mut Schemas,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: BTreeMap<u16, Response>,
}

#[derive(Debug, Default)]
struct Response {
    descriptions: Vec<String>,
    content: Option<(&'static str, Value)>,
    headers: BTreeMap<&'static str, Value>,
}

impl<'s> Operation<'s> {
    pub(crate) fn new(schemas: &'s mut Schemas) -> Self {
        Self { schemas, parameters: Vec::new(), body: None, responses: BTreeMap::new() }
    }

    /// Returns the document's named schemas.
    pub fn schemas(&mut self) -> &mut Schemas {
        self.schemas
    }

    /// Adds an optional request header.
    pub fn header(&mut self, name: &'static str, description: &'static str, schema: Value) {
        self.optional(ParameterIn::Header, name, description, schema);
    }

    /// Adds an optional query parameter.
    ///
    /// A request with a query string is refused if its operation has no query parameters.
    pub fn query(&mut self, name: &'static str, description: &'static str, schema: Value) {
        self.optional(ParameterIn::Query, name, description, schema);
    }

    pub(crate) fn optional(
        &mut self,
        location: ParameterIn,
        name: &str,
        description: &'static str,
        schema: Value,
    ) {
        let name = name.to_owned();
        let example = None;
        self.parameter(location, Field { name, description, required: false, schema, example });
    }

    pub(crate) fn parameters<T: Fields>(&mut self, location: ParameterIn) {
        for field in T::fields(self.schemas) {
            self.parameter(location, field);
        }
    }

    /// Adds a parameter. An optional one can be absent but not null, so `null` leaves its schema.
    pub(crate) fn parameter(&mut self, location: ParameterIn, field: Field) {
        let Field { name, description, required, schema, example } = field;
        // `Option` puts the type first and `null` second.
        let alone = schema.pointer("/anyOf/0").filter(|_| !required && is_nullable(&schema));
        let schema = alone.cloned().unwrap_or(schema);
        let mut parameter = json!({
            "name": name,
            "in": location.as_str(),
            "description": description,
            "required": required,
            "schema": schema,
        });
        if let (Some(example), Some(members)) = (example, parameter.as_object_mut()) {
            members.insert("example".to_owned(), example);
        }
        self.parameters.push(parameter);
    }

    /// Sets the example of a parameter. Returns `false` if there is no such parameter.
    pub(crate) fn set_example(&mut self, name: &str, example: &Value) -> bool {
        let named = |parameter: &&mut Value| parameter["name"] == name;
        let parameter = self.parameters.iter_mut().find(named).and_then(Value::as_object_mut);
        let Some(members) = parameter else { return false };
        members.insert("example".to_owned(), example.clone());
        true
    }

    /// Returns whether a query parameter may be repeated.
    pub(crate) fn takes_several(&self, name: &str) -> bool {
        let is_it = |it: &&Value| it["name"] == name && it["in"] == ParameterIn::Query.as_str();
        let parameter = self.parameters.iter().find(is_it);
        let kind = parameter.and_then(|parameter| parameter.pointer("/schema/type"));
        kind.is_some_and(|kind| kind == "array")
    }

    pub(crate) fn body<T: Schema>(&mut self, presence: BodyPresence) {
        let mut content = json!({ "schema": T::schema(self.schemas) });
        if let (Some(example), Some(members)) = (T::example(), content.as_object_mut()) {
            members.insert("example".to_owned(), example);
        }
        self.body = Some(json!({
            "required": presence == BodyPresence::Required,
            "content": { "application/json": content },
        }));
    }

    /// Adds a response with a JSON body.
    pub fn answers<T: Schema>(&mut self, status: StatusCode, description: &str) {
        let schema = T::schema(self.schemas);
        self.answers_with(status, description, "application/json", schema);
    }

    /// Adds a response of another media type, such as a page, with the schema of its content.
    pub fn answers_with(
        &mut self,
        status: StatusCode,
        description: &str,
        media_type: &'static str,
        schema: Value,
    ) {
        let response = self.response(status, description);
        response.content = Some((media_type, schema));
    }

    /// Adds a response without a body.
    pub(crate) fn answers_nothing(&mut self, status: StatusCode, description: &str) {
        self.response(status, description);
    }

    /// Adds a problem of this status; descriptions of the same status are joined.
    pub fn problem(&mut self, status: u16, description: &str) {
        let schema = Problem::schema(self.schemas);
        // Several types of a handler may describe the same status.
        let response = self.responses.entry(status).or_default();
        response.content.get_or_insert((PROBLEM_JSON, schema));
        if !response.descriptions.iter().any(|known| known == description) {
            response.descriptions.push(description.to_owned());
        }
    }

    /// Adds a header to the response of a status.
    pub fn answer_header(
        &mut self,
        status: StatusCode,
        name: &'static str,
        description: &str,
        schema: Value,
    ) {
        let header = json!({ "description": description, "schema": schema });
        self.responses.entry(status.as_u16()).or_default().headers.insert(name, header);
    }

    fn response(&mut self, status: StatusCode, description: &str) -> &mut Response {
        let response = self.responses.entry(status.as_u16()).or_default();
        response.descriptions.push(description.to_owned());
        response
    }

    /// Adds a header to all responses added so far.
    pub(crate) fn header_of_every_answer(
        &mut self,
        name: &'static str,
        description: &str,
        schema: &Value,
    ) {
        let header = json!({ "description": description, "schema": schema });
        for response in self.responses.values_mut() {
            response.headers.insert(name, header.clone());
        }
    }

    /// Returns the names of the parameters in a location.
    pub(crate) fn names(&self, location: ParameterIn) -> Vec<&str> {
        let is_there = |parameter: &&Value| parameter["in"] == location.as_str();
        let all = self.parameters.iter().filter(is_there);
        all.filter_map(|parameter| parameter["name"].as_str()).collect()
    }

    pub(crate) fn into_json(self) -> Value {
        let responses = self.responses.into_iter();
        let mut operation = json!({
            "parameters": self.parameters,
            "responses": responses
                .map(|(status, response)| (status.to_string(), response.into_json()))
                .collect::<serde_json::Map<_, _>>(),
        });
        if let (Some(body), Some(members)) = (self.body, operation.as_object_mut()) {
            members.insert("requestBody".to_owned(), body);
        }
        operation
    }
}

/// Presence of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyPresence {
    Required,
    Optional,
}

/// Location of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterIn {
    Path,
    Query,
    Header,
}

impl ParameterIn {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

fn is_nullable(schema: &Value) -> bool {
    schema.pointer("/anyOf/1/type").is_some_and(|kind| kind == "null")
}

impl Response {
    fn into_json(self) -> Value {
        let mut response = json!({ "description": self.descriptions.join("; ") });
        let Some(members) = response.as_object_mut() else { return response };
        if let Some((media_type, schema)) = self.content {
            members.insert("content".to_owned(), json!({ media_type: { "schema": schema } }));
        }
        if !self.headers.is_empty() {
            members.insert("headers".to_owned(), json!(self.headers));
        }
        response
    }
}

impl<T: Describe> Describe for Result<T, Problem> {
    fn describe(operation: &mut Operation<'_>) {
        // The success first, then what every fallible handler can end with.
        T::describe(operation);
        operation.problem(500, "internal error; its cause is in the server's log");
        operation
            .problem(503, "unavailable (see `code`), or the outcome is unknown (see `outcome`)");
        let seconds = json!({ "type": "integer", "minimum": 1 });
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        let description = "Seconds to wait before a retry; absent if a retry cannot help.";
        operation.answer_header(busy, "Retry-After", description, seconds);
    }
}
