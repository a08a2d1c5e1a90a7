//! Routes: a method and a path, with the handler and its documentation.
//!
//! Not here: the table of all routes ([`api`](crate::api)), and what documents a handler
//! ([`endpoint`](crate::routing::endpoint)).

use axum::{
    http::Method,
    middleware::from_fn,
    routing::{MethodFilter, MethodRouter},
};
use serde_json::{Value, json};

use crate::{
    Endpoint, GestaState, Operation, Schemas,
    requests::unexpected::no_parameters,
    routing::endpoint::query_names,
    wire::{headers, problem::VALIDATION_FAILED, schema::wire_name},
};

/// A method and a path with their handler and documentation.
pub struct Route {
    method: Method,
    path: String,
    id: String,
    summary: &'static str,
    area: &'static str,
    rejections: Vec<&'static str>,
    router: MethodRouter<GestaState>,
    has_query_parameters: bool,
    describe: fn(&mut Operation<'_>),
}

/// Routes `GET` requests to an endpoint.
pub fn get<E: Endpoint<A>, A>(path: &str, endpoint: E, summary: &'static str) -> Route {
    Route::new((Method::GET, MethodFilter::GET), path, endpoint, summary)
}

/// Routes `POST` requests to an endpoint.
pub fn post<E: Endpoint<A>, A>(path: &str, endpoint: E, summary: &'static str) -> Route {
    Route::new((Method::POST, MethodFilter::POST), path, endpoint, summary)
}

/// Routes `PUT` requests to an endpoint.
pub fn put<E: Endpoint<A>, A>(path: &str, endpoint: E, summary: &'static str) -> Route {
    Route::new((Method::PUT, MethodFilter::PUT), path, endpoint, summary)
}

/// Routes `DELETE` requests to an endpoint.
pub fn delete<E: Endpoint<A>, A>(path: &str, endpoint: E, summary: &'static str) -> Route {
    Route::new((Method::DELETE, MethodFilter::DELETE), path, endpoint, summary)
}

impl Route {
    fn new<E: Endpoint<A>, A>(
        (method, filter): (Method, MethodFilter),
        path: &str,
        endpoint: E,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path: path.to_owned(),
            id: operation_id::<E>(),
            summary,
            area: "operations",
            rejections: Vec::new(),
            router: endpoint.on(filter),
            has_query_parameters: !query_names::<E, A>().is_empty(),
            describe: E::describe,
        }
    }

    /// Refuses requests with a query string if the operation has no query parameters.
    pub(crate) fn strict(mut self) -> Self {
        if !self.has_query_parameters {
            // `route_layer` leaves other methods alone: they stay a 405, with or without a query.
            self.router = self.router.route_layer(from_fn(no_parameters));
        }
        self
    }

    /// Sets the tag in the document.
    pub(crate) fn in_area(self, area: &'static str) -> Self {
        Self { area, ..self }
    }

    /// Returns the path and the handler, for the router.
    pub(crate) fn into_parts(self) -> (String, MethodRouter<GestaState>) {
        (self.path, self.router)
    }

    /// Adds codes of rejections (422) to the documentation.
    #[must_use]
    pub fn rejects(mut self, codes: &[&'static str]) -> Self {
        self.rejections.extend(codes);
        self
    }

    /// Returns the method and the path.
    #[must_use]
    pub fn place(&self) -> (&Method, &str) {
        (&self.method, &self.path)
    }

    /// Returns the route's entry in the document.
    pub(crate) fn operation(&self, schemas: &mut Schemas) -> Value {
        let mut operation = Operation::new(schemas);
        (self.describe)(&mut operation);
        // The types do not list the codes of a rejection; the route does.
        if !self.rejections.is_empty() {
            operation.problem(422, &format!("rejected: {}", self.rejections.join(", ")));
        }
        // Last, because it adds a header to all responses described so far.
        describe_correlation(&mut operation);
        let mut operation = operation.into_json();
        if let Some(members) = operation.as_object_mut() {
            members.insert("operationId".to_owned(), json!(self.id));
            members.insert("summary".to_owned(), json!(self.summary));
            members.insert("tags".to_owned(), json!([self.area]));
        }
        operation
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn describe_correlation(operation: &mut Operation<'_>) {
    let name = "X-Correlation-Id";
    let schema = headers::token_schema();
    let about = "Id of the conversation that the request belongs to; recorded with its events.";
    operation.header(name, about, schema.clone());
    operation.problem(400, VALIDATION_FAILED);
    operation.problem(417, "the Expect header has a value other than 100-continue");
    let about = "The request's correlation id, or a new one if it had none.";
    operation.header_of_every_answer(name, about, &schema);
}

/// Returns the operation id of a handler: `createUser` for `create_user`.
fn operation_id<E>() -> String {
    let path = std::any::type_name::<E>();
    wire_name(path.rsplit("::").next().unwrap_or(path))
}
