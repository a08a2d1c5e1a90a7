//! Problem documents, the body of every unsuccessful response (RFC 9457,
//! `application/problem+json`).
//!
//! Owns: [`Problem`] and its JSON.
//!
//! Invariants:
//! - The code is stable, and clients branch on it. The detail is for people and may change.
//! - A problem that leaves open whether a command was executed has `"outcome": "unknown"`.
//!
//! Not here: the mapping from the framework's errors ([`failure`](crate::wire::failure)).

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gesta::{InvalidField, Revision};
use serde_json::{Map, Value, json};

use crate::wire::{
    cause::CauseDetails,
    schema::{Schema, Schemas},
};

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Description of the 400 in the OpenAPI document.
pub(crate) const VALIDATION_FAILED: &str = "validation failed: see `field` and `errors`";

/// Description of the 404 in the OpenAPI document.
pub(crate) const RESOURCE_NOT_FOUND: &str = "the resource does not exist";

/// The prefix of an application's code that this crate uses, too.
const OF_APPLICATION: &str = "rejected:";

/// The codes of this crate's problems.
const CODES: [&str; 67] = [
    "already-exists",
    "body-too-late",
    "cannot-compare",
    "cannot-pause",
    "closed",
    "closing",
    "command-id-reused",
    "conflict",
    "cross-site",
    "deleted",
    "event-gone",
    "events-archived",
    "expectation-failed",
    "forbidden",
    "foreign-host",
    "head-too-large",
    "head-too-late",
    "identity-unavailable",
    "instance-ended",
    "instance-set-aside",
    "instance-unusable",
    "internal",
    "invalid",
    "method-not-allowed",
    "no-old-rows",
    "no-such-route",
    "not-found",
    "not-supported",
    "not-yet-visible",
    "nothing-to-compare",
    "nothing-to-confirm",
    "other-role",
    "other-version",
    "outcome-unknown",
    "overloaded",
    "position-beyond-head",
    "precondition-failed",
    "process-manager-unavailable",
    "projection-halted",
    "projection-unavailable",
    "reactor-unavailable",
    "read-model-corrupt",
    "read-model-unavailable",
    "revision-beyond-head",
    "revision-mismatch",
    "runs-elsewhere",
    "still-fails",
    "store-refused",
    "store-stopped",
    "store-unavailable",
    "target-too-long",
    "tenants-unready",
    "time-in-future",
    "tombstoned",
    "too-large",
    "too-many-connections",
    "too-many-requests",
    "too-many-subscriptions",
    "truncated-history",
    "unauthenticated",
    "undecodable-event",
    "unencodable",
    "unknown-cursor",
    "unreadable-head",
    "unsupported-encoding",
    "unsupported-media-type",
    "upgrade-required",
];

/// Codes of problems whose detail quotes an error of a projection, process manager or reactor.
const QUOTING: [&str; 8] = [
    "instance-unusable",
    "process-manager-unavailable",
    "projection-halted",
    "projection-unavailable",
    "reactor-unavailable",
    "read-model-corrupt",
    "still-fails",
    "undecodable-event",
];

/// An unsuccessful response: a status, a stable code, and a detail for people.
///
/// ```
/// use gesta_http::Problem;
///
/// let problem = Problem::invalid("quantity", "must be at least 1");
/// assert_eq!((problem.status().as_u16(), problem.code()), (400, "invalid"));
/// assert_eq!(problem.to_json()["field"], "quantity");
/// ```
#[derive(Clone, Debug)]
// Boxed: every handler returns it in a `Result`, whose size would be that of the error.
pub struct Problem(Box<ProblemParts>);

#[derive(Clone, Debug)]
struct ProblemParts {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    /// The fields to correct: `errors` lists all, `field` names the first.
    invalid: Vec<InvalidField>,
    revision: Option<Revision>,
    is_unknown: bool,
    retry_after: Option<Duration>,
    causes: Vec<CauseDetails>,
    /// Value of `Accept-Encoding`: the codings accepted for a request body.
    accepting: Option<&'static str>,
    /// Value of `WWW-Authenticate`: the credentials that are missing.
    challenge: Option<&'static str>,
    /// Name of the right that the actor lacks.
    right: Option<&'static str>,
}

impl Problem {
    /// Creates a problem of a status, with a stable code and a detail for people.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(ProblemParts {
            status,
            code: code.into(),
            detail: detail.into(),
            invalid: Vec::new(),
            revision: None,
            is_unknown: false,
            retry_after: None,
            accepting: None,
            challenge: None,
            right: None,
            causes: Vec::new(),
        }))
    }

    /// Creates a 400 for one invalid field. The reason continues a sentence about the field, as in
    /// "must be at least 1".
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::all_invalid(vec![InvalidField::new(field, reason)])
    }

    /// Creates a 400 for several invalid fields: `errors` lists all, `field` names the first.
    #[must_use]
    pub fn all_invalid(fields: Vec<InvalidField>) -> Self {
        let detail: Vec<_> = fields.iter().map(ToString::to_string).collect();
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid", detail.join("; "));
        problem.0.invalid = fields;
        problem
    }

    /// Creates a 404; `what` is the kind of resource, such as "order".
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("no {what} has this id"))
    }

    /// Creates a 401 with `WWW-Authenticate: Bearer`: the request has no credentials, or wrong
    /// ones.
    ///
    /// The detail must not show them.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
        problem.0.challenge = Some("Bearer");
        problem
    }

    /// Creates a 422: the application rejects a well-formed request.
    ///
    /// A code that this crate uses itself becomes `rejected:CODE`, so that clients never take one
    /// for the other.
    pub fn rejected(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        let code = code.into();
        let is_ambiguous = CODES.contains(&&*code) || code.starts_with(OF_APPLICATION);
        let code = if is_ambiguous { format!("{OF_APPLICATION}{code}").into() } else { code };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// Creates a 422 of this crate: a well-formed request that the current state does not allow.
    pub(crate) fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// Logs an internal error and creates a 500 that does not reveal it.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        // The cause may name files or other people's data, so only the log has it.
        tracing::error!(error = cause, "a request failed");
        let detail =
            "internal error; its cause is in the server's log, under this X-Correlation-Id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Creates a 503.
    pub(crate) fn unavailable(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }

    /// Adds the causes of an unhealthy application.
    pub(crate) fn with_causes(mut self, causes: Vec<CauseDetails>) -> Self {
        self.0.causes = causes;
        self
    }

    /// Adds the current revision of the stream; `None` adds nothing.
    pub(crate) fn at_revision(mut self, head: Option<Revision>) -> Self {
        self.0.revision = head;
        self
    }

    /// Marks the outcome as unknown: the command may or may not have been executed.
    pub(crate) fn with_unknown_outcome(mut self) -> Self {
        self.0.is_unknown = true;
        self
    }

    /// Sets `Retry-After`.
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// Sets `Accept-Encoding`.
    pub(crate) fn accepting(mut self, codings: &'static str) -> Self {
        self.0.accepting = Some(codings);
        self
    }

    /// Says in `WWW-Authenticate` that the request had a token, and that it is refused (RFC 6750,
    /// section 3.1).
    pub(crate) fn invalid_token(mut self) -> Self {
        self.0.challenge = Some("Bearer error=\"invalid_token\"");
        self
    }

    /// Adds the name of the right that the actor lacks.
    pub(crate) fn missing_right(mut self, right: &'static str) -> Self {
        self.0.right = Some(right);
        self
    }

    /// Returns whether the detail quotes an error of the application, which may quote its data.
    pub(crate) fn quotes_error(&self) -> bool {
        QUOTING.contains(&&*self.0.code)
    }

    /// Sets the detail.
    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Returns the problem document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let parts = &self.0;
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        // The status says the type; `code` distinguishes problems of one status (RFC 9457, section
        // 4.2.1).
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
        if let Some(right) = parts.right {
            put("right", json!(right));
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
        let quoting = self.quotes_error().then(|| self.clone());
        let body = self.to_json().to_string();
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(pause) = self.0.retry_after {
            // Whole seconds (RFC 9110, section 10.2.3). A 0 would invite retries without a pause.
            headers.insert(header::RETRY_AFTER, pause.as_secs().max(1).into());
        }
        if let Some(challenge) = self.0.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(codings) = self.0.accepting {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        // The protocol that is required (RFC 9110, section 15.5.22). WebSockets are the only one.
        if self.0.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if let Some(quoting) = quoting {
            // The guard of an operator's route writes it anew for a reader who may not see it.
            response.extensions_mut().insert(quoting);
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
                "description": "Problem details of an unsuccessful response (RFC 9457).",
                "properties": {
                    "type": {"const": "about:blank"},
                    "title": {"type": "string", "description": "The reason phrase of the status."},
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "code": {"type": "string", "description": "Stable identifier of the problem; branch on it."},
                    "detail": {"type": "string", "description": "Explanation for people."},
                    "field": {
                        "type": "string",
                        "description": "The first invalid field, header or parameter.",
                    },
                    "errors": {
                        "type": "array",
                        "description": "All invalid fields.",
                        "items": {
                            "type": "object",
                            "properties": {
                                "field": {"type": "string", "description": "Path of the field."},
                                "reason": {"type": "string", "description": "Problem with its value."},
                            },
                            "required": ["field", "reason"],
                            "additionalProperties": false,
                        },
                    },
                    "revision": {
                        "type": "integer", "minimum": 0,
                        "description": "Current revision of the resource.",
                    },
                    "right": {
                        "type": "string",
                        "description": "The right that the actor lacks.",
                    },
                    "outcome": {
                        "const": "unknown",
                        "description": "The command may or may not have been executed. Send it again \
                                        with the same Idempotency-Key.",
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
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn an_unknown_outcome_has_a_member_of_its_own() {
        let problem = Problem::unavailable("outcome-unknown", "no answer").with_unknown_outcome();
        assert_eq!(problem.to_json()["outcome"], "unknown");
        assert!(Problem::unavailable("overloaded", "full").to_json().get("outcome").is_none());
    }

    /// The code that the call at the start of this text passes as a literal.
    fn literal_code(call: &str) -> Option<&str> {
        let arguments = call.split_once('(')?.1;
        let (before, rest) = arguments.split_once('"')?;
        // The code is the first literal, before the end of the call's statement.
        if before.contains([';', '}', '{']) {
            return None;
        }
        let code = rest.split_once('"')?.0;
        let is_code = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        code.bytes().all(is_code).then_some(code)
    }

    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false => found.push(fs::read_to_string(path).unwrap()),
            }
        }
    }

    #[test]
    fn every_code_of_this_crate_is_listed() {
        let (mut texts, mut used) = (Vec::new(), BTreeSet::new());
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
        for text in &texts {
            for maker in [
                "Problem::new(",
                "Self::new(",
                "unavailable(",
                "conflict(",
                "unprocessable(",
                "beyond_head(",
            ] {
                let calls = text.match_indices(maker).filter_map(|(at, _)| text.get(at..));
                used.extend(calls.filter_map(literal_code).filter(|code| code.len() > 3));
            }
        }
        let unlisted: Vec<_> = used.iter().filter(|code| !CODES.contains(code)).collect();
        assert!(unlisted.is_empty(), "{unlisted:?}");
        assert!(used.len() > 30, "found {used:?}");
    }

    #[test]
    fn a_rejection_is_never_taken_for_a_problem_of_this_crate() {
        assert_eq!(Problem::rejected("not-paid", "").code(), "not-paid");
        for code in ["conflict", "unknown-cursor", "rejected:conflict"] {
            assert_eq!(Problem::rejected(code, "").code(), format!("rejected:{code}"));
        }
    }

    #[test]
    fn a_pause_is_a_header_of_whole_seconds() {
        let problem = Problem::unavailable("overloaded", "full");
        let response = problem.retry_after(Duration::from_millis(300)).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
    }
}
