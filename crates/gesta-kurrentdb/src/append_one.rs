//! The append to one stream, by the first version of the streams.
//!
//! Owns: the call and its answer. An append without events checks what the stream is expected at.

use futures_util::{FutureExt as _, stream};
use gesta_store::{ExpectedRevision, NewEvent, Position, Revision, StoreError, StreamAppend};

use crate::{
    core::Core,
    envelope::Envelope,
    failure::{Subject, conflict},
    proto::{
        shared::Empty,
        streams::{
            AppendReq, AppendResp,
            append_req::{Content, Options, ProposedMessage, options::ExpectedStreamRevision},
            append_resp::{
                Result as Answer, Success, WrongExpectedVersion,
                success::{CurrentRevisionOption, PositionOption},
                wrong_expected_version::{
                    CurrentRevisionOption as Current, CurrentRevisionOption2060 as OlderCurrent,
                },
            },
            streams_client::StreamsClient,
        },
    },
    read::change_answer,
    wire::{JSON, OCTET_STREAM, identifier, uuid},
};

/// Bytes counted for an event besides its content: what a server counts, and an [`Envelope`].
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 512;

/// Appends to one stream. Returns its head, and the position of the last event.
pub(crate) async fn send_part(
    core: &Core,
    part: StreamAppend,
) -> Result<(Option<Revision>, Option<Position>), StoreError> {
    let StreamAppend { stream, expected, events, .. } = part;
    let subject = Subject {
        expected: Some(expected),
        first_event: events.first().map(|event| event.id),
        bytes: events.iter().map(|event| event.content_bytes() + EVENT_OVERHEAD_BYTES).sum(),
        ..Subject::of_stream(&stream)
    };
    let options = Options {
        stream_identifier: Some(identifier(&stream)),
        expected_stream_revision: Some(match expected {
            ExpectedRevision::Any => ExpectedStreamRevision::Any(Empty {}),
            ExpectedRevision::NoStream => ExpectedStreamRevision::NoStream(Empty {}),
            ExpectedRevision::StreamExists => ExpectedStreamRevision::StreamExists(Empty {}),
            ExpectedRevision::Exact(revision) => {
                ExpectedStreamRevision::Revision(revision.number())
            }
        }),
    };
    let events = events.into_iter().map(|event| Content::ProposedMessage(proposed(event)));
    let contents = std::iter::once(Content::Options(options)).chain(events);
    let messages = contents.map(|content| AppendReq { content: Some(content) });
    let messages: Vec<AppendReq> = messages.collect();
    let answer = core.cluster.call(|lease| {
        let origin = lease.link.origin();
        let mut client = StreamsClient::with_origin(lease.link.clone(), origin);
        async move {
            let answer = client.append(stream::iter(messages)).await;
            drop(lease);
            answer.map(tonic::Response::into_inner)
        }
        .boxed()
    });
    let answer = change_answer(core, &subject, answer).await?;
    match answer {
        AppendResp { result: Some(Answer::Success(success)) } => Ok(place(&success)),
        AppendResp { result: Some(Answer::WrongExpectedVersion(wrong)) } => {
            Err(conflict(&subject, stream, current_of(&wrong)))
        }
        // The events may have been recorded.
        AppendResp { result: None } => {
            Err(StoreError::unavailable("the server's answer to an append is empty"))
        }
    }
}

fn place(success: &Success) -> (Option<Revision>, Option<Position>) {
    let head = match success.current_revision_option {
        Some(CurrentRevisionOption::CurrentRevision(head)) => Some(Revision::new(head)),
        Some(CurrentRevisionOption::NoStream(_)) | None => None,
    };
    let position = match &success.position_option {
        Some(PositionOption::Position(at)) => Some(Position::new(at.commit_position)),
        Some(PositionOption::NoPosition(_)) | None => None,
    };
    (head, position)
}

fn current_of(wrong: &WrongExpectedVersion) -> Option<Revision> {
    match (&wrong.current_revision_option, &wrong.current_revision_option_20_6_0) {
        (Some(Current::CurrentRevision(head)), _)
        | (None, Some(OlderCurrent::CurrentRevision2060(head))) => Some(Revision::new(*head)),
        _ => None,
    }
}

fn proposed(event: NewEvent) -> ProposedMessage {
    let content_type = match event.content_type.is_json() {
        true => JSON,
        false => OCTET_STREAM,
    };
    let metadata = [("type", event.event_type.as_str()), ("content-type", content_type)];
    ProposedMessage {
        id: Some(uuid(event.id)),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        custom_metadata: Envelope::of(&event).into_bytes(),
        data: event.data,
    }
}
