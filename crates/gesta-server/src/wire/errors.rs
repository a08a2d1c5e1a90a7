//! Errors of the store as gRPC statuses with the trailers that clients read.
//!
//! Owns: the table from [`StoreError`] to code, text and trailers. Clients tell errors apart by the
//! trailer `exception` and some by the text, so both are part of the protocol. Invariant: only an
//! unknown outcome is `ABORTED`.

use gesta_store::{Conflict, ExpectedRevision, Invalid, Revision, StoreError, StreamName};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

/// Key of the trailer that names the kind of an error.
const EXCEPTION: &str = "exception";
/// The kind of an error about an event whose payload is in an archive.
const ARCHIVED: &str = "archived";

/// Refuses a request that is wrong by itself.
pub(crate) fn refused(reason: impl Into<String>) -> Status {
    Status::invalid_argument(reason)
}

/// Refuses an event without a property that the protocol requires.
pub(crate) fn missing(property: &str) -> Status {
    let text = format!("required metadata property `{property}` is missing");
    let trailers = [
        (EXCEPTION, "missing-required-metadata-property"),
        ("required-metadata-properties", property),
    ];
    with_trailers(Code::InvalidArgument, text, trailers)
}

/// Refuses a caller who lacks a right.
pub(crate) fn access_denied(text: impl Into<String>) -> Status {
    with_trailers(Code::PermissionDenied, text, [(EXCEPTION, "access-denied")])
}

/// The error of a call about a user that does not exist.
pub(crate) fn user_not_found(login: &str) -> Status {
    let trailers = [(EXCEPTION, "user-not-found"), ("login-name", login)];
    with_trailers(Code::NotFound, format!("there is no user `{login}`"), trailers)
}

/// The error of the creation of a user that exists.
pub(crate) fn user_conflict(login: &str) -> Status {
    let trailers = [(EXCEPTION, "user-conflict"), ("login-name", login)];
    with_trailers(Code::FailedPrecondition, format!("the user `{login}` exists"), trailers)
}

/// The error of a call about a scavenge that the server does not know.
pub(crate) fn scavenge_not_found(id: &str) -> Status {
    let trailers = [(EXCEPTION, "scavenge-not-found"), ("scavenge-id", id)];
    with_trailers(Code::NotFound, format!("there is no scavenge `{id}`"), trailers)
}

/// Returns `true` if an append that ended with this error may have happened.
pub(crate) fn is_outcome_unknown(error: &StoreError) -> bool {
    !error.is_definite()
}

/// The error of a login that cannot be judged, for a caller who is not logged in: it names no
/// position.
pub(crate) fn login_status(error: &StoreError) -> Status {
    let StoreError::Archived { .. } = error else { return status(error) };
    let text = "logins cannot be checked: events of users are in an archive; an operator brings \
                them back with `gesta archive restore`";
    with_trailers(Code::FailedPrecondition, text, [(EXCEPTION, ARCHIVED)])
}

/// Returns `true` if a call needs events that are in an archive.
pub(crate) fn is_archived(status: &Status) -> bool {
    status.metadata().get(EXCEPTION).is_some_and(|kind| kind == ARCHIVED)
}

/// Translates an error of the store.
pub(crate) fn status(error: &StoreError) -> Status {
    let text = error.to_string();
    match error {
        StoreError::Conflict(conflict) => conflict_status(conflict, text),
        StoreError::Rejected(invalid) => invalid_status(invalid, text),
        StoreError::Unsupported { capability } => Status::unimplemented(match capability.index() {
            Some(index) => {
                format!("{text}; start the server with --store 'gesta:DIRECTORY?index={index}'")
            }
            None => text,
        }),
        StoreError::Overloaded(_) | StoreError::Unreachable { .. } | StoreError::Stopped { .. } => {
            Status::unavailable(text)
        }
        StoreError::Unavailable { .. } => Status::aborted(text),
        StoreError::Denied { .. } => access_denied(text),
        // The same call can succeed only after an operator has changed something.
        StoreError::ReadOnly { .. } | StoreError::Inline(_) => Status::failed_precondition(text),
        StoreError::Deleted { stream } => stream_deleted(stream),
        StoreError::Corrupt(_) => Status::data_loss(text),
        StoreError::Archived { position, reason } => {
            let position = position.number().to_string();
            let trailers = [(EXCEPTION, ARCHIVED), ("position", &*position), ("reason", reason)];
            with_trailers(Code::FailedPrecondition, text, trailers)
        }
        // The contract may grow: by its own rule an unknown variant is told apart by definiteness.
        _ if is_outcome_unknown(error) => Status::aborted(text),
        _ => Status::internal(text),
    }
}

/// The status of a failed expectation, for calls that have no response for it.
pub(crate) fn wrong_expected_version(
    stream: &StreamName,
    expected: ExpectedRevision,
    head: Option<Revision>,
) -> Status {
    let expected = version_number(expected);
    let actual = head.map_or(-1, |head| version_number(ExpectedRevision::Exact(head)));
    // One of the official clients takes the text apart.
    let text = format!(
        "Append failed due to WrongExpectedVersion. Stream: {stream}, Expected version: \
         {expected}, Actual version: {actual}"
    );
    let (expected, actual) = (expected.to_string(), actual.to_string());
    let trailers = [
        (EXCEPTION, "wrong-expected-version"),
        ("stream-name", stream.as_str()),
        ("expected-version", &expected),
        ("actual-version", &actual),
    ];
    with_trailers(Code::FailedPrecondition, text, trailers)
}

/// Returns an expectation as the number that trailers, texts and messages have for it.
pub(crate) fn version_number(expected: ExpectedRevision) -> i64 {
    match expected {
        ExpectedRevision::NoStream => -1,
        ExpectedRevision::Any => -2,
        ExpectedRevision::StreamExists => -4,
        ExpectedRevision::Exact(revision) => i64::try_from(revision.number()).unwrap_or(i64::MAX),
    }
}

fn conflict_status(conflict: &Conflict, text: String) -> Status {
    match conflict {
        Conflict::Stream { stream, expected, head } => {
            wrong_expected_version(stream, *expected, *head)
        }
        _ => with_trailers(Code::FailedPrecondition, text, [(EXCEPTION, "wrong-expected-version")]),
    }
}

fn stream_deleted(stream: &StreamName) -> Status {
    // Clients look for `is deleted`.
    let text = format!("Event stream '{stream}' is deleted.");
    let trailers = [(EXCEPTION, "stream-deleted"), ("stream-name", stream.as_str())];
    with_trailers(Code::FailedPrecondition, text, trailers)
}

fn invalid_status(invalid: &Invalid, text: String) -> Status {
    match invalid {
        Invalid::Limit { limit: "append bytes", max, .. } => {
            let max = max.to_string();
            let trailers =
                [(EXCEPTION, "maximum-append-size-exceeded"), ("maximum-append-size", &max)];
            with_trailers(Code::InvalidArgument, text, trailers)
        }
        Invalid::Limit { limit: "event bytes", actual, max } => {
            let (actual, max) = (actual.to_string(), max.to_string());
            let trailers = [
                (EXCEPTION, "maximum-append-event-size-exceeded"),
                ("proposed-append-event-size", &actual),
                ("maximum-append-event-size", &max),
            ];
            with_trailers(Code::InvalidArgument, text, trailers)
        }
        Invalid::SystemStream { stream } => {
            let trailers = [(EXCEPTION, "access-denied"), ("stream-name", stream.as_str())];
            with_trailers(Code::PermissionDenied, text, trailers)
        }
        _ => Status::invalid_argument(text),
    }
}

/// Makes a status with these trailers.
pub(crate) fn with_trailers<const N: usize>(
    code: Code,
    text: impl Into<String>,
    trailers: [(&'static str, &str); N],
) -> Status {
    let mut metadata = MetadataMap::new();
    for (key, value) in trailers {
        metadata.insert(key, ascii(value));
    }
    Status::with_metadata(code, text, metadata)
}

/// Returns the text as a value of a header; characters beyond visible ASCII are percent-encoded.
fn ascii(text: &str) -> MetadataValue<tonic::metadata::Ascii> {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded.parse().expect("visible ASCII is a valid header")
}

#[cfg(test)]
mod tests {
    use gesta_store::Position;

    use super::*;

    #[test]
    fn a_wrong_version_has_its_trailers_and_the_text_that_clients_take_apart() {
        let stream = StreamName::new("größe-1").unwrap();
        let status = wrong_expected_version(&stream, ExpectedRevision::NoStream, None);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().ends_with("Expected version: -1, Actual version: -1"), "{status}");
        let trailer = |key| status.metadata().get(key).unwrap().to_str().unwrap().to_owned();
        assert_eq!(trailer("exception"), "wrong-expected-version");
        assert_eq!(trailer("stream-name"), "gr%C3%B6%C3%9Fe-1");
    }

    #[test]
    fn what_an_operator_has_to_change_first_is_no_internal_error() {
        let reason = "restore it".to_owned();
        let archived = status(&StoreError::Archived { position: Position::new(3), reason });
        assert_eq!(archived.code(), Code::FailedPrecondition);
        assert!(archived.message().ends_with("restore it"), "{archived}");
    }

    #[test]
    fn only_an_unknown_outcome_is_aborted() {
        let unknown = status(&StoreError::unavailable("the connection broke"));
        assert_eq!(unknown.code(), Code::Aborted);
        let definite = status(&StoreError::unreachable("no route"));
        assert_eq!(definite.code(), Code::Unavailable);
    }

    #[test]
    fn an_archived_event_is_told_with_its_remedy_and_without_its_position_before_a_login() {
        let reason = "`gesta archive restore --from 7` brings it back".to_owned();
        let archived = StoreError::Archived { position: Position::new(7), reason };
        let of_read = status(&archived);
        assert_eq!(of_read.code(), Code::FailedPrecondition);
        assert!(of_read.message().contains("gesta archive restore --from 7"), "{of_read}");
        assert_eq!(of_read.metadata().get("position").unwrap(), "7");
        let of_login = login_status(&archived);
        assert_eq!(of_login.code(), Code::FailedPrecondition);
        assert!(of_login.message().contains("gesta archive restore"), "{of_login}");
        assert!(!format!("{of_login:?}").contains('7'), "{of_login:?}");
        assert!(is_archived(&of_read) && is_archived(&of_login));
        assert!(!is_archived(&status(&StoreError::unreachable("no route"))));
    }
}
