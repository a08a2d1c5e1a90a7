//! The error of one append of a batch call, which is a message and not the end of the call.
//!
//! Owns: codes and details, packed as `Any`. Clients unpack the details by their type's name.

use gesta_store::{Conflict, ExpectedRevision, StoreError, StreamName};
use prost::{Message, Name};
use tonic::{Code, Status};

use super::{details::any, errors::status, identifier};
use crate::proto::{
    rpc,
    shared::{
        AccessDenied, BadRequest, MaximumAppendSizeExceeded, StreamDeleted, Timeout, Unknown,
        WrongExpectedVersion,
        wrong_expected_version::{CurrentStreamRevisionOption, ExpectedStreamPositionOption},
    },
};

/// Translates the error of an append.
pub(crate) fn batch_status(error: &StoreError, stream: &StreamName) -> rpc::Status {
    let plain = status(error);
    let text = plain.message().to_owned();
    match error {
        StoreError::Conflict(Conflict::Stream { expected, head, .. }) => {
            let current = head.map_or(CurrentStreamRevisionOption::CurrentNoStream(()), |head| {
                CurrentStreamRevisionOption::CurrentStreamRevision(head.number())
            });
            let details = WrongExpectedVersion {
                current_stream_revision_option: Some(current),
                expected_stream_position_option: Some(expected_position(*expected)),
            };
            packed(Code::AlreadyExists, text, &details)
        }
        StoreError::Deleted { .. } => {
            let details = StreamDeleted { stream_identifier: Some(identifier(stream)) };
            packed(Code::NotFound, text, &details)
        }
        // The outcome is open, as it is after the deadline.
        StoreError::Unavailable { .. } => packed(Code::DeadlineExceeded, text, &Timeout {}),
        _ => of_plain(&plain),
    }
}

/// The status of an append whose deadline has passed. Its outcome is unknown.
pub(crate) fn timed_out() -> rpc::Status {
    packed(Code::DeadlineExceeded, "the append did not end in time".to_owned(), &Timeout {})
}

/// Translates the refusal of a request.
pub(crate) fn of_plain(plain: &Status) -> rpc::Status {
    let text = plain.message().to_owned();
    let limit = plain.metadata().get("maximum-append-size");
    match plain.code() {
        Code::PermissionDenied => packed(Code::PermissionDenied, text, &AccessDenied {}),
        Code::InvalidArgument => match limit.and_then(|limit| limit.to_str().ok()?.parse().ok()) {
            Some(max_append_size) => {
                let details = MaximumAppendSizeExceeded { max_append_size };
                packed(Code::InvalidArgument, text, &details)
            }
            None => {
                let details = BadRequest { message: text.clone() };
                packed(Code::InvalidArgument, text, &details)
            }
        },
        code => packed(code, text, &Unknown {}),
    }
}

fn expected_position(expected: ExpectedRevision) -> ExpectedStreamPositionOption {
    match expected {
        ExpectedRevision::Any => ExpectedStreamPositionOption::ExpectedAny(()),
        ExpectedRevision::NoStream => ExpectedStreamPositionOption::ExpectedNoStream(()),
        ExpectedRevision::StreamExists => ExpectedStreamPositionOption::ExpectedStreamExists(()),
        ExpectedRevision::Exact(revision) => {
            ExpectedStreamPositionOption::ExpectedStreamPosition(revision.number())
        }
    }
}

fn packed<Details: Message + Name>(code: Code, message: String, details: &Details) -> rpc::Status {
    rpc::Status { code: code.into(), message, details: Some(any(details)) }
}
