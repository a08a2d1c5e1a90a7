//! Problems: every answer that is not a success (RFC 9457, `application/problem+json`).
//!
//! Owns: [`Problem`] and its codes. Always holds: the code is stable and tells what to do, the
//! detail is for people; one that leaves the outcome open says so in `outcome`. Not here: which
//! error of the framework is which problem ([`failure`](crate::failure)).

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gesta::{InvalidField, Revision};
use serde_json::{Map, Value, json};

use crate::{
    health::CauseDetails,
    schema::{Schema, Schemas},
};

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not answered with a success.
///
/// ```
/// use gesta_http::Problem;
///
/// let problem = Problem::invalid("quantity", "must be at least 1");
/// assert_eq!((problem.status().as_u16(), problem.code()), (400, "invalid"));
/// assert_eq!(problem.to_json()["field"], "quantity");
/// ```
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    /// The fields to correct, the first of which is also told by itself.
    invalid: Vec<InvalidField>,
    revision: Option<Revision>,
    is_unknown: bool,
    retry_after: Option<Duration>,
    causes: Vec<CauseDetails>,
    /// The codings that a body may have, where it has another one.
    accepting: Option<&'static str>,
}

impl Problem {
    /// A problem with this status, this stable code and a detail for people.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            code: code.into(),
            detail: detail.into(),
            invalid: Vec::new(),
            revision: None,
            is_unknown: false,
            retry_after: None,
            accepting: None,
            causes: Vec::new(),
        }))
    }

    /// The request makes no sense at this field.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::all_invalid(vec![InvalidField::new(field, reason)])
    }

    /// The request makes no sense at these fields. The first of them is `field`, all are `errors`.
    #[must_use]
    pub fn all_invalid(fields: Vec<InvalidField>) -> Self {
        let detail: Vec<_> = fields.iter().map(ToString::to_string).collect();
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid", detail.join("; "));
        problem.0.invalid = fields;
        problem
    }

    /// There is nothing of this kind under the id.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// The request is understood, and the application says no for this reason.
    pub fn rejected(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// Something of ours is wrong. The cause is for the log, not for the client.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "a request failed");
        let detail = "something is wrong on this side; the correlation id leads to it in the log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// It cannot be done now.
    pub(crate) fn unavailable(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Everything that keeps the application from being healthy.
    pub(crate) fn with_causes(mut self, causes: Vec<CauseDetails>) -> Self {
        self.0.causes = causes;
        self
    }

    /// Where the stream is instead of where it was expected.
    pub(crate) fn at_revision(mut self, head: Option<Revision>) -> Self {
        self.0.revision = head;
        self
    }

    /// Nobody knows whether the command was executed.
    pub(crate) fn with_unknown_outcome(mut self) -> Self {
        self.0.is_unknown = true;
        self
    }

    /// When to try again.
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// The codings that are understood.
    pub(crate) fn accepting(mut self, codings: &'static str) -> Self {
        self.0.accepting = Some(codings);
        self
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let parts = &self.0;
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        put("type", json!("about:blank"));
        put("title", json!(parts.status.canonical_reason().unwrap_or("Problem")));
        put("status", json!(parts.status.as_u16()));
        put("code", json!(parts.code));
        put("detail", json!(parts.detail));
        if let Some(first) = parts.invalid.first() {
            put("field", json!(first.field));
            let error = |it: &InvalidField| json!({ "field": it.field, "reason": it.reason });
            put("errors", parts.invalid.iter().map(error).collect());
        }
        if let Some(revision) = parts.revision {
            put("revision", json!(revision.number()));
        }
        if parts.is_unknown {
            put("outcome", json!("unknown"));
        }
        if !parts.causes.is_empty() {
            put("causes", json!(parts.causes));
        }
        Value::Object(members)
    }
}

impl From<InvalidField> for Problem {
    fn from(invalid: InvalidField) -> Self {
        Self::all_invalid(vec![invalid])
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.to_json().to_string();
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(pause) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, pause.as_secs().max(1).into());
        }
        if let Some(codings) = self.0.accepting {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        response
    }
}

impl Schema for Problem {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.component("Problem", |schemas| {
            let causes = Vec::<CauseDetails>::schema(schemas);
            json!({
                "type": "object",
                "description": "Why a request was not answered with a success (RFC 9457).",
                "properties": {
                    "type": {"const": "about:blank"},
                    "title": {"type": "string", "description": "The status in words."},
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "code": {"type": "string", "description": "Stable; tells what to do."},
                    "detail": {"type": "string", "description": "For people."},
                    "field": {"type": "string", "description": "The first field to correct."},
                    "errors": {
                        "type": "array",
                        "description": "All fields to correct.",
                        "items": {
                            "type": "object",
                            "properties": {
                                "field": {"type": "string", "description": "The path to it."},
                                "reason": {"type": "string", "description": "What must change."},
                            },
                            "required": ["field", "reason"],
                            "additionalProperties": false,
                        },
                    },
                    "revision": {
                        "type": "integer", "minimum": 0,
                        "description": "Where the stream is instead.",
                    },
                    "outcome": {
                        "const": "unknown",
                        "description": "Nobody knows whether the command was executed. Give it \
                                        again with the same Idempotency-Key.",
                    },
                    "causes": causes,
                },
                "required": ["type", "title", "status", "code", "detail"],
                "additionalProperties": false,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_said() {
        let problem = Problem::unavailable("outcome-unknown", "no answer").with_unknown_outcome();
        assert_eq!(problem.to_json()["outcome"], "unknown");
        assert!(Problem::unavailable("overloaded", "full").to_json().get("outcome").is_none());
    }

    #[test]
    fn a_pause_is_a_header_of_whole_seconds() {
        let problem = Problem::unavailable("overloaded", "full");
        let response = problem.retry_after(Duration::from_millis(300)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
    }
}
