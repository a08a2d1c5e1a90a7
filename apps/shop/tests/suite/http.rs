//! The shop over HTTP.
//!
//! Owns: [`Client`], which checks every response against the OpenAPI document.

mod access;
mod asyncapi;
mod docs_page;
mod document;
mod feed;
mod freshness;
#[cfg(feature = "graphql")]
mod graphql;
mod identifiers;
#[cfg(feature = "graphql")]
mod links;
mod lists;
mod newcomer;
mod operations;
mod orders;
mod processes;
mod reactors;
mod repeats;
#[cfg(feature = "search")]
mod search;
mod standards;
mod statuses;
mod story;
mod stuck;
mod tenants;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use gesta::Gesta;
use gesta_http::{Api, GestaState};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::opened;

/// An operation and a status of its responses.
type Seen = (String, u16);

/// A client that calls the router directly, without a network.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) shop: Gesta,
    router: Router,
    document: Arc<Value>,
    seen: Arc<Mutex<BTreeSet<Seen>>>,
}

/// A response with a JSON body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Client {
    /// Returns a client of a new, empty shop.
    pub(crate) async fn new() -> Self {
        Self::over(opened::in_memory().await)
    }

    /// Returns a client of an open shop.
    pub(crate) fn over(shop: Gesta) -> Self {
        Self::at(shop, |state| state)
    }

    /// Returns a client of an open shop with this HTTP state.
    pub(crate) fn at(shop: Gesta, state: impl FnOnce(GestaState) -> GestaState) -> Self {
        Self::of(shop::http::api, shop, state)
    }

    /// Returns a client of this HTTP interface of an open shop.
    pub(crate) fn of(
        api: fn() -> Api,
        shop: Gesta,
        state: impl FnOnce(GestaState) -> GestaState,
    ) -> Self {
        let document = Arc::new(api().document());
        let router = api().router(state(GestaState::new(shop.clone())));
        Self { shop, router, document, seen: Arc::default() }
    }

    /// Returns a client of the same shop with another HTTP state.
    pub(crate) fn with_state(&self, state: GestaState) -> Self {
        Self { router: shop::http::api().router(state), ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Asking<'_> {
        self.ask(Method::GET, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Asking<'_> {
        self.ask(Method::DELETE, path)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Asking<'_> {
        self.ask(Method::POST, path).json(&body)
    }

    pub(crate) fn put(&self, path: &str, body: Value) -> Asking<'_> {
        self.ask(Method::PUT, path).json(&body)
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Asking<'_> {
        let request = Request::builder().method(method).uri(path);
        Asking { client: self, request, body: Body::empty(), path: path.to_owned() }
    }

    /// Returns every operation with every status of its responses so far.
    pub(crate) fn seen(&self) -> BTreeSet<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Returns the response itself, for endless bodies.
    pub(crate) async fn raw(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Returns the document's path template of a request.
    fn template(&self, path: &str) -> Option<String> {
        let path = path.split('?').next().unwrap();
        let segments: Vec<_> = path.split('/').collect();
        let fits = |template: &str| {
            let parts: Vec<_> = template.split('/').collect();
            let same = |(part, segment): (&&str, &&str)| part.starts_with('{') || part == segment;
            parts.len() == segments.len() && parts.iter().zip(&segments).all(same)
        };
        let templates: Vec<_> =
            self.document["paths"].as_object().unwrap().keys().filter(|it| fits(it)).collect();
        templates.iter().find(|it| ***it == path).or(templates.first()).map(ToString::to_string)
    }

    fn check(&self, method: &Method, path: &str, answer: &Answer, media_type: &str) {
        let Some(template) = self.template(path) else {
            assert_eq!(answer.status, 404, "{method} {path}");
            return;
        };
        let method = method.as_str().to_lowercase();
        let operation = &self.document["paths"][&template][&method];
        if operation.is_null() {
            assert_eq!(answer.status, 405, "{method} {path}");
            return;
        }
        let id = operation["operationId"].as_str().unwrap().to_owned();
        let mut response = &operation["responses"][answer.status.to_string()];
        assert!(!response.is_null(), "{id} does not say {}: {answer:?}", answer.status);
        if let Some(shared) = response["$ref"].as_str() {
            response = self.document.pointer(shared.trim_start_matches('#')).unwrap();
        }
        self.seen.lock().unwrap().insert((id.clone(), answer.status));
        for (name, _) in response["headers"].as_object().unwrap() {
            let optional = ["Retry-After", "ETag", "Link"].contains(&name.as_str());
            assert!(optional || answer.headers.contains_key(name), "{id} without {name}");
        }
        let Some(content) = response["content"].as_object() else {
            assert!(answer.json.is_null(), "{id}: {answer:?}");
            return;
        };
        let (said, body) = content.iter().next().unwrap();
        assert!(said == "*/*" || media_type.starts_with(said), "{id}: {media_type}");
        if said.ends_with("json") {
            self.check_body(&id, &body["schema"], &answer.json);
        }
    }

    fn check_body(&self, id: &str, schema: &Value, body: &Value) {
        let schema = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let odd: Vec<_> = validator.iter_errors(body).map(|error| error.to_string()).collect();
        assert!(odd.is_empty(), "{id} answers {body}: {odd:?}");
    }
}

/// A request that is not yet sent.
pub(crate) struct Asking<'c> {
    client: &'c Client,
    request: axum::http::request::Builder,
    body: Body,
    path: String,
}

impl Asking<'_> {
    pub(crate) fn header(self, name: &str, value: impl ToString) -> Self {
        Self { request: self.request.header(name, value.to_string()), ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Returns the request itself, for endless response bodies.
    pub(crate) fn into_request(self) -> Request<Body> {
        self.request.body(self.body).unwrap()
    }

    pub(crate) async fn send(self) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let method = request.method().clone();
        let response = self.client.raw(request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let media_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        let is_json = media_type.ends_with("json");
        let json = if is_json { serde_json::from_slice(&bytes).unwrap() } else { Value::Null };
        let answer = Answer { status, headers: headers.clone(), json };
        self.client.check(&method, &self.path, &answer, media_type);
        answer
    }

    /// Sends the request and expects success.
    pub(crate) async fn ok(self) -> Answer {
        let answer = self.send().await;
        assert!(StatusCode::from_u16(answer.status).unwrap().is_success(), "{answer:?}");
        answer
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Returns the revision in the entity tag, without the store's incarnation.
    pub(crate) fn tagged_revision(&self) -> u64 {
        let (revision, _) = self.header("etag").trim_matches('"').split_once('-').unwrap();
        revision.parse().unwrap()
    }

    pub(crate) fn position(&self) -> u64 {
        self.header("gesta-position").parse().unwrap()
    }

    /// The status and the code of a problem.
    pub(crate) fn problem(&self) -> (u16, &str) {
        (self.status, self.json["code"].as_str().unwrap_or_default())
    }

    /// The status and the field of a problem.
    pub(crate) fn field(&self) -> (u16, &str) {
        (self.status, self.json["field"].as_str().unwrap_or_default())
    }
}

pub(crate) fn ann() -> Value {
    json!({ "userId": "ann", "firstName": "Ann", "lastName": "Lee", "email": "ann@example.org" })
}

pub(crate) fn mug() -> Value {
    json!({ "productId": "mug", "name": "White mug", "price": "2.55" })
}

pub(crate) fn order(id: &str) -> Value {
    let items = json!([{ "productId": "mug", "quantity": 4 }]);
    json!({ "orderId": id, "customerId": "17850", "orderItems": items })
}

pub(crate) fn account(id: &str, currency: &str) -> Value {
    json!({ "accountId": id, "currency": currency })
}

pub(crate) fn deposit(amount: &str) -> Value {
    json!({ "amount": amount, "reference": "wages" })
}
