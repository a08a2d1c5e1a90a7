//! Responses to appends, in the messages of either call.

use gesta_store::{ExpectedRevision, StreamName};

use crate::{
    proto::{
        rpc,
        shared::{self, AllStreamPosition, Empty},
        streams::{
            AppendResp, BatchAppendResp,
            append_resp::{self, Success, WrongExpectedVersion},
            batch_append_resp::{self, ExpectedStreamPosition},
        },
    },
    wire::identifier,
};

use append_resp::{
    success::{CurrentRevisionOption as Current, PositionOption},
    wrong_expected_version::{
        CurrentRevisionOption, CurrentRevisionOption2060, ExpectedRevisionOption,
        ExpectedRevisionOption2060,
    },
};

/// The response to an append that was recorded, or that had no events.
pub(super) fn success(head: Option<u64>, position: Option<u64>) -> AppendResp {
    let current = head.map_or(Current::NoStream(Empty {}), Current::CurrentRevision);
    let position = position.map_or(PositionOption::NoPosition(Empty {}), |position| {
        PositionOption::Position(append_resp::Position {
            commit_position: position,
            prepare_position: position,
        })
    });
    let success =
        Success { current_revision_option: Some(current), position_option: Some(position) };
    AppendResp { result: Some(append_resp::Result::Success(success)) }
}

/// The response to an append whose expectation failed. Clients of any age find their fields.
pub(super) fn conflict(expected: ExpectedRevision, head: Option<u64>) -> AppendResp {
    let current = head.map_or(CurrentRevisionOption::CurrentNoStream(Empty {}), |head| {
        CurrentRevisionOption::CurrentRevision(head)
    });
    let older_current = head.map_or(
        CurrentRevisionOption2060::NoStream2060(Empty {}),
        CurrentRevisionOption2060::CurrentRevision2060,
    );
    let (expected, older_expected) = match expected {
        ExpectedRevision::Exact(revision) => (
            ExpectedRevisionOption::ExpectedRevision(revision.number()),
            Some(ExpectedRevisionOption2060::ExpectedRevision2060(revision.number())),
        ),
        ExpectedRevision::Any => (
            ExpectedRevisionOption::ExpectedAny(Empty {}),
            Some(ExpectedRevisionOption2060::Any2060(Empty {})),
        ),
        ExpectedRevision::StreamExists => (
            ExpectedRevisionOption::ExpectedStreamExists(Empty {}),
            Some(ExpectedRevisionOption2060::StreamExists2060(Empty {})),
        ),
        // The older choice has no word for it.
        ExpectedRevision::NoStream => (ExpectedRevisionOption::ExpectedNoStream(Empty {}), None),
    };
    let wrong = WrongExpectedVersion {
        current_revision_option_20_6_0: Some(older_current),
        expected_revision_option_20_6_0: older_expected,
        current_revision_option: Some(current),
        expected_revision_option: Some(expected),
    };
    AppendResp { result: Some(append_resp::Result::WrongExpectedVersion(wrong)) }
}

/// The result of one append of a batch call.
pub(super) fn batch_success(head: Option<u64>, position: Option<u64>) -> batch_append_resp::Result {
    use batch_append_resp::success::{CurrentRevisionOption, PositionOption};
    let current =
        head.map_or(CurrentRevisionOption::NoStream(()), CurrentRevisionOption::CurrentRevision);
    let position = position.map_or(PositionOption::NoPosition(()), |position| {
        PositionOption::Position(AllStreamPosition {
            commit_position: position,
            prepare_position: position,
        })
    });
    batch_append_resp::Result::Success(batch_append_resp::Success {
        current_revision_option: Some(current),
        position_option: Some(position),
    })
}

pub(super) fn batch_error(error: rpc::Status) -> batch_append_resp::Result {
    batch_append_resp::Result::Error(error)
}

/// The response to one append of a batch call, with what was asked.
pub(super) fn batch_response(
    correlation_id: Option<shared::Uuid>,
    asked: Option<(&StreamName, ExpectedRevision)>,
    result: batch_append_resp::Result,
) -> BatchAppendResp {
    BatchAppendResp {
        correlation_id,
        result: Some(result),
        stream_identifier: asked.map(|(stream, _)| identifier(stream)),
        expected_stream_position: asked.map(|(_, expected)| match expected {
            ExpectedRevision::Any => ExpectedStreamPosition::Any(()),
            ExpectedRevision::NoStream => ExpectedStreamPosition::NoStream(()),
            ExpectedRevision::StreamExists => ExpectedStreamPosition::StreamExists(()),
            ExpectedRevision::Exact(revision) => {
                ExpectedStreamPosition::StreamPosition(revision.number())
            }
        }),
    }
}
