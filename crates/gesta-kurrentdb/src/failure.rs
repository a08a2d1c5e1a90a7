//! Failures of calls, as errors of the store.
//!
//! Owns: the table from gRPC codes, trailers and details to [`StoreError`]. Invariant: an append
//! that may have reached the server and has no answer of it is an unknown outcome; every other
//! failure is definite. No text is taken apart.

use std::{error::Error as _, sync::Arc, time::Duration};

use gesta_store::{
    Capability, Conflict, Damage, EventId, ExpectedRevision, Filter, Invalid, Overload, Position,
    Revision, SharedError, StoreError, StreamName, percent_decoded,
};
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    link::LinkError,
    proto::{
        rpc,
        streams_v2::errors::{
            AppendConsistencyViolationErrorDetails, AppendRecordSizeExceededErrorDetails,
            AppendTransactionSizeExceededErrorDetails, StreamRevisionConflictErrorDetails,
            StreamTombstonedErrorDetails, consistency_violation::Type,
        },
    },
    url::Host,
    wire::{expected_of_number, head_of_number},
};

/// The failure of a call.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server cannot have seen the call.
    NotReached {
        reason: String,
        source: Option<SharedError>,
    },
    /// The server may have seen the call.
    Broken(Status),
    /// The server has answered with an error.
    Answered(Status),
    TimedOut(Duration),
}

/// The subject of a call, for the text and the fields of its error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) stream: Option<StreamName>,
    pub(crate) expected: Option<ExpectedRevision>,
    pub(crate) first_event: Option<EventId>,
    /// Size of the append, as the limit counts it.
    pub(crate) bytes: usize,
    /// The regular expression of a filter, which the server may refuse.
    pub(crate) pattern: Option<String>,
    /// The feature that a server without the call lacks.
    pub(crate) needs: Option<Capability>,
}

impl Subject {
    pub(crate) fn of_stream(stream: &StreamName) -> Self {
        Self { stream: Some(stream.clone()), ..Self::default() }
    }

    pub(crate) fn of_filter(filter: &Filter) -> Self {
        let pattern = match filter {
            Filter::Regex(regex) => Some(regex.pattern().to_owned()),
            _ => None,
        };
        Self { pattern, ..Self::default() }
    }
}

impl Failure {
    pub(crate) fn of(status: Status) -> Self {
        // A status with a source was made on this side.
        let mut source = status.source();
        let is_answer = source.is_none();
        while let Some(error) = source {
            if let Some(LinkError::NotSent(_) | LinkError::NotSentPlain(_)) = error.downcast_ref() {
                let reason = error.to_string();
                return Self::NotReached { reason, source: Some(Arc::new(status)) };
            }
            source = error.source();
        }
        if is_answer { Self::Answered(status) } else { Self::Broken(status) }
    }

    /// Returns the leader that a node names which is none.
    pub(crate) fn leader(&self) -> Option<Host> {
        let Self::Answered(status) = self else { return None };
        if trailer(status, "exception") != Some("not-leader") {
            return None;
        }
        let name = trailer(status, "leader-endpoint-host")?.to_owned();
        Some(Host { name, port: trailer(status, "leader-endpoint-port")?.parse().ok()? })
    }

    /// Returns `true` if the stream of the call is tombstoned.
    pub(crate) fn is_tombstoned(&self) -> bool {
        matches!(self, Self::Answered(status)
            if trailer(status, "exception") == Some("stream-deleted"))
    }

    /// Returns `true` if the same read may succeed on another connection.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotReached { .. } | Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Answered(status) => status.code() == Code::Unavailable || self.leader().is_some(),
        }
    }

    /// The error of a call that changes nothing.
    pub(crate) fn of_read(self, subject: &Subject) -> StoreError {
        match self {
            Self::NotReached { reason, source } => StoreError::Unreachable { reason, source },
            Self::TimedOut(limit) => StoreError::unreachable(no_answer_within(limit)),
            Self::Broken(status) => unreachable(status),
            Self::Answered(status) => {
                definite(&status, subject).unwrap_or_else(|| unreachable(status))
            }
        }
    }

    /// The error of a call that changes something.
    pub(crate) fn of_change(self, subject: &Subject) -> StoreError {
        match self {
            Self::NotReached { reason, source } => StoreError::Unreachable { reason, source },
            Self::TimedOut(limit) => StoreError::unavailable(no_answer_within(limit)),
            Self::Broken(status) => unknown(status),
            Self::Answered(status) => definite(&status, subject).unwrap_or_else(|| unknown(status)),
        }
    }
}

fn no_answer_within(limit: Duration) -> String {
    format!("the server did not answer within {} ms", limit.as_millis())
}

fn unreachable(status: Status) -> StoreError {
    StoreError::Unreachable { reason: described(&status), source: Some(Arc::new(status)) }
}

fn unknown(status: Status) -> StoreError {
    StoreError::Unavailable { reason: described(&status), source: Some(Arc::new(status)) }
}

fn described(status: &Status) -> String {
    // The text of a status about a broken connection is that of HTTP.
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(link @ LinkError::BrokenPlain(_)) = error.downcast_ref::<LinkError>() {
            return link.to_string();
        }
        source = error.source();
    }
    match status.message() {
        "" => format!("the call failed: {}", status.code()),
        message => message.to_owned(),
    }
}

/// Translates an answer that says that nothing was changed. `None` for any other.
fn definite(status: &Status, subject: &Subject) -> Option<StoreError> {
    if let Some(error) = detailed(status, subject) {
        return Some(error);
    }
    let reason = described(status);
    match trailer(status, "exception") {
        Some("stream-deleted") => return deleted(status, subject),
        Some("wrong-expected-version") => return wrong_version(status, subject),
        Some("not-leader") => return Some(StoreError::unreachable(reason)),
        // A refusal without a position is that of a login, whose events are in the archive.
        Some("archived") => {
            return Some(archived(status).unwrap_or(StoreError::Denied { reason }));
        }
        Some("access-denied") => return Some(StoreError::Denied { reason }),
        Some("maximum-append-size-exceeded") => {
            let max = size(trailer(status, "maximum-append-size"));
            return Some(over("append bytes", subject.bytes, max));
        }
        Some("maximum-append-event-size-exceeded") => {
            let actual = size(trailer(status, "proposed-append-event-size"));
            return Some(over(
                "event bytes",
                actual,
                size(trailer(status, "maximum-append-event-size")),
            ));
        }
        _ => {}
    }
    Some(match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => StoreError::Denied { reason },
        Code::InvalidArgument | Code::OutOfRange => match subject.pattern.clone() {
            Some(pattern) => Invalid::Pattern { pattern, reason }.into(),
            None => Invalid::Refused { reason }.into(),
        },
        Code::Unimplemented => match subject.needs {
            Some(capability) => StoreError::Unsupported { capability },
            None => Invalid::Refused { reason }.into(),
        },
        Code::Unavailable => StoreError::unreachable(reason),
        Code::ResourceExhausted => {
            StoreError::Overloaded(Overload::Throttled { retry_after: None })
        }
        Code::FailedPrecondition => StoreError::ReadOnly { reason },
        Code::DataLoss => StoreError::Corrupt(Damage::new("store of the server", 0, reason)),
        _ => return None,
    })
}

fn deleted(status: &Status, subject: &Subject) -> Option<StoreError> {
    let named = trailer(status, "stream-name").and_then(percent_decoded);
    let named = named.and_then(|name| StreamName::stored(name).ok());
    Some(StoreError::Deleted { stream: named.or_else(|| subject.stream.clone())? })
}

/// The error about an event in an archive, as `gesta serve` sends it.
fn archived(status: &Status) -> Option<StoreError> {
    let position = trailer(status, "position")?.parse().ok().map(Position::new)?;
    let reason = trailer(status, "reason").and_then(percent_decoded)?;
    Some(StoreError::Archived { position, reason })
}

fn wrong_version(status: &Status, subject: &Subject) -> Option<StoreError> {
    let head = trailer(status, "actual-version").and_then(|number| number.parse().ok());
    Some(conflict(subject, subject.stream.clone()?, head_of_number(head?)))
}

/// The error of an expectation that failed, as far as it is one.
pub(crate) fn conflict(
    subject: &Subject,
    stream: StreamName,
    head: Option<Revision>,
) -> StoreError {
    let expected = subject.expected.unwrap_or(ExpectedRevision::Any);
    // The expectation holds, so it was the ids: some were recorded before, in another append.
    let is_about_ids = match expected {
        ExpectedRevision::StreamExists => false,
        other => other.admits(head),
    };
    match subject.first_event {
        Some(first_event) if is_about_ids => Conflict::PartialRepeat { first_event }.into(),
        _ => Conflict::Stream { stream, expected, head }.into(),
    }
}

fn over(limit: &'static str, actual: usize, max: usize) -> StoreError {
    Invalid::Limit { limit, actual, max }.into()
}

fn size(number: Option<&str>) -> usize {
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn trailer<'status>(status: &'status Status, key: &str) -> Option<&'status str> {
    status.metadata().get(key)?.to_str().ok()
}

/// Translates the details of an error of the second version of the streams.
fn detailed(status: &Status, subject: &Subject) -> Option<StoreError> {
    let details = rpc::DetailedStatus::decode(status.details()).ok()?.details;
    details.iter().find_map(|detail| {
        let name = detail.type_url.rsplit(['/', '.']).next()?;
        of_detail(name, &detail.value, subject)
    })
}

fn of_detail(name: &str, mut bytes: &[u8], subject: &Subject) -> Option<StoreError> {
    let named = |name: String| StreamName::stored(name).ok();
    let bytes = &mut bytes;
    Some(match name {
        "AppendConsistencyViolationErrorDetails" => {
            let details = AppendConsistencyViolationErrorDetails::decode(bytes).ok()?;
            let violation = details.violations.into_iter().next()?.r#type?;
            let Type::StreamState(state) = violation;
            let stream = named(state.stream)?;
            // Tombstoned, by the numbers of this version.
            if state.actual_state == -6 {
                return Some(StoreError::Deleted { stream });
            }
            let expected = expected_of_number(state.expected_state);
            let subject = Subject { expected, ..subject.clone() };
            conflict(&subject, stream, head_of_number(state.actual_state))
        }
        "StreamRevisionConflictErrorDetails" => {
            let details = StreamRevisionConflictErrorDetails::decode(bytes).ok()?;
            let expected = expected_of_number(details.expected_revision);
            let subject = Subject { expected, ..subject.clone() };
            conflict(&subject, named(details.stream)?, head_of_number(details.actual_revision))
        }
        "StreamTombstonedErrorDetails" => {
            let details = StreamTombstonedErrorDetails::decode(bytes).ok()?;
            StoreError::Deleted { stream: named(details.stream)? }
        }
        "AppendRecordSizeExceededErrorDetails" => {
            let details = AppendRecordSizeExceededErrorDetails::decode(bytes).ok()?;
            over("event bytes", whole(details.size), whole(details.max_size))
        }
        "AppendTransactionSizeExceededErrorDetails" => {
            let details = AppendTransactionSizeExceededErrorDetails::decode(bytes).ok()?;
            over("append bytes", whole(details.size), whole(details.max_size))
        }
        _ => return None,
    })
}

fn whole(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;

    fn answered(code: Code, trailers: &[(&'static str, &str)]) -> Failure {
        let mut metadata = MetadataMap::new();
        for (key, value) in trailers {
            metadata.insert(*key, value.parse().unwrap());
        }
        Failure::Answered(Status::with_metadata(code, "no", metadata))
    }

    fn append() -> Subject {
        Subject {
            stream: Some(StreamName::new("order-1").unwrap()),
            expected: Some(ExpectedRevision::Exact(Revision::new(3))),
            first_event: Some(EventId::random()),
            bytes: 7,
            ..Subject::default()
        }
    }

    #[test]
    fn an_archived_event_is_told_with_its_position_and_a_login_without_one_is_denied() {
        let trailers = [("exception", "archived"), ("position", "7"), ("reason", "in a file")];
        let of_read = answered(Code::FailedPrecondition, &trailers).of_read(&append());
        let told = "the event at position 7 is archived: in a file";
        assert!(matches!(of_read, StoreError::Archived { .. }), "{of_read}");
        assert_eq!(of_read.to_string(), told);
        let of_login = answered(Code::FailedPrecondition, &trailers[..1]).of_read(&append());
        assert!(matches!(of_login, StoreError::Denied { .. }), "{of_login}");
    }

    #[test]
    fn only_a_call_that_may_have_arrived_and_has_no_clear_answer_is_an_unknown_outcome() {
        for code in [Code::Aborted, Code::Cancelled, Code::DeadlineExceeded, Code::Internal] {
            assert!(!answered(code, &[]).of_change(&append()).is_definite(), "{code}");
            assert!(answered(code, &[]).of_read(&append()).is_definite(), "{code}");
        }
        assert!(!Failure::TimedOut(Duration::ZERO).of_change(&append()).is_definite());
        let broken = Status::from_error("the peer is gone".into());
        assert!(!Failure::of(broken).of_change(&append()).is_definite());
        let definite =
            [Code::Unavailable, Code::PermissionDenied, Code::InvalidArgument, Code::DataLoss];
        for code in definite {
            assert!(answered(code, &[]).of_change(&append()).is_definite(), "{code}");
        }
    }

    #[test]
    fn trailers_say_what_is_wrong() {
        let of = |code, trailers: &[_]| answered(code, trailers).of_change(&append()).to_string();
        let precondition = Code::FailedPrecondition;
        let wrong = [("exception", "wrong-expected-version"), ("actual-version", "5")];
        assert!(of(precondition, &wrong).contains("order-1 is at revision 5, expected revision 3"));
        let same = [("exception", "wrong-expected-version"), ("actual-version", "3")];
        assert!(of(precondition, &same).contains("already used by another append"));
        let gone = [("exception", "stream-deleted"), ("stream-name", "gr%C3%B6%C3%9Fe-1")];
        assert!(of(precondition, &gone).contains("stream größe-1 is tombstoned"));
        let large = [("exception", "maximum-append-size-exceeded"), ("maximum-append-size", "5")];
        assert!(
            of(Code::InvalidArgument, &large).contains("append bytes must be at most 5; got 7")
        );
        let denied = answered(Code::Unauthenticated, &[]).of_read(&append());
        assert!(matches!(denied, StoreError::Denied { .. }), "{denied}");
    }

    #[test]
    fn a_node_that_does_not_lead_names_the_leader() {
        let trailers = [
            ("exception", "not-leader"),
            ("leader-endpoint-host", "two"),
            ("leader-endpoint-port", "2114"),
        ];
        let failure = answered(Code::NotFound, &trailers);
        assert_eq!(failure.leader(), Some(Host { name: "two".to_owned(), port: 2114 }));
        assert!(failure.is_passing());
        assert!(matches!(failure.of_change(&append()), StoreError::Unreachable { .. }));
    }
}
