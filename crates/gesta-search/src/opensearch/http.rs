//! Calls to the server.
//!
//! Invariants: a call ends within its time limit. An error names the server, without a password. A
//! broken connection is replaced by the next call, so nothing has to be restarted.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gesta_store::DatabaseError;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;

use super::encryption::{Connector, connector};
use crate::{
    InvalidSearchUrl,
    url::{Protection, ServerUrl},
};

/// Time limit of a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Time limit of a call that reads.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Time limit of a call that writes, or changes indexes.
const LONG_CALL_WITHIN: Duration = Duration::from_secs(60);
/// Time after which an idle connection is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Maximum size of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The kind of error of an index or a cluster that takes no writes, and what ends it.
pub(super) const BLOCKED: &str = "cluster_block_exception";
pub(super) const UNBLOCK: &str = "free disk space if the server has little left, and remove the \
                                  block from the settings of the index or the cluster";

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";

/// The time limit of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Short,
    Long,
}

impl Limit {
    const fn duration(self) -> Duration {
        match self {
            Self::Short => CALL_WITHIN,
            Self::Long => LONG_CALL_WITHIN,
        }
    }
}

/// The connections to a server.
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    url: ServerUrl,
    authorization: Option<HeaderValue>,
}

/// The server's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.url)
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Http {
    /// # Errors
    ///
    /// [`InvalidSearchUrl`] if the file of authorities cannot be used.
    pub(super) fn new(url: ServerUrl) -> Result<Self, InvalidSearchUrl> {
        let mut plain = HttpConnector::new();
        plain.set_connect_timeout(Some(CONNECT_WITHIN));
        plain.set_nodelay(true);
        let connector = connector(plain, &url.protection)?;
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.pool_idle_timeout(IDLE_MAX).build(connector);
        let authorization = url.user.as_ref().map(|(user, password)| {
            let basic = STANDARD.encode(format!("{user}:{password}"));
            let value = HeaderValue::from_str(&format!("Basic {basic}"));
            let mut value = value.expect("Base64 is allowed in a header");
            value.set_sensitive(true);
            value
        });
        Ok(Self { client, url, authorization })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, DatabaseError> {
        self.call(Method::GET, path, (JSON, Bytes::new()), Limit::Short).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Answer, DatabaseError> {
        let body = (JSON, Bytes::from(body.to_string()));
        self.call(Method::PUT, path, body, Limit::Long).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, DatabaseError> {
        let body = (JSON, Bytes::from(body.to_string()));
        self.call(Method::POST, path, body, Limit::Short).await
    }

    /// Posts a change of indexes, such as of their aliases. Null is no body.
    pub(super) async fn post_change(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Answer, DatabaseError> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.call(Method::POST, path, (JSON, body), Limit::Long).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Answer, DatabaseError> {
        self.call(Method::DELETE, path, (JSON, Bytes::new()), Limit::Long).await
    }

    pub(super) async fn bulk(&self, path: &str, lines: Bytes) -> Result<Answer, DatabaseError> {
        self.call(Method::POST, path, (JSON_LINES, lines), Limit::Long).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        (content_type, body): (&'static str, Bytes),
        limit: Limit,
    ) -> Result<Answer, DatabaseError> {
        let within = limit.duration();
        let scheme = match self.url.protection {
            Protection::None => "http",
            Protection::Tls { .. } => "https",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{scheme}://{}{path}", self.url.authority))
            .header(CONTENT_TYPE, content_type);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| {
            DatabaseError::rejected(format!("{self}: the URL cannot be called: {error}"))
        })?;
        let answer = timeout(within, self.answer(request)).await;
        answer.unwrap_or_else(|_| {
            let seconds = within.as_secs();
            Err(self.unexpected(&format!("did not answer within {seconds} s")))
        })
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answer, DatabaseError> {
        let response = self.client.request(request).await.map_err(|error| {
            let reason = format!("cannot be reached: {}", chain(&error));
            self.unexpected(&reason)
        })?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.unknown_user(status));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| self.unexpected(&format!("broke off its answer: {error}")))?;
        // An answer that is no JSON, such as that of a proxy, is known by its status.
        let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
        if status == StatusCode::FORBIDDEN {
            // A proxy gives no reason, and has its own users.
            return Err(match reason_of(&body) {
                Some(reason) => self.unexpected(&forbidden(&body, reason)),
                None => self.unknown_user(status),
            });
        }
        Ok(Answer { status: status.as_u16(), body })
    }

    fn unknown_user(&self, status: StatusCode) -> DatabaseError {
        let (whom, hint) = match self.authorization {
            Some(_) => ("user or password", "check both in its URL"),
            None => ("call", "give a user in its URL, as opensearch://USER:PASSWORD@HOST:PORT"),
        };
        self.unexpected(&format!("refuses the {whom} (status {}); {hint}", status.as_u16()))
    }

    /// The error for a server that does not do what it should at the moment.
    pub(super) fn unexpected(&self, reason: &str) -> DatabaseError {
        DatabaseError::unavailable(format!("{self} {reason}"))
    }
}

/// Returns a part of an answer by its JSON pointer; null if it is missing.
pub(super) fn part<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Returns the server's reason for an error, if it gives one.
fn reason_of(body: &Value) -> Option<&str> {
    let error = part(body, "/error");
    part(error, "/root_cause/0/reason").as_str().or(part(error, "/reason").as_str())
}

/// Describes a refusal of a known user, or of everybody.
fn forbidden(body: &Value, reason: &str) -> String {
    let hint = match part(body, "/error/type").as_str() {
        Some(BLOCKED) => UNBLOCK,
        _ => "give the user of its URL this right",
    };
    format!("refuses the call (status 403): {reason}; {hint}")
}

/// Returns whether an error says that the index was dropped, or closed by a quarantine.
pub(super) fn is_of_missing_index(kind: &str) -> bool {
    matches!(kind, "index_not_found_exception" | "index_closed_exception")
}

/// The texts of an error and its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Answer {
    pub(super) fn is_missing_index(&self) -> bool {
        part(&self.body, "/error/type").as_str().is_some_and(is_of_missing_index)
    }

    /// Returns the body of a success.
    pub(super) fn ok(self, http: &Http) -> Result<Value, DatabaseError> {
        let Self { status, body } = self;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let reason = reason_of(&body).unwrap_or("without a reason");
        let text = format!("answered {status}: {reason}");
        match status {
            400 => Err(DatabaseError::rejected(format!("{http} {text}"))),
            // Among them 429 and 503: the server is overloaded or starts.
            _ => Err(http.unexpected(&text)),
        }
    }
}
