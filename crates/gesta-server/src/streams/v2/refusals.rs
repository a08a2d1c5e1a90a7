//! Errors of the second version of the streams: statuses whose details name the stream.
//!
//! Invariant: `ABORTED` with details is a definite refusal, as the protocol has it here; without
//! details it is an unknown outcome.

use gesta_store::{Conflict, EventId, ExpectedRevision, Invalid, StoreError, StreamName};
use tonic::{Code, Status};

use super::{
    asked::Asked,
    failed_check::{FailedCheck, NO_STREAM},
};
use crate::{
    node::Node,
    proto::streams_v2::errors::{
        AppendConsistencyViolationErrorDetails, AppendRecordSizeExceededErrorDetails,
        AppendTransactionSizeExceededErrorDetails, ConsistencyViolation,
        StreamAlreadyInAppendSessionErrorDetails, StreamRevisionConflictErrorDetails,
        StreamTombstonedErrorDetails,
        consistency_violation::{StreamStateViolation, Type},
    },
    wire::{detailed, status, version_number},
};

/// The index of a violation that no check of the request is about.
const NO_CHECK: i32 = -1;

/// Translates the error of a session.
pub(super) async fn of_session(node: &Node, error: StoreError, asked: &Asked) -> Status {
    match &error {
        StoreError::Conflict(Conflict::Stream { stream, expected, head }) => {
            let actual = head.map_or(NO_STREAM, |head| signed(head.number()));
            revision_conflict(&error, stream, *expected, actual)
        }
        _ => of_any(node, error, asked).await,
    }
}

/// Translates an error that is the same for both calls.
pub(super) async fn of_any(node: &Node, error: StoreError, asked: &Asked) -> Status {
    match &error {
        StoreError::Deleted { stream } => {
            let details = StreamTombstonedErrorDetails { stream: stream.as_str().to_owned() };
            let text = format!("Event stream '{stream}' is tombstoned.");
            detailed(Code::FailedPrecondition, "STREAM_TOMBSTONED", &text, &details)
        }
        // Some ids were recorded before, but not this append.
        StoreError::Conflict(Conflict::PartialRepeat { .. }) => {
            let Some((stream, expected)) = asked.first_written() else { return status(&error) };
            match node.store().describe_stream(stream).await {
                Ok(described) => {
                    let actual = described.head.map_or(NO_STREAM, |head| signed(head.number()));
                    revision_conflict(&error, stream, expected, actual)
                }
                Err(_) => status(&error),
            }
        }
        StoreError::Rejected(Invalid::Limit { limit: "append bytes", actual, max }) => {
            append_too_large(*actual, *max)
        }
        _ => status(&error),
    }
}

fn revision_conflict(
    error: &StoreError,
    stream: &StreamName,
    expected: ExpectedRevision,
    actual: i64,
) -> Status {
    let details = StreamRevisionConflictErrorDetails {
        stream: stream.as_str().to_owned(),
        expected_revision: version_number(expected),
        actual_revision: actual,
    };
    let text = error.to_string();
    detailed(Code::FailedPrecondition, "STREAM_REVISION_CONFLICT", &text, &details)
}

/// Refuses an append whose checks have failed.
pub(super) fn checks_failed(failed: Vec<FailedCheck>) -> Status {
    let texts: Vec<_> = failed.iter().map(text_of).collect();
    let violations = failed.into_iter().map(|failed| {
        let state = StreamStateViolation {
            stream: failed.stream.as_str().to_owned(),
            expected_state: failed.expected,
            actual_state: failed.actual,
        };
        ConsistencyViolation {
            check_index: failed.place.map_or(NO_CHECK, short),
            r#type: Some(Type::StreamState(state)),
        }
    });
    let details = AppendConsistencyViolationErrorDetails { violations: violations.collect() };
    let text = texts.join("; ");
    detailed(Code::FailedPrecondition, "APPEND_CONSISTENCY_VIOLATION", &text, &details)
}

fn text_of(failed: &FailedCheck) -> String {
    let FailedCheck { place, stream, expected, actual } = failed;
    match place {
        Some(place) => format!(
            "check {place}: the stream `{stream}` is in state {actual}, expected {expected}"
        ),
        None => format!("the stream `{stream}` is tombstoned and takes no records"),
    }
}

pub(super) fn record_too_large(
    stream: &StreamName,
    id: EventId,
    size: usize,
    max: usize,
) -> Status {
    let details = AppendRecordSizeExceededErrorDetails {
        stream: stream.as_str().to_owned(),
        record_id: id.to_string(),
        size: short(size),
        max_size: short(max),
    };
    let text = format!("the record {id} has {size} bytes; at most {max} are allowed");
    detailed(Code::InvalidArgument, "APPEND_RECORD_SIZE_EXCEEDED", &text, &details)
}

pub(super) fn append_too_large(size: usize, max: usize) -> Status {
    let details =
        AppendTransactionSizeExceededErrorDetails { size: short(size), max_size: short(max) };
    let text = format!("the records have {size} bytes together; at most {max} are allowed");
    detailed(Code::Aborted, "APPEND_TRANSACTION_SIZE_EXCEEDED", &text, &details)
}

pub(super) fn stream_twice(stream: &StreamName) -> Status {
    let details = StreamAlreadyInAppendSessionErrorDetails { stream: stream.as_str().to_owned() };
    let text = format!("the stream `{stream}` is in the session twice");
    detailed(Code::Aborted, "STREAM_ALREADY_IN_APPEND_SESSION", &text, &details)
}

/// Returns a revision or a position as a number of the protocol.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn short(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}
