//! The route table, from which the router and the OpenAPI document are built.
//!
//! Invariant: an operation is in the document if and only if it is routed.

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::{Method, Uri},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter},
};
use serde_json::{Map, Value, json};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    Endpoint, GestaState, Operation, Problem, Schemas,
    correlation::correlate,
    cors::cross_origin,
    docs::{self, Document},
    endpoint::query_names,
    expect::expectations,
    feed,
    headers::{self, single},
    health, operations,
    preconditions::conditional,
    problem::VALIDATION_FAILED,
    process_operations,
    unexpected::no_parameters,
};

/// The route table of an application.
///
/// ```
/// use gesta_http::Api;
///
/// let document = Api::new("Doors", "1.0").operated_under("/v1").document();
/// assert_eq!(document["openapi"], "3.1.0");
/// assert!(document["paths"]["/v1/projections"]["get"].is_object());
/// ```
#[derive(Debug)]
pub struct Api {
    title: &'static str,
    version: &'static str,
    routes: Vec<Route>,
}

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
    fn strict(mut self) -> Self {
        if !self.has_query_parameters {
            self.router = self.router.route_layer(from_fn(no_parameters));
        }
        self
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

    fn operation(&self, schemas: &mut Schemas) -> Value {
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
    crate::schema::wire_name(path.rsplit("::").next().unwrap_or(path))
}

impl Api {
    /// Creates a table with the routes of every application: the OpenAPI document, a page to try
    /// it, and health.
    ///
    /// These routes ignore query strings, which probes and browsers add at will.
    #[must_use]
    pub fn new(title: &'static str, version: &'static str) -> Self {
        let mut routes = Vec::from(docs::routes());
        routes.extend(health::routes());
        Self { title, version, routes }
    }

    /// Adds the event feed and the operator's routes for projections and process managers, under a
    /// path prefix.
    #[must_use]
    pub fn operated_under(mut self, prefix: &str) -> Self {
        let routes = operations::routes(prefix).into_iter();
        let routes = routes.chain(process_operations::routes(prefix)).chain([feed::route(prefix)]);
        self.routes.extend(routes.map(Route::strict));
        self
    }

    /// Adds routes; `area` is their tag in the document.
    #[must_use]
    pub fn with(mut self, area: &'static str, routes: impl IntoIterator<Item = Route>) -> Self {
        self.routes.extend(routes.into_iter().map(|route| Route { area, ..route }.strict()));
        self
    }

    /// Returns all routes.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Returns the OpenAPI 3.1 document.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut schemas = Schemas::default();
        let mut paths = Map::new();
        for route in &self.routes {
            let operation = route.operation(&mut schemas);
            let path = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
            if let Some(methods) = path.as_object_mut() {
                methods.insert(route.method.as_str().to_lowercase(), operation);
            }
        }
        json!({
            "openapi": "3.1.0",
            "info": { "title": self.title, "version": self.version },
            "paths": paths,
            "components": { "schemas": schemas.into_json() },
        })
    }

    /// Builds the router.
    ///
    /// # Panics
    /// If two routes have the same method and path.
    pub fn router(self, state: GestaState) -> Router {
        let document = Document(Arc::new(self.document()));
        let mut router = Router::new();
        // axum panics on a duplicate method and path.
        for route in self.routes {
            router = router.route(&route.path, route.router);
        }
        router
            .fallback(no_such_route)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked()))
            .layer(Extension(document))
            // A layer wraps those above it. Every response, including refusals by inner layers,
            // must carry the correlation id and the CORS headers, so these two are outermost.
            .layer(from_fn_with_state(state.clone(), conditional))
            .layer(from_fn(expectations))
            .layer(from_fn(single))
            .layer(from_fn(correlate))
            .layer(from_fn_with_state(state.clone(), cross_origin))
            .with_state(state)
    }
}

async fn no_such_route(method: Method, uri: Uri) -> Problem {
    let detail = format!("no route matches `{method} {}`", uri.path());
    Problem::new(axum::http::StatusCode::NOT_FOUND, "no-such-route", detail)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail =
        format!("`{}` does not support {method}; the Allow header lists its methods", uri.path());
    Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// Response to a request whose handler panicked. Other requests are not affected.
fn panicked() -> Response {
    #[derive(Debug, thiserror::Error)]
    #[error("a handler panicked")]
    struct Panicked;

    Problem::internal(&Panicked).into_response()
}
