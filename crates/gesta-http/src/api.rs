//! The table of routes, and what comes of it: the router, and the document.
//!
//! Always holds: an operation is in the document if and only if it is routed, because both come
//! from the same entries.

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::Method,
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
    process_operations,
    unexpected::no_parameters,
};

/// The table of an application's routes.
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

/// One entry: a method and a path, what handles its requests, and what is said about it.
pub struct Route {
    method: Method,
    path: String,
    id: String,
    summary: &'static str,
    area: &'static str,
    rejections: Vec<&'static str>,
    router: MethodRouter<GestaState>,
    /// In its query.
    has_parameters: bool,
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
            id: name_of::<E>(),
            summary,
            area: "operations",
            rejections: Vec::new(),
            router: endpoint.on(filter),
            has_parameters: !query_names::<E, A>().is_empty(),
            describe: E::describe,
        }
    }

    /// Refuses a query where the operation has no parameters in it.
    fn strict(mut self) -> Self {
        if !self.has_parameters {
            self.router = self.router.route_layer(from_fn(no_parameters));
        }
        self
    }

    /// The codes of the rejections that it may be answered with (422).
    #[must_use]
    pub fn rejects(mut self, codes: &[&'static str]) -> Self {
        self.rejections.extend(codes);
        self
    }

    /// The method and the path.
    #[must_use]
    pub fn place(&self) -> (&Method, &str) {
        (&self.method, &self.path)
    }

    fn operation(&self, schemas: &mut Schemas) -> Value {
        let mut operation = Operation::new(schemas);
        (self.describe)(&mut operation);
        if !self.rejections.is_empty() {
            operation.problem(422, &format!("rejected: {}", self.rejections.join(", ")));
        }
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
    operation.header(name, "The conversation that the request belongs to.", schema.clone());
    operation.problem(400, "the field that is named makes no sense");
    operation.problem(417, "the request expects something else than 100-continue");
    let about = "The conversation that the request belongs to, or begins.";
    operation.header_of_every_answer(name, about, &schema);
}

/// `create_user` is called `createUser`.
fn name_of<E>() -> String {
    let path = std::any::type_name::<E>();
    crate::schema::wire_name(path.rsplit("::").next().unwrap_or(path))
}

impl Api {
    /// A table with what every application has: its document, a page to try it with, its health.
    /// Their queries are ignored: probes and browsers may add to them what they like.
    #[must_use]
    pub fn new(title: &'static str, version: &'static str) -> Self {
        let mut routes = Vec::from(docs::routes());
        routes.extend(health::routes());
        Self { title, version, routes }
    }

    /// With the feed of events and the operation of projections and processes, under this path.
    #[must_use]
    pub fn operated_under(mut self, prefix: &str) -> Self {
        let routes = operations::routes(prefix).into_iter();
        let routes = routes.chain(process_operations::routes(prefix)).chain([feed::route(prefix)]);
        self.routes.extend(routes.map(Route::strict));
        self
    }

    /// With the routes of an area.
    #[must_use]
    pub fn with(mut self, area: &'static str, routes: impl IntoIterator<Item = Route>) -> Self {
        self.routes.extend(routes.into_iter().map(|route| Route { area, ..route }.strict()));
        self
    }

    /// All entries.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The document (OpenAPI 3.1).
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

    /// The router.
    ///
    /// # Panics
    /// When two entries have the same method and path.
    pub fn router(self, state: GestaState) -> Router {
        let document = Document(Arc::new(self.document()));
        let mut router = Router::new();
        for route in self.routes {
            router = router.route(&route.path, route.router);
        }
        router
            .fallback(no_such_route)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| panicked()))
            .layer(Extension(document))
            .layer(from_fn_with_state(state.clone(), conditional))
            .layer(from_fn(expectations))
            .layer(from_fn(single))
            .layer(from_fn(correlate))
            .layer(from_fn_with_state(state.clone(), cross_origin))
            .with_state(state)
    }
}

async fn no_such_route() -> Problem {
    let detail = "there is nothing at this path";
    Problem::new(axum::http::StatusCode::NOT_FOUND, "no-such-route", detail)
}

async fn method_not_allowed() -> Problem {
    let detail = "what is at this path does not know this method";
    Problem::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}

/// A bug. The handler is gone, the process goes on.
fn panicked() -> Response {
    #[derive(Debug, thiserror::Error)]
    #[error("a handler panicked")]
    struct Panicked;

    Problem::internal(&Panicked).into_response()
}
