//! One operation of the document: what a request may say, and what it is answered.
//!
//! Owns: [`Operation`], and [`Describe`], by which every type that takes part in a request tells
//! its part. Not here: routing.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::{Field, Fields, Problem, Schema, Schemas, problem::PROBLEM_JSON};

/// A type that takes part in handling a request, and tells its part.
pub trait Describe {
    /// Adds its part to the operation.
    fn describe(operation: &mut Operation<'_>);
}

/// What is known of one operation.
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

    /// The named schemas of the document.
    pub fn schemas(&mut self) -> &mut Schemas {
        self.schemas
    }

    /// The request has a header that may be left out.
    pub fn header(&mut self, name: &'static str, description: &'static str, schema: Value) {
        self.optional(Place::Header, name, description, schema);
    }

    /// The query of the request has a parameter that may be left out. A query is refused where
    /// nothing that takes part in the request describes a parameter of it.
    pub fn query(&mut self, name: &'static str, description: &'static str, schema: Value) {
        self.optional(Place::Query, name, description, schema);
    }

    pub(crate) fn optional(
        &mut self,
        place: Place,
        name: &str,
        description: &'static str,
        schema: Value,
    ) {
        let name = name.to_owned();
        self.parameter(place, Field { name, description, required: false, schema });
    }

    pub(crate) fn parameters<T: Fields>(&mut self, place: Place) {
        for field in T::fields(self.schemas) {
            self.parameter(place, field);
        }
    }

    /// A parameter that may be left out is never null, unlike a field.
    fn parameter(&mut self, place: Place, field: Field) {
        let Field { name, description, required, schema } = field;
        let alone = schema.pointer("/anyOf/0").filter(|_| !required && is_nullable(&schema));
        let schema = alone.cloned().unwrap_or(schema);
        self.parameters.push(json!({
            "name": name,
            "in": place.as_str(),
            "description": description,
            "required": required,
            "schema": schema,
        }));
    }

    pub(crate) fn body<T: Schema>(&mut self, is_required: Required) {
        let schema = T::schema(self.schemas);
        self.body = Some(json!({
            "required": is_required == Required::Yes,
            "content": { "application/json": { "schema": schema } },
        }));
    }

    /// It may be answered with JSON of this type.
    pub fn answers<T: Schema>(&mut self, status: StatusCode, description: &str) {
        let schema = T::schema(self.schemas);
        self.answers_with(status, description, "application/json", schema);
    }

    pub(crate) fn answers_with(
        &mut self,
        status: StatusCode,
        description: &str,
        media_type: &'static str,
        schema: Value,
    ) {
        let response = self.response(status, description);
        response.content = Some((media_type, schema));
    }

    /// It may be answered with nothing.
    pub(crate) fn answers_nothing(&mut self, status: StatusCode, description: &str) {
        self.response(status, description);
    }

    /// It may be answered with a problem of this status.
    pub fn problem(&mut self, status: u16, description: &str) {
        let schema = Problem::schema(self.schemas);
        let response = self.responses.entry(status).or_default();
        response.content.get_or_insert((PROBLEM_JSON, schema));
        if !response.descriptions.iter().any(|known| known == description) {
            response.descriptions.push(description.to_owned());
        }
    }

    /// The answer of this status has a header.
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

    /// A header that every answer has.
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

    /// The names of the parameters that its query may have.
    pub(crate) fn query_names(&self) -> Vec<&str> {
        let in_query = |parameter: &&Value| parameter["in"] == Place::Query.as_str();
        let all = self.parameters.iter().filter(in_query);
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

/// Whether a request has to have a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    Yes,
    No,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
}

impl Place {
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
        T::describe(operation);
        operation.problem(500, "something is wrong on this side");
        operation.problem(503, "it cannot be done now, or nobody knows whether it was done");
        let seconds = json!({ "type": "integer", "minimum": 1 });
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        let description = "After how many seconds to try again, where that helps.";
        operation.answer_header(busy, "Retry-After", description, seconds);
    }
}
