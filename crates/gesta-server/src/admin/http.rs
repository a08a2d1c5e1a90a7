//! The endpoints for operators that are no calls, over the same kind of connection.

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use serde_json::Value;
use tower::Service as _;

use super::{AdminClient, AdminError, connection::ANSWER_BYTES_MAX};
use crate::scavenges::ScavengeRequest;

impl AdminClient {
    /// Returns the figures of the server, as `/stats` has them.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn stats(&self) -> Result<Value, AdminError> {
        self.endpoint(Method::GET, "/stats").await
    }

    /// Returns once the server answers.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn ping(&self) -> Result<(), AdminError> {
        self.endpoint(Method::GET, "/ping").await.map(drop)
    }

    /// Starts a scavenge of the store, and returns its description.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if one is running, [`AdminError::Invalid`] if the server's store
    /// cannot be scavenged.
    pub async fn start_scavenge(&self, request: ScavengeRequest) -> Result<Value, AdminError> {
        let path = match request.threshold_percent {
            Some(percent) => format!("/admin/scavenge?threshold={percent}"),
            None => "/admin/scavenge".to_owned(),
        };
        match self.endpoint(Method::POST, &path).await {
            Err(AdminError::Refused { .. }) => {
                let reason = "a scavenge is running already".to_owned();
                Err(AdminError::Refused { reason })
            }
            answered => answered,
        }
    }

    /// Returns the description of the last scavenge since the server was started.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if there was none.
    pub async fn last_scavenge(&self) -> Result<Value, AdminError> {
        self.endpoint(Method::GET, "/admin/scavenge").await
    }

    /// Ends a scavenge, and returns its description.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if the last scavenge has another id.
    pub async fn stop_scavenge(&self, id: &str) -> Result<Value, AdminError> {
        let id = part_of_path(id, "scavenge")?;
        self.endpoint(Method::DELETE, &format!("/admin/scavenge/{id}")).await
    }

    /// Begins the graceful end of the server.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn shut_down(&self) -> Result<(), AdminError> {
        self.endpoint(Method::POST, "/admin/shutdown").await.map(drop)
    }

    /// Makes a request, and returns the JSON of its answer.
    async fn endpoint(&self, method: Method, path: &str) -> Result<Value, AdminError> {
        self.send(method, path, None).await
    }

    /// The same with a body in JSON.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AdminError> {
        match self.answer(method, path, body).await {
            Err(error) => Err(self.explained(error).await),
            answered => answered,
        }
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AdminError> {
        let no_answer =
            |reason: String| AdminError::NoAnswer { address: self.address.clone(), reason };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{path}", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(secret) = &self.authorization {
            request = request.header(header::AUTHORIZATION, secret.0.as_bytes());
        }
        let request = match body {
            Some(json) => {
                let body = http_body_util::Full::new(bytes::Bytes::from(json.to_string()));
                request
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(tonic::body::Body::new(body))
            }
            None => request.body(tonic::body::Body::empty()),
        };
        let request = request.map_err(|error| no_answer(error.to_string()))?;
        let mut channel = self.connect().await?;
        let answered = async {
            std::future::poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(request).await
        };
        let answered = tokio::time::timeout(super::CALL_MAX, answered).await;
        let response = answered.map_err(|_| no_answer("no answer in time".to_owned()))?;
        let response = response.map_err(|error| no_answer(error.to_string()))?;
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await;
        let body = body.map_err(|error| no_answer(error.to_string()))?;
        if status.is_success() && body.is_empty() {
            return Ok(Value::Null);
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| no_answer(error.to_string()));
        }
        let reason = refusal_text(&body);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => AdminError::Denied { reason },
            StatusCode::NOT_FOUND => AdminError::NotFound { reason },
            StatusCode::CONFLICT => AdminError::Refused { reason },
            StatusCode::NOT_IMPLEMENTED => AdminError::Invalid { reason },
            StatusCode::SERVICE_UNAVAILABLE => AdminError::Busy { reason },
            _ if status.is_client_error() => AdminError::Invalid { reason },
            _ => no_answer(reason),
        })
    }
}

/// Returns an id, if it is one part of a path: another character could make another path.
pub(super) fn part_of_path<'a>(id: &'a str, what: &str) -> Result<&'a str, AdminError> {
    match !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        true => Ok(id),
        false => Err(AdminError::NotFound { reason: format!("there is no such {what}") }),
    }
}

/// Returns the reason of a refusal: the detail of a problem document, or a text.
fn refusal_text(body: &[u8]) -> String {
    let problem: Option<Value> = serde_json::from_slice(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    match detail {
        Some(detail) => detail.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}
