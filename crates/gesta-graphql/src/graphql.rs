//! The router of an application with both interfaces.

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};
use gesta_http::{Api, GestaState, HttpRules, Link, Problem};
use serde_json::Value;

use crate::{
    cost::GraphQlLimits,
    edge::{Edge, answer},
    page,
    schema::{GraphSchema, Introspection},
    socket::{described, open_socket},
};

/// The GraphQL interface of an application, over its HTTP interface.
///
/// ```
/// use gesta::Gesta;
/// use gesta_graphql::{GraphQl, GraphQlLimits};
/// use gesta_http::{Api, GestaState};
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let state = GestaState::new(Gesta::at("memory:").open().await?);
/// let doors = Api::new("Doors", "1.0").operated_under("/v1");
/// let small = GraphQlLimits::DEFAULT.depth_max(8);
/// let router = GraphQl::over(doors).limits(small).router(state);
/// # drop(router);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Debug)]
pub struct GraphQl {
    api: Api,
    document: Value,
    limits: GraphQlLimits,
    introspection: Introspection,
}

impl GraphQl {
    /// Creates the interface, without introspection and with the default limits.
    #[must_use]
    pub fn over(api: Api) -> Self {
        let document = api.document();
        let introspection = Introspection::default();
        Self { api, document, limits: GraphQlLimits::DEFAULT, introspection }
    }

    /// Sets the limits of documents.
    #[must_use]
    pub fn limits(self, limits: GraphQlLimits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the visibility of the schema to clients.
    #[must_use]
    pub fn introspection(self, introspection: Introspection) -> Self {
        Self { introspection, ..self }
    }

    /// Builds the router of both interfaces, for an application that has no other routes:
    /// [`Api::router`] with `POST /graphql`, the WebSocket `/graphql/ws`, and the explorer page at
    /// `/graphiql`.
    ///
    /// # Panics
    /// If two routes have the same method and path, or two components of the document have names
    /// that GraphQL cannot tell apart.
    pub fn router(self, state: GestaState) -> Router {
        let (api, interface) = self.interface();
        let routes = api.describe_socket(described()).router(state.clone());
        routes.clone().merge(edge(routes, &interface, state))
    }

    /// Builds a router of both interfaces, to nest into or merge with the application's own router,
    /// whatever its state.
    ///
    /// # Panics
    /// As [`router`](Self::router).
    pub fn nested<S: Clone + Send + Sync + 'static>(self, state: GestaState) -> Router<S> {
        let (api, interface) = self.interface();
        let routes: Router = api.describe_socket(described()).nested(state.clone());
        routes.clone().merge(edge(routes, &interface, state)).with_state(())
    }

    fn interface(self) -> (Api, Interface) {
        let Self { api, document, limits, introspection } = self;
        let links = api.links().to_vec();
        (api, Interface { document, links, limits, introspection })
    }
}

/// The interface without its routes.
struct Interface {
    document: Value,
    links: Vec<Link>,
    limits: GraphQlLimits,
    introspection: Introspection,
}

fn edge(routes: Router, interface: &Interface, state: GestaState) -> Router {
    let Interface { document, links, limits, introspection } = interface;
    let schema = GraphSchema::of_document(document, links, *introspection, &state);
    let schema = schema.unwrap_or_else(|error| panic!("no schema can be made: {error}"));
    let rules = HttpRules::new(&state);
    let edge = Arc::new(Edge { schema, routes, state, limits: *limits });
    let of_get = |method: MethodRouter<Arc<Edge>>| method.fallback(only_get);
    Router::new()
        .route("/graphql", post(answer).fallback(only_post))
        .route("/graphql/ws", of_get(get(open_socket)))
        .route("/graphiql", of_get(get(page::show_page)))
        .route("/graphiql/explorer.css", of_get(get(page::show_style)))
        .route("/graphiql/explorer.js", of_get(get(page::show_script)))
        .layer(rules)
        .with_state(edge)
}

async fn only_post(method: Method, uri: Uri) -> Response {
    refused(&method, &uri, "POST")
}

async fn only_get(method: Method, uri: Uri) -> Response {
    refused(&method, &uri, "GET")
}

fn refused(method: &Method, uri: &Uri, allowed: &'static str) -> Response {
    let detail = format!("`{}` does not support {method}; it supports {allowed}", uri.path());
    let status = StatusCode::METHOD_NOT_ALLOWED;
    ([(header::ALLOW, allowed)], Problem::new(status, "method-not-allowed", detail)).into_response()
}
