//! The route table, from which the router and the OpenAPI document are built.
//!
//! Invariant: an operation is in the document if and only if it is routed.

use std::sync::Arc;

use axum::{
    Extension, Router,
    http::{Method, Uri},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    GestaState, Problem, Route, Schemas,
    built_in::{
        docs::{self, Document},
        feed, health, processes, projections,
    },
    requests::{
        correlation::correlate, cors::cross_origin, expect::expectations,
        preconditions::conditional,
    },
    wire::headers::single,
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
        let routes = projections::routes(prefix).into_iter();
        let routes = routes.chain(processes::routes(prefix)).chain([feed::route(prefix)]);
        // Operators change things by hand, where a misspelt parameter must not be ignored.
        self.routes.extend(routes.map(Route::strict));
        self
    }

    /// Adds routes; `area` is their tag in the document.
    #[must_use]
    pub fn with(mut self, area: &'static str, routes: impl IntoIterator<Item = Route>) -> Self {
        self.routes.extend(routes.into_iter().map(|route| route.in_area(area).strict()));
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
            let (method, path) = route.place();
            let path = paths.entry(path).or_insert_with(|| json!({}));
            if let Some(methods) = path.as_object_mut() {
                methods.insert(method.as_str().to_lowercase(), operation);
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
        // Built once. A request gets a clone of the `Arc`.
        let document = Document(Arc::new(self.document()));
        let mut router = Router::new();
        // axum panics on a duplicate method and path.
        for route in self.routes {
            let (path, handler) = route.into_parts();
            router = router.route(&path, handler);
        }
        router
            .fallback(no_such_route)
            .method_not_allowed_fallback(method_not_allowed)
            // Innermost: the response to a panic passes all other layers like any response.
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
    let detail =
        format!("no route matches `{method} {}`; /openapi.json lists the routes", uri.path());
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
