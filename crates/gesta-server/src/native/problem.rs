//! Problem documents, the body of every unsuccessful answer (RFC 9457).
//!
//! Owns: [`ProblemCode`], the table of codes with their statuses and advice, and [`Problem`].
//! Invariants: clients branch on the code, which is stable; only an unknown outcome has the member
//! `outcome`. Not here: errors of gRPC ([`wire`](crate::wire)), whose statuses are translated.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gesta_store::{Conflict, ExpectedRevision, Invalid, InvalidName, StoreError};
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::{
    call_log::FailureReason,
    wire::{is_archived, is_outcome_unknown},
};

/// The media type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// Time to wait before another attempt, where the store names none.
const PAUSE: Duration = Duration::from_secs(1);

macro_rules! problem_codes {
    ($($name:ident = $status:literal $code:literal $advice:literal,)*) => {
        /// The kind of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ProblemCode {
            $($name,)*
        }

        impl ProblemCode {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the status, the stable code, and the reaction of a client.
            pub(super) const fn facts(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($status, $code, $advice),)*
                }
            }
        }
    };
}

problem_codes! {
    Invalid = 400 "invalid" "Correct the field and send the request again.",
    Unauthenticated = 401 "unauthenticated"
        "Send a login and password (Basic), a token (Bearer) or a client certificate.",
    Denied = 403 "denied" "Use another user, or ask an administrator for the right.",
    CrossSite = 403 "cross-site" "Send the request from a program, or from a page of this server.",
    ForeignHost = 403 "foreign-host" "Use localhost, 127.0.0.1 or [::1] as the name of the server.",
    ReservedStream = 403 "reserved-stream" "Append to a stream whose name does not begin with `$`.",
    NoSuchRoute = 404 "no-such-route" "See /v1/docs for the paths.",
    StreamNotFound = 404 "stream-not-found" "Check the name, or append the first event.",
    EventNotFound = 404 "event-not-found" "Check the id, or the right to read its stream.",
    NotFound = 404 "not-found" "Check the name; the list of its kind has them all.",
    MethodNotAllowed = 405 "method-not-allowed" "Use a method that `Allow` lists.",
    BodyTooLate = 408 "body-too-late" "Send the request again, with all of its body.",
    Conflict = 409 "conflict" "Read the stream again, decide again, and append with its revision.",
    ConditionFailed = 409 "condition-failed"
        "Repeat the query, decide again, and append with its new position.",
    EventIdReused = 409 "event-id-reused" "Use a new id for an event that was not appended before.",
    ExistsAlready = 409 "exists-already" "Use another name, or change what has this one.",
    NotNow = 409 "not-now" "Change first what the detail names, and send the request again.",
    NoUsers = 409 "no-users" "Start the server without `--insecure`.",
    OtherIncarnation = 409 "other-incarnation"
        "The store has lost events that were seen; build the consumer's state anew from the start.",
    Tombstoned = 410 "tombstoned" "Use another name; this one cannot be used again.",
    PositionBeyondHead = 412 "position-beyond-head"
        "Check that the position comes from this store; GET /v1/head has the last one.",
    TooLarge = 413 "too-large" "Send less: smaller events, or several appends.",
    UnsupportedMediaType = 415 "unsupported-media-type"
        "Send the body as `Content-Type: application/json`, without a content coding.",
    RefusedByProjection = 422 "refused-by-projection" "Correct the projection that is named.",
    UpgradeRequired = 426 "upgrade-required" "Connect with a WebSocket client, by HTTP/1.1.",
    Internal = 500 "internal" "Report it, with the time of the request.",
    Corrupt = 500 "corrupt" "Alert an operator: stored bytes are damaged. Nothing was changed.",
    NotSupported = 501 "not-supported"
        "Use another store; GET /v1/store lists the features.",
    Overloaded = 503 "overloaded" "Nothing was appended. Wait, and send the request again.",
    StoreUnreachable = 503 "store-unreachable"
        "Nothing was appended. Wait, and send the request again.",
    OutcomeUnknown = 503 "outcome-unknown"
        "The events may have been appended. Send the same append with the same event ids again, or \
         ask GET /v1/appends/{id}.",
    StoreStopped = 503 "store-stopped" "Nothing was appended. An operator must restart the server.",
    RunsElsewhere = 503 "runs-elsewhere" "Ask the server that the detail names.",
    ReadOnly = 503 "read-only" "Nothing was appended. Append at the primary server.",
    StoreDenied = 503 "store-denied"
        "An operator must correct the rights of the server at its store.",
    Archived = 503 "archived" "An operator must restore the events with `gesta archive restore`.",
    Closing = 503 "closing" "The server is shutting down. Connect again.",
}

/// An unsuccessful answer.
#[derive(Clone, Debug)]
// Boxed: every handler returns it in a `Result`, whose size would be that of the error.
pub(super) struct Problem(Box<ProblemFacts>);

#[derive(Clone, Debug)]
struct ProblemFacts {
    code: ProblemCode,
    detail: String,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        let retry_after = match code {
            ProblemCode::Overloaded
            | ProblemCode::StoreUnreachable
            | ProblemCode::OutcomeUnknown
            | ProblemCode::Closing => Some(PAUSE),
            _ => None,
        };
        let detail = detail.into();
        let problem =
            Self(Box::new(ProblemFacts { code, detail, members: Map::new(), retry_after }));
        match code {
            ProblemCode::OutcomeUnknown => problem.with("outcome", "unknown"),
            _ => problem,
        }
    }

    /// Refuses a field, header or parameter. The reason continues a sentence about it.
    pub(super) fn invalid(field: &str, reason: impl AsRef<str>) -> Self {
        let detail = format!("`{field}` {}", reason.as_ref());
        Self::new(ProblemCode::Invalid, detail).with("field", field)
    }

    /// Refuses a name.
    pub(super) fn invalid_name(field: &str, invalid: &InvalidName) -> Self {
        Self::new(ProblemCode::Invalid, format!("`{field}`: {invalid}")).with("field", field)
    }

    /// Adds a member.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Translates the error of an append, or of another change.
    pub(super) fn of_append(error: &StoreError) -> Self {
        let problem = Self::new(code_of(error), error.to_string());
        let mut problem = match error {
            StoreError::Conflict(conflict) => problem.about_conflict(conflict),
            StoreError::Rejected(Invalid::Limit { actual, max, .. }) => {
                problem.with("actual", number(*actual)).with("limit", number(*max))
            }
            StoreError::Rejected(Invalid::SystemStream { stream })
            | StoreError::Deleted { stream } => problem.with("stream", stream.as_str()),
            StoreError::Archived { position, .. } => problem.with("position", position.number()),
            StoreError::Unsupported { capability } => match capability.index() {
                Some(index) => problem.with(
                    "advice",
                    format!(
                        "Restart the server with the index: \
                    --store 'gesta:DIRECTORY?index={index}'. Stores of other kinds may lack it; \
                    GET /v1/store lists the features."
                    ),
                ),
                None => problem,
            },
            _ => problem,
        };
        if let Some(pause) = error.retry_after() {
            problem.0.retry_after = Some(pause);
        }
        problem
    }

    /// Translates the error of a read. A read has no outcome to be unknown.
    pub(super) fn of_read(error: &StoreError) -> Self {
        match error {
            _ if is_outcome_unknown(error) => {
                Self::new(ProblemCode::StoreUnreachable, format!("the read failed: {error}"))
            }
            _ => Self::of_append(error),
        }
    }

    /// Translates the refusal of the access check.
    pub(super) fn of_status(status: &Status) -> Self {
        let code = match status.code() {
            Code::Unauthenticated => ProblemCode::Unauthenticated,
            Code::PermissionDenied => ProblemCode::Denied,
            Code::Unavailable | Code::Aborted => ProblemCode::StoreUnreachable,
            Code::FailedPrecondition if is_archived(status) => ProblemCode::Archived,
            _ => ProblemCode::Internal,
        };
        Self::new(code, status.message())
    }

    /// Translates the refusal of a change that a service of the protocol makes.
    pub(super) fn of_change(status: &Status) -> Self {
        let exception = status.metadata().get("exception").and_then(|kind| kind.to_str().ok());
        let code = match (status.code(), exception) {
            (_, Some("not-leader")) => ProblemCode::RunsElsewhere,
            (_, Some("projection-running")) => ProblemCode::NotNow,
            (_, Some("projection-cannot-track")) => ProblemCode::Invalid,
            (Code::AlreadyExists, _) | (_, Some("user-conflict")) => ProblemCode::ExistsAlready,
            (Code::InvalidArgument, _) => ProblemCode::Invalid,
            (Code::NotFound, _) => ProblemCode::NotFound,
            (Code::FailedPrecondition, _) if !is_archived(status) => ProblemCode::NotNow,
            (Code::Unimplemented, _) => ProblemCode::NotSupported,
            // `ABORTED` of a read is a failure to reach the store; a change may have happened.
            (Code::Aborted, _) => ProblemCode::OutcomeUnknown,
            _ => return Self::of_status(status),
        };
        // Clients of the protocol know the first words of some refusals.
        let text = status.message();
        let text = text.split_once(" instead: ").map_or(text, |(_, reason)| reason);
        let text = text.strip_prefix("Exception was thrown by handler. ").unwrap_or(text);
        Self::new(code, text)
    }

    fn about_conflict(self, conflict: &Conflict) -> Self {
        match conflict {
            Conflict::Stream { stream, expected, head } => self
                .with("stream", stream.as_str())
                .with("expected", expected_value(*expected))
                .with("revision", head.map(|head| head.number())),
            Conflict::Condition { matching } => self.with("position", matching.number()),
            Conflict::PartialRepeat { first_event } => self.with("id", first_event.to_string()),
            // The contract may grow; the text says what failed.
            _ => self,
        }
    }

    /// Returns the problem document.
    pub(super) fn to_json(&self) -> Value {
        let ProblemFacts { code, detail, members, .. } = self.0.as_ref();
        let (status, code, advice) = code.facts();
        let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut json = json!({
            // The status says the type (RFC 9457, section 4.2.1).
            "type": "about:blank",
            "title": title.unwrap_or("Problem"),
            "status": status,
            "code": code,
            "detail": detail,
            "advice": advice,
        });
        if let Value::Object(object) = &mut json {
            object.extend(members.clone());
        }
        json
    }
}

/// Returns an expectation in the form of a request.
pub(super) fn expected_value(expected: ExpectedRevision) -> Value {
    match expected {
        ExpectedRevision::Any => "any".into(),
        ExpectedRevision::NoStream => "no-stream".into(),
        ExpectedRevision::StreamExists => "stream-exists".into(),
        ExpectedRevision::Exact(revision) => revision.number().into(),
    }
}

fn number(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

fn code_of(error: &StoreError) -> ProblemCode {
    match error {
        StoreError::Conflict(Conflict::Condition { .. }) => ProblemCode::ConditionFailed,
        StoreError::Conflict(Conflict::PartialRepeat { .. }) => ProblemCode::EventIdReused,
        StoreError::Conflict(_) => ProblemCode::Conflict,
        StoreError::Rejected(Invalid::Limit { .. }) => ProblemCode::TooLarge,
        StoreError::Rejected(Invalid::SystemStream { .. }) => ProblemCode::ReservedStream,
        StoreError::Rejected(Invalid::BeyondHead { .. }) => ProblemCode::PositionBeyondHead,
        StoreError::Rejected(Invalid::OtherIncarnation { .. }) => ProblemCode::OtherIncarnation,
        StoreError::Rejected(_) => ProblemCode::Invalid,
        StoreError::Inline(_) => ProblemCode::RefusedByProjection,
        StoreError::Unsupported { .. } => ProblemCode::NotSupported,
        StoreError::Overloaded(_) => ProblemCode::Overloaded,
        StoreError::Unreachable { .. } => ProblemCode::StoreUnreachable,
        StoreError::Unavailable { .. } => ProblemCode::OutcomeUnknown,
        StoreError::Denied { .. } => ProblemCode::StoreDenied,
        StoreError::ReadOnly { .. } => ProblemCode::ReadOnly,
        StoreError::Stopped { .. } => ProblemCode::StoreStopped,
        StoreError::Deleted { .. } => ProblemCode::Tombstoned,
        StoreError::Archived { .. } => ProblemCode::Archived,
        StoreError::Corrupt(_) => ProblemCode::Corrupt,
        // The contract may grow: by its own rule an unknown variant is told apart by definiteness.
        _ if is_outcome_unknown(error) => ProblemCode::OutcomeUnknown,
        _ => ProblemCode::Internal,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, ..) = self.0.code.facts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, format!("{}\n", self.to_json())).into_response();
        response.extensions_mut().insert(FailureReason(self.0.detail.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(pause) = self.0.retry_after {
            // Whole seconds (RFC 9110, section 10.2.3). A 0 would invite retries without a pause.
            headers.insert(header::RETRY_AFTER, pause.as_secs().max(1).into());
        }
        match self.0.code {
            ProblemCode::Unauthenticated => {
                let challenge =
                    HeaderValue::from_static("Basic realm=\"gesta\", charset=\"UTF-8\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            ProblemCode::UpgradeRequired => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gesta_store::{Position, Revision, StreamName};

    use super::*;

    fn json_of(error: &StoreError) -> Value {
        Problem::of_append(error).to_json()
    }

    #[test]
    fn every_code_is_used_once_and_has_a_status_of_http_and_an_advice() {
        let codes: HashSet<_> = ProblemCode::ALL.iter().map(|code| code.facts().1).collect();
        assert_eq!(codes.len(), ProblemCode::ALL.len());
        for code in ProblemCode::ALL {
            let (status, _, advice) = code.facts();
            let known = StatusCode::from_u16(status).unwrap().canonical_reason();
            assert!(known.is_some() && advice.ends_with('.'), "{code:?}");
        }
    }

    #[test]
    fn a_conflict_says_where_the_stream_is() {
        let stream = StreamName::new("order-1").unwrap();
        let expected = ExpectedRevision::Exact(Revision::new(3));
        let head = Some(Revision::new(4));
        let conflict = json_of(&Conflict::Stream { stream, expected, head }.into());
        assert_eq!((&conflict["status"], &conflict["code"]), (&json!(409), &json!("conflict")));
        assert_eq!((&conflict["expected"], &conflict["revision"]), (&json!(3), &json!(4)));
        let matching = Position::new(7);
        let failed = json_of(&Conflict::Condition { matching }.into());
        assert_eq!((&failed["code"], &failed["position"]), (&json!("condition-failed"), &json!(7)));
    }

    #[test]
    fn only_an_append_has_an_unknown_outcome() {
        let error = StoreError::unavailable("the connection broke");
        assert_eq!(json_of(&error)["outcome"], "unknown");
        assert_eq!(json_of(&StoreError::unreachable("no route")).get("outcome"), None);
        let read = Problem::of_read(&error).to_json();
        assert_eq!((&read["code"], read.get("outcome")), (&json!("store-unreachable"), None));
    }

    #[test]
    fn a_pause_and_a_challenge_are_headers() {
        let busy = Problem::of_append(&StoreError::unreachable("no route")).into_response();
        assert_eq!(busy.headers()[header::RETRY_AFTER], "1");
        assert_eq!(busy.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let refused = Problem::new(ProblemCode::Unauthenticated, "who?").into_response();
        assert!(refused.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
