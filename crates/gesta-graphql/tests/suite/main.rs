//! GraphQL at its HTTP boundary, over a small library that lends books.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops where it fails")]

mod access;
mod commands;
mod library;
mod limits;
mod links;
mod queries;
mod readers;
mod schema;
mod sockets;
mod subscriptions;
mod tenants;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response},
};
use gesta_graphql::{GraphQl, GraphQlLimits, Introspection};
use gesta_http::GestaState;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A client that calls the router directly, without a network.
#[derive(Clone)]
struct Client {
    router: Router,
    state: GestaState,
}

/// A response with a JSON body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    json: Value,
}

impl Client {
    /// Returns a client of a new, empty library.
    async fn new() -> Self {
        Self::with(|graphql| graphql.introspection(Introspection::On)).await
    }

    /// Returns a client of a library with these settings.
    async fn with(set: impl FnOnce(GraphQl) -> GraphQl) -> Self {
        let state = GestaState::new(library::open().await);
        let router = set(GraphQl::over(library::api())).router(state.clone());
        Self { router, state }
    }

    /// Returns a client of the library with this state.
    fn of_state(state: GestaState) -> Self {
        let router = GraphQl::over(library::api()).router(state.clone());
        Self { router, state }
    }

    /// Returns a client of a library with these limits.
    async fn limited(limits: GraphQlLimits) -> Self {
        Self::with(|graphql| graphql.limits(limits)).await
    }

    async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.raw(request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, json: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// Sends a document with variables and headers.
    async fn ask(&self, query: &str, variables: Value, headers: &[(&str, &str)]) -> Answer {
        self.send(posted(query, variables, headers)).await
    }

    /// Sends a document and returns its answer, which has no errors.
    async fn ok(&self, query: &str) -> Value {
        let answer = self.ask(query, json!({}), &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json.get("errors").is_none(), "{answer:?}");
        answer.json
    }

    /// Sends a document and returns its first error.
    async fn error(&self, query: &str) -> Value {
        self.ask(query, json!({}), &[]).await.json["errors"][0].clone()
    }

    /// Adds a book and returns the position.
    async fn add(&self, book: &str) -> u64 {
        let add = format!(
            "mutation {{ addBook(input: {{ book: \"{book}\", title: \"{book}!\" }}) {{ \
             ... on Created {{ position }} }} }}"
        );
        self.ok(&add).await["data"]["addBook"]["position"].as_u64().unwrap()
    }
}

fn posted(query: &str, variables: Value, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post("/graphql").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "query": query, "variables": variables });
    request.body(Body::from(body.to_string())).unwrap()
}
