//! `BatchAppend`: many appends in one call.

use batch_append_req::{
    Options, ProposedMessage,
    options::{DeadlineOption, ExpectedStreamPosition},
};
use batch_append_resp::{Result::Error, Result::Success, success::CurrentRevisionOption};
use prost::Message as _;
use tonic::Code;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    appends_of_one_call_are_answered_each_with_its_own_id,
    an_append_may_come_in_parts,
    a_conflict_carries_the_head_in_its_details,
    a_refused_append_does_not_end_the_others,
    an_append_to_a_tombstoned_stream_says_so,
    a_part_without_options_ends_the_call,
    incomplete_appends_that_take_too_much_memory_end_the_call,
    a_deadline_that_is_a_point_in_time_is_no_reason_to_wait_for_ever,
);

fn batch(
    correlation: u128,
    stream: &str,
    expected: ExpectedStreamPosition,
    events: &[u128],
) -> BatchAppendReq {
    let options = Options {
        stream_identifier: identifier(stream),
        expected_stream_position: Some(expected),
        deadline_option: None,
    };
    BatchAppendReq {
        correlation_id: id(correlation),
        options: Some(options),
        proposed_messages: events.iter().map(|number| message(*number)).collect(),
        is_final: true,
    }
}

fn message(number: u128) -> ProposedMessage {
    let append_req::ProposedMessage { id, metadata, custom_metadata, data } =
        proposed(number, "happened");
    ProposedMessage { id, metadata, custom_metadata, data }
}

/// Sends these messages and returns the responses, by correlation id.
async fn call(client: &mut Client, messages: Vec<BatchAppendReq>) -> Vec<BatchAppendResp> {
    let mut answers = client.batch_append(tokio_stream::iter(messages)).await.unwrap().into_inner();
    let mut responses = Vec::new();
    while let Some(response) = answers.message().await.unwrap() {
        responses.push(response);
    }
    responses.sort_by_key(|response| format!("{:?}", response.correlation_id));
    responses
}

async fn appends_of_one_call_are_answered_each_with_its_own_id(scene: Scene) {
    let mut client = scene.client().await;
    let messages = (0..50_u64)
        .map(|n| {
            let expected = match n.checked_sub(1) {
                None => ExpectedStreamPosition::NoStream(()),
                Some(before) => ExpectedStreamPosition::StreamPosition(before),
            };
            batch(u128::from(n), "order-1", expected, &[u128::from(n) + 100])
        })
        .collect();
    let responses = call(&mut client, messages).await;
    assert_eq!(responses.len(), 50);
    for (n, response) in (0..).zip(&responses) {
        assert_eq!(response.correlation_id, id(n));
        assert_eq!(response.stream_identifier, identifier("order-1"));
        let Some(Success(success)) = &response.result else { panic!("{response:?}") };
        let revision = CurrentRevisionOption::CurrentRevision(u64::try_from(n).unwrap());
        assert_eq!(success.current_revision_option, Some(revision));
    }
}

async fn an_append_may_come_in_parts(scene: Scene) {
    let mut client = scene.client().await;
    let mut first = batch(1, "order-1", ExpectedStreamPosition::NoStream(()), &[1, 2]);
    first.is_final = false;
    let mut second = batch(1, "order-1", ExpectedStreamPosition::NoStream(()), &[3]);
    second.options = None;
    // Parts of another append come in between.
    let other = batch(2, "order-2", ExpectedStreamPosition::Any(()), &[4]);
    let responses = call(&mut client, vec![first, other, second]).await;
    assert_eq!(responses.len(), 2);
    let read = Read::stream("order-1").places(&mut client).await;
    assert_eq!(read, ["0@order-1", "1@order-1", "2@order-1"]);
}

async fn a_conflict_carries_the_head_in_its_details(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1, 2]).await;
    let wrong = batch(1, "order-1", ExpectedStreamPosition::NoStream(()), &[3]);
    let responses = call(&mut client, vec![wrong]).await;
    let Some(Error(error)) = &responses[0].result else { panic!("{responses:?}") };
    assert_eq!(error.code, i32::from(Code::AlreadyExists));
    let details = error.details.as_ref().unwrap();
    assert_eq!(details.type_url, "type.googleapis.com/event_store.client.WrongExpectedVersion");
    let details = shared::WrongExpectedVersion::decode(details.value.as_slice()).unwrap();
    use shared::wrong_expected_version::{
        CurrentStreamRevisionOption::CurrentStreamRevision,
        ExpectedStreamPositionOption::ExpectedNoStream,
    };
    assert_eq!(details.current_stream_revision_option, Some(CurrentStreamRevision(1)));
    assert_eq!(details.expected_stream_position_option, Some(ExpectedNoStream(())));
}

async fn a_refused_append_does_not_end_the_others(scene: Scene) {
    let mut client = scene.client().await;
    let mut untyped = batch(1, "order-1", ExpectedStreamPosition::Any(()), &[1]);
    untyped.proposed_messages[0].metadata.clear();
    let unnamed = batch(2, "order-", ExpectedStreamPosition::Any(()), &[2]);
    let good = batch(3, "order-1", ExpectedStreamPosition::Any(()), &[3]);
    let responses = call(&mut client, vec![untyped, unnamed, good]).await;
    for refused in &responses[..2] {
        let Some(Error(error)) = &refused.result else { panic!("{refused:?}") };
        assert_eq!(error.code, i32::from(Code::InvalidArgument));
    }
    assert!(matches!(responses[2].result, Some(Success(_))), "{responses:?}");
}

async fn an_append_to_a_tombstoned_stream_says_so(scene: Scene) {
    let mut client = scene.client().await;
    let options = tombstone_req::Options {
        stream_identifier: identifier("order-1"),
        expected_stream_revision: Some(tombstone_req::options::ExpectedStreamRevision::Any(
            Empty {},
        )),
    };
    client.tombstone(TombstoneReq { options: Some(options) }).await.unwrap();
    let late = batch(1, "order-1", ExpectedStreamPosition::Any(()), &[1]);
    let responses = call(&mut client, vec![late]).await;
    let Some(Error(error)) = &responses[0].result else { panic!("{responses:?}") };
    assert_eq!(error.code, i32::from(Code::NotFound));
    let details = error.details.as_ref().unwrap();
    assert_eq!(details.type_url, "type.googleapis.com/event_store.client.StreamDeleted");
}

async fn a_part_without_options_ends_the_call(scene: Scene) {
    let mut client = scene.client().await;
    let mut part = batch(1, "order-1", ExpectedStreamPosition::Any(()), &[1]);
    part.options = None;
    let mut answers = client.batch_append(tokio_stream::iter([part])).await.unwrap().into_inner();
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

async fn incomplete_appends_that_take_too_much_memory_end_the_call(scene: Scene) {
    let mut client = scene.client().await;
    let part = |correlation| {
        let mut part = batch(correlation, "order-1", ExpectedStreamPosition::Any(()), &[1]);
        part.proposed_messages[0].data = vec![b' '; 15 << 20].into();
        part.is_final = false;
        part
    };
    let parts: Vec<_> = (1..=5).map(part).collect();
    let mut answers = client.batch_append(tokio_stream::iter(parts)).await.unwrap().into_inner();
    let refused = answers.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
}

async fn a_deadline_that_is_a_point_in_time_is_no_reason_to_wait_for_ever(scene: Scene) {
    let mut client = scene.client().await;
    let mut late = batch(1, "order-1", ExpectedStreamPosition::Any(()), &[1]);
    let deadline = prost_types::Duration { seconds: 1_800_000_000, nanos: 0 };
    late.options.as_mut().unwrap().deadline_option = Some(DeadlineOption::Deadline(deadline));
    let responses = call(&mut client, vec![late]).await;
    assert!(matches!(responses[0].result, Some(Success(_))), "{responses:?}");
}
