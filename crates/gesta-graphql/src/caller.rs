//! Calls of the HTTP interface from within the process.
//!
//! A field of GraphQL is answered by the route of its operation, so rights, keys, conditions and
//! checks are those of the HTTP interface, and a request may be retried at either edge.
//!
//! Owns: [`Caller`], the request that fields are resolved for, and [`CallParts`], one call.
//!
//! Invariants:
//! - A call has the caller's headers and extensions, so it has the caller's actor, except for
//!   headers of the connection and of the content.
//! - A header that only one command can have is refused in a request with several.

use std::sync::{Mutex, PoisonError};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::MatchedPath,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, request::Parts},
};
use gesta::CorrelationId;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::failure::Failure;

const POSITION: &str = "gesta-position";
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Headers of the caller that say nothing about the calls made for it, or that were checked
/// already.
const NOT_PASSED: [&str; 22] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "keep-alive",
    "last-event-id",
    "origin",
    "range",
    "sec-fetch-site",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
];

/// The request that fields are resolved for.
pub(crate) struct Caller {
    routes: Router,
    parts: Parts,
    /// Number of commands in the request.
    commands: usize,
    positions: Mutex<Positions>,
}

/// The positions of the answers so far.
#[derive(Clone, Copy, Debug, Default)]
struct Positions {
    /// The least position of the queries: all of them reflect it.
    queries: Option<u64>,
    /// The greatest position of the commands: a query at it sees all of them.
    commands: Option<u64>,
}

/// The parts of one call.
#[derive(Clone, Debug)]
pub(crate) struct CallParts {
    pub(crate) method: Method,
    /// Path with its query string.
    pub(crate) target: String,
    pub(crate) body: Option<Value>,
    pub(crate) idempotency_key: Option<String>,
    /// As it was given, also below zero: the HTTP interface refuses what is wrong.
    pub(crate) expected_revision: Option<i128>,
    /// As it was given.
    pub(crate) at_least: Option<i128>,
}

impl CallParts {
    /// Returns the position that the answer must reflect.
    pub(crate) fn floor(&self) -> Option<u64> {
        u64::try_from(self.at_least?).ok()
    }
}

/// The answer of a call.
#[derive(Debug)]
pub(crate) struct CallAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Caller {
    /// Creates the caller of a request whose document has this number of commands.
    pub(crate) fn new(routes: Router, parts: Parts, commands: usize) -> Self {
        Self { routes, parts, commands, positions: Mutex::default() }
    }

    /// Returns the position for the extensions of the response.
    pub(crate) fn position(&self) -> Option<u64> {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.commands.or(positions.queries)
    }

    /// Forgets the positions so far, before the next response of a subscription.
    pub(crate) fn forget_positions(&self) {
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = Positions::default();
    }

    /// Adds the position of an answer.
    pub(crate) fn reached(&self, position: u64, is_command: bool) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        if is_command {
            positions.commands = positions.commands.max(Some(position));
        } else {
            let least = positions.queries.map_or(position, |known| known.min(position));
            positions.queries = Some(least);
        }
    }

    /// Calls a route and reads its answer.
    pub(crate) async fn call(&self, call: CallParts) -> Result<CallAnswer, Failure> {
        let is_command = call.method != Method::GET;
        let response = self.open(call).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.map_err(Failure::internal)?;
        let body = match body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&body).map_err(Failure::internal)?,
        };
        if let Some(position) = number(&headers, POSITION) {
            self.reached(position, is_command);
        }
        Ok(CallAnswer { status, headers, body })
    }

    /// Calls a route and returns its response, whose body may be endless.
    pub(crate) async fn open(&self, call: CallParts) -> Result<Response<Body>, Failure> {
        let request = self.request(call)?;
        match self.routes.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    fn request(&self, call: CallParts) -> Result<Request<Body>, Failure> {
        let body = call.body.map_or_else(Bytes::new, |body| body.to_string().into());
        let has_body = !body.is_empty();
        let mut request = Request::new(Body::from(body));
        *request.uri_mut() = call.target.parse().map_err(|_| {
            let reason =
                "are too long: path and query of the HTTP interface have at most 65,534 bytes";
            Failure::invalid("arguments", reason)
        })?;
        let mut headers = self.passed_headers(&call.method)?;
        *request.method_mut() = call.method;
        if has_body {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        if let Some(key) = call.idempotency_key {
            let name = "idempotencyKey";
            let key = HeaderValue::from_str(&key).map_err(|_| {
                Failure::invalid(name, "must have 1 to 255 visible ASCII characters and no spaces")
            })?;
            headers.insert(HeaderName::from_static(IDEMPOTENCY_KEY), key);
        }
        if let Some(revision) = call.expected_revision {
            headers.insert(header::IF_MATCH, ascii(&format!("\"{revision}\""))?);
        }
        if let Some(position) = call.at_least {
            headers.insert(HeaderName::from_static(POSITION), ascii(&position.to_string())?);
        }
        *request.headers_mut() = headers;
        *request.extensions_mut() = self.parts.extensions.clone();
        // The router adds the path of its own route to this one.
        request.extensions_mut().remove::<MatchedPath>();
        Ok(request)
    }

    fn passed_headers(&self, method: &Method) -> Result<HeaderMap, Failure> {
        let mut headers = self.parts.headers.clone();
        for name in NOT_PASSED {
            headers.remove(name);
        }
        let of_one_command = [IDEMPOTENCY_KEY, header::IF_MATCH.as_str()];
        for (name, argument) in
            of_one_command.into_iter().zip(["idempotencyKey", "expectedRevision"])
        {
            if *method == Method::GET {
                headers.remove(name);
            } else if self.commands > 1 && headers.contains_key(name) {
                let reason = format!(
                    "cannot be the header of several commands; give each its own `{argument}`"
                );
                return Err(Failure::invalid(name, &reason));
            }
        }
        // One id for all events of a request, also if the client gave none.
        if let Some(id) = self.parts.extensions.get::<CorrelationId>() {
            headers.insert(HeaderName::from_static("x-correlation-id"), ascii(id.as_str())?);
        }
        Ok(headers)
    }
}

impl CallAnswer {
    /// Returns the revision in the entity tag.
    pub(crate) fn revision(&self) -> Option<u64> {
        let tag = self.headers.get(header::ETAG)?.to_str().ok()?;
        // The part after `-` is the store's incarnation.
        let number = tag.trim_matches('"').split('-').next()?;
        number.parse().ok()
    }

    /// Returns the error of an unsuccessful answer.
    pub(crate) fn failure(&self) -> Failure {
        Failure::retried_after(&self.body, self.number("retry-after"))
    }

    /// Returns a header of numbers.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        number(&self.headers, name)
    }

    /// Returns a header's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn ascii(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(Failure::internal)
}
