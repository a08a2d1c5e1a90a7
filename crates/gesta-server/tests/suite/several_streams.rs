//! The second version of the streams: appends to several streams, with checks.

use prost::{Message as _, Name};
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};
use v2::{
    AppendRecord, AppendRecordsRequest, AppendRecordsResponse, AppendRequest,
    AppendSessionResponse, ConsistencyCheck, SchemaFormat, SchemaInfo,
    consistency_check::{StreamStateCheck, Type},
    errors::{
        AppendConsistencyViolationErrorDetails, AppendRecordSizeExceededErrorDetails,
        AppendTransactionSizeExceededErrorDetails, ConsistencyViolation,
        StreamAlreadyInAppendSessionErrorDetails, StreamRevisionConflictErrorDetails,
        StreamTombstonedErrorDetails, consistency_violation,
    },
    streams_service_client::StreamsServiceClient,
};

scenarios!(
    a_session_appends_to_all_of_its_streams_or_to_none,
    a_session_is_repeated_with_its_first_answer,
    a_session_may_repeat_appends_of_one_stream_each,
    a_session_without_requests_or_with_a_stream_twice_is_refused,
    records_of_several_streams_are_appended_in_the_order_of_the_call,
    a_check_of_a_stream_that_gets_no_records_decides,
    a_failed_check_is_named_by_its_place_with_the_state_of_its_stream,
    a_tombstoned_stream_takes_no_records_and_fails_its_check,
    all_checks_that_fail_are_named,
    several_checks_of_one_stream_hold_together,
    records_in_turns_are_repeated_with_their_first_answer,
    a_check_may_expect_a_deleted_or_a_tombstoned_stream,
    records_and_appends_that_are_too_large_are_refused_with_their_sizes,
    properties_are_read_as_metadata_by_the_first_version,
    names_that_the_index_answers_take_no_records,
    metadata_among_records_leave_a_deleted_stream_deleted,
);

const NO_STREAM_NUMBER: i64 = -1;
const ANY_NUMBER: i64 = -2;
const EXISTS_NUMBER: i64 = -4;

fn record(number: u128) -> AppendRecord {
    AppendRecord {
        record_id: Some(Uuid::from_u128(number).to_string()),
        properties: Default::default(),
        schema: Some(SchemaInfo {
            format: SchemaFormat::Json.into(),
            name: "happened".to_owned(),
            id: None,
        }),
        data: format!("{{\"n\":{number}}}").into(),
        stream: String::new(),
    }
}

fn record_of(stream: &str, number: u128) -> AppendRecord {
    AppendRecord { stream: stream.to_owned(), ..record(number) }
}

fn request(stream: &str, expected: i64, numbers: &[u128]) -> AppendRequest {
    AppendRequest {
        stream: stream.to_owned(),
        records: numbers.iter().copied().map(record).collect(),
        expected_revision: Some(expected),
    }
}

fn check(stream: &str, expected_state: i64) -> ConsistencyCheck {
    let check = StreamStateCheck { stream: stream.to_owned(), expected_state };
    ConsistencyCheck { r#type: Some(Type::StreamState(check)) }
}

/// A client of the second version, and one of the first to read by.
struct Both {
    first: Client,
    second: StreamsServiceClient<Channel>,
}

impl Both {
    async fn of(scene: &Scene) -> Self {
        let second = StreamsServiceClient::new(scene.channel().await);
        Self { first: scene.client().await, second }
    }

    async fn session(
        &mut self,
        requests: Vec<AppendRequest>,
    ) -> Result<AppendSessionResponse, Status> {
        let response = self.second.append_session(tokio_stream::iter(requests)).await?;
        Ok(response.into_inner())
    }

    async fn records(
        &mut self,
        records: Vec<AppendRecord>,
        checks: Vec<ConsistencyCheck>,
    ) -> Result<AppendRecordsResponse, Status> {
        let request = AppendRecordsRequest { records, checks };
        Ok(self.second.append_records(request).await?.into_inner())
    }

    async fn count(&mut self, stream: &str) -> usize {
        match Read::stream(stream).run(&mut self.first).await.unwrap().as_slice() {
            [read_resp::Content::StreamNotFound(_)] => 0,
            events => events.len(),
        }
    }
}

/// Unpacks the details of an error, which are the last of two.
fn details<Details: prost::Message + Name + Default>(status: &Status, code: Code) -> Details {
    assert_eq!(status.code(), code, "{status}");
    let rich = rpc::DetailedStatus::decode(status.details()).unwrap();
    assert_eq!(rich.code, i32::from(code));
    let [info, details] = rich.details.as_slice() else { panic!("{rich:?}") };
    assert_eq!(info.type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!(details.type_url, format!("type.googleapis.com/{}", Details::full_name()));
    Details::decode(&*details.value).unwrap()
}

async fn a_session_appends_to_all_of_its_streams_or_to_none(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let requests =
        vec![request("order-1", NO_STREAM_NUMBER, &[1, 2]), request("stock-1", ANY_NUMBER, &[3])];
    let answer = both.session(requests).await.unwrap();
    let heads: Vec<_> =
        answer.output.iter().map(|of| (of.stream.as_str(), of.stream_revision)).collect();
    assert_eq!(heads, [("order-1", 1), ("stock-1", 0)]);
    let all = Read::all().places(&mut both.first).await;
    assert_eq!(all, ["0@order-1", "1@order-1", "0@stock-1"]);
    let requests = vec![request("order-1", 1, &[4]), request("stock-1", NO_STREAM_NUMBER, &[5])];
    let refused = both.session(requests).await.unwrap_err();
    let conflict: StreamRevisionConflictErrorDetails = details(&refused, Code::FailedPrecondition);
    assert_eq!(conflict.stream, "stock-1");
    assert_eq!((conflict.expected_revision, conflict.actual_revision), (-1, 0));
    assert_eq!(Read::all().places(&mut both.first).await.len(), 3, "nothing was appended");
}

async fn a_session_is_repeated_with_its_first_answer(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let requests =
        || vec![request("order-1", NO_STREAM_NUMBER, &[1]), request("stock-1", ANY_NUMBER, &[2])];
    let first = both.session(requests()).await.unwrap();
    assert_eq!(both.session(requests()).await.unwrap(), first);
    assert_eq!(Read::all().places(&mut both.first).await.len(), 2);
    let other = vec![request("order-1", NO_STREAM_NUMBER, &[1]), request("stock-2", -2, &[2])];
    let refused = both.session(other).await.unwrap_err();
    let conflict: StreamRevisionConflictErrorDetails = details(&refused, Code::FailedPrecondition);
    assert_eq!((conflict.stream.as_str(), conflict.actual_revision), ("order-1", 0));
}

async fn a_session_may_repeat_appends_of_one_stream_each(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let order = || request("order-1", NO_STREAM_NUMBER, &[1, 2]);
    let stock = || request("stock-1", NO_STREAM_NUMBER, &[3]);
    both.session(vec![order()]).await.unwrap();
    let second = both.session(vec![stock()]).await.unwrap();
    let together = both.session(vec![order(), stock()]).await.unwrap();
    assert_eq!(together.position, second.position);
    let heads: Vec<_> =
        together.output.iter().map(|of| (of.stream.as_str(), of.stream_revision)).collect();
    assert_eq!(heads, [("order-1", 1), ("stock-1", 0)]);
    let more = vec![order(), request("stock-1", NO_STREAM_NUMBER, &[3, 4])];
    both.session(more).await.unwrap_err();
    assert_eq!(Read::all().places(&mut both.first).await.len(), 3);
}

async fn a_session_without_requests_or_with_a_stream_twice_is_refused(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let refused = both.session(vec![]).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let empty = both.session(vec![request("order-1", ANY_NUMBER, &[])]).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let twice = vec![request("order-1", ANY_NUMBER, &[1]), request("order-1", ANY_NUMBER, &[2])];
    let refused = both.session(twice).await.unwrap_err();
    let twice: StreamAlreadyInAppendSessionErrorDetails = details(&refused, Code::Aborted);
    assert_eq!(twice.stream, "order-1");
    let unknown = both.session(vec![request("order-1", -3, &[1])]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    assert_eq!(both.count("order-1").await, 0);
}

async fn records_of_several_streams_are_appended_in_the_order_of_the_call(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let records = vec![
        record_of("order-1", 1),
        record_of("stock-1", 2),
        record_of("order-1", 3),
        AppendRecord { record_id: None, ..record_of("stock-1", 4) },
    ];
    let answer = both.records(records, vec![]).await.unwrap();
    let heads: Vec<_> =
        answer.revisions.iter().map(|of| (of.stream.as_str(), of.revision)).collect();
    assert_eq!(heads, [("order-1", 1), ("stock-1", 1)]);
    let all = Read::all().places(&mut both.first).await;
    assert_eq!(all, ["0@order-1", "0@stock-1", "1@order-1", "1@stock-1"]);
    let read = Read::stream("order-1").run(&mut both.first).await.unwrap();
    let data = |nth: usize| event(&read[nth]).event.as_ref().unwrap().data.clone();
    assert_eq!([data(0), data(1)], [r#"{"n":1}"#, r#"{"n":3}"#]);
    let none = both.records(vec![], vec![check("order-1", 1)]).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
}

async fn a_check_of_a_stream_that_gets_no_records_decides(scene: Scene) {
    let mut both = Both::of(&scene).await;
    grow(&mut both.first, "customer-1", [1, 2]).await;
    let holding =
        [("customer-1", 1), ("customer-1", EXISTS_NUMBER), ("customer-2", NO_STREAM_NUMBER)];
    for (number, (stream, expected)) in (10..).zip(holding) {
        let checks = vec![check(stream, expected)];
        both.records(vec![record_of("order-1", number)], checks).await.unwrap();
    }
    let failing =
        [("customer-1", 0, 1), ("customer-1", NO_STREAM_NUMBER, 1), ("customer-2", -4, -1)];
    for (stream, expected, actual) in failing {
        let records = vec![record_of("order-1", 20)];
        let refused = both.records(records, vec![check(stream, expected)]).await.unwrap_err();
        let violation: AppendConsistencyViolationErrorDetails =
            details(&refused, Code::FailedPrecondition);
        let [violation] = violation.violations.as_slice() else { panic!("{violation:?}") };
        let Some(consistency_violation::Type::StreamState(state)) = &violation.r#type else {
            panic!("{violation:?}")
        };
        assert_eq!(state.stream, stream);
        assert_eq!((state.expected_state, state.actual_state), (expected, actual));
    }
    assert_eq!(both.count("order-1").await, 3);
}

async fn a_failed_check_is_named_by_its_place_with_the_state_of_its_stream(scene: Scene) {
    let mut both = Both::of(&scene).await;
    grow(&mut both.first, "customer-1", [1]).await;
    delete(&mut both.first, "customer-1", Deleting::Any(Empty {})).await.unwrap();
    let checks = vec![
        check("order-1", NO_STREAM_NUMBER),
        check("other-1", ANY_NUMBER),
        check("customer-1", EXISTS_NUMBER),
    ];
    let refused = both.records(vec![record_of("order-1", 2)], checks).await.unwrap_err();
    let violation: AppendConsistencyViolationErrorDetails =
        details(&refused, Code::FailedPrecondition);
    let [violation] = violation.violations.as_slice() else { panic!("{violation:?}") };
    assert_eq!(violation.check_index, 2);
    let Some(consistency_violation::Type::StreamState(state)) = &violation.r#type else {
        panic!("{violation:?}")
    };
    assert_eq!(state.actual_state, -5, "it is deleted");
}

async fn several_checks_of_one_stream_hold_together(scene: Scene) {
    let mut both = Both::of(&scene).await;
    grow(&mut both.first, "customer-1", [1, 2]).await;
    let records = |number| vec![record_of("order-1", number), record_of("stock-1", number + 1)];
    let holding = vec![
        check("customer-1", 1),
        check("order-1", ANY_NUMBER),
        check("customer-1", EXISTS_NUMBER),
        check("order-1", NO_STREAM_NUMBER),
        check("order-1", NO_STREAM_NUMBER),
    ];
    both.records(records(10), holding).await.unwrap();
    let failing = vec![
        check("customer-1", EXISTS_NUMBER),
        check("customer-1", 0),
        check("order-1", 0),
        check("order-1", NO_STREAM_NUMBER),
    ];
    let refused = both.records(records(20), failing).await.unwrap_err();
    assert_eq!(failed_checks(&refused), [(1, 0, 1), (3, NO_STREAM_NUMBER, 0)]);
    assert_eq!((both.count("order-1").await, both.count("stock-1").await), (1, 1));
}

async fn records_in_turns_are_repeated_with_their_first_answer(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let in_turns = || {
        let streams = ["order-1", "stock-1"].into_iter().cycle();
        streams.zip(1..=4).map(|(stream, number)| record_of(stream, number))
    };
    let checks = || vec![check("order-1", NO_STREAM_NUMBER), check("stock-1", NO_STREAM_NUMBER)];
    let first = both.records(in_turns().collect(), checks()).await.unwrap();
    assert_eq!(both.records(in_turns().collect(), checks()).await.unwrap(), first);
    // The records of the first stream alone are where they say they are.
    let alone = in_turns().filter(|record| record.stream == "order-1").collect();
    let repeated = both.records(alone, vec![check("order-1", NO_STREAM_NUMBER)]).await.unwrap();
    assert_eq!(repeated.revisions, first.revisions[..1]);
    assert_eq!(Read::all().places(&mut both.first).await.len(), 4);
}

async fn a_tombstoned_stream_takes_no_records_and_fails_its_check(scene: Scene) {
    let mut both = Both::of(&scene).await;
    grow(&mut both.first, "customer-1", [1]).await;
    tombstone(&mut both.first, "customer-1", Tombstoning::Any(Empty {})).await.unwrap();
    let session = both.session(vec![request("customer-1", ANY_NUMBER, &[2])]).await.unwrap_err();
    let ended: StreamTombstonedErrorDetails = details(&session, Code::FailedPrecondition);
    assert_eq!(ended.stream, "customer-1");
    // Records need no check for it: no check of the call is named then.
    let written = || vec![record_of("customer-1", 2)];
    let refused = both.records(written(), vec![]).await.unwrap_err();
    assert_eq!(failed_checks(&refused), [(-1, ANY_NUMBER, -6)]);
    for expected in [ANY_NUMBER, EXISTS_NUMBER, NO_STREAM_NUMBER, 10] {
        let checks = vec![check("other-1", ANY_NUMBER), check("customer-1", expected)];
        let refused = both.records(written(), checks).await.unwrap_err();
        assert_eq!(failed_checks(&refused), [(1, expected, -6)]);
    }
    let checks = vec![check("customer-1", EXISTS_NUMBER)];
    let refused = both.records(vec![record_of("order-1", 3)], checks).await.unwrap_err();
    let violation: AppendConsistencyViolationErrorDetails =
        details(&refused, Code::FailedPrecondition);
    let Some(consistency_violation::Type::StreamState(state)) = &violation.violations[0].r#type
    else {
        panic!("{violation:?}")
    };
    assert_eq!((state.expected_state, state.actual_state), (EXISTS_NUMBER, -6));
}

/// Unpacks the failed checks of an append: place, expected and actual state.
fn failed_checks(status: &Status) -> Vec<(i32, i64, i64)> {
    let failed: AppendConsistencyViolationErrorDetails = details(status, Code::FailedPrecondition);
    let of = |violation: ConsistencyViolation| match violation.r#type {
        Some(consistency_violation::Type::StreamState(state)) => {
            (violation.check_index, state.expected_state, state.actual_state)
        }
        None => panic!("a check without a type"),
    };
    failed.violations.into_iter().map(of).collect()
}

async fn all_checks_that_fail_are_named(scene: Scene) {
    let mut both = Both::of(&scene).await;
    for stream in ["live-1", "deleted-1", "ended-1"] {
        grow(&mut both.first, stream, [1, 2]).await;
    }
    delete(&mut both.first, "deleted-1", Deleting::Any(Empty {})).await.unwrap();
    tombstone(&mut both.first, "ended-1", Tombstoning::Any(Empty {})).await.unwrap();
    let checks = vec![
        check("live-1", 1),
        check("deleted-1", EXISTS_NUMBER),
        check("ended-1", EXISTS_NUMBER),
        check("missing-1", 10),
        check("order-1", NO_STREAM_NUMBER),
    ];
    let refused = both.records(vec![record_of("order-1", 3)], checks).await.unwrap_err();
    let expected = [(1, EXISTS_NUMBER, -5), (2, EXISTS_NUMBER, -6), (3, 10, -1)];
    assert_eq!(failed_checks(&refused), expected);
    assert_eq!(both.count("order-1").await, 0);
}

async fn a_check_may_expect_a_deleted_or_a_tombstoned_stream(scene: Scene) {
    const DELETED: i64 = -5;
    const TOMBSTONED: i64 = -6;
    let mut both = Both::of(&scene).await;
    for stream in ["live-1", "deleted-1", "ended-1", "revived-1"] {
        grow(&mut both.first, stream, [1, 2]).await;
    }
    delete(&mut both.first, "deleted-1", Deleting::Any(Empty {})).await.unwrap();
    delete(&mut both.first, "revived-1", Deleting::Any(Empty {})).await.unwrap();
    tombstone(&mut both.first, "ended-1", Tombstoning::Any(Empty {})).await.unwrap();
    // There is no stream where one is tombstoned, for an append that leaves it alone.
    let holding = [
        check("deleted-1", DELETED),
        check("ended-1", TOMBSTONED),
        check("ended-1", NO_STREAM_NUMBER),
        check("revived-1", DELETED),
    ];
    for (number, check) in (10..).zip(holding) {
        both.records(vec![record_of("order-1", number)], vec![check]).await.unwrap();
    }
    let revival = vec![record_of("revived-1", 20)];
    both.records(revival, vec![check("revived-1", DELETED)]).await.unwrap();
    let failing = [
        ("live-1", DELETED, 1),
        ("live-1", TOMBSTONED, 1),
        ("deleted-1", TOMBSTONED, DELETED),
        ("ended-1", DELETED, TOMBSTONED),
        ("missing-1", DELETED, -1),
        ("revived-1", DELETED, 2),
    ];
    for (stream, expected, actual) in failing {
        let checks = vec![check(stream, expected)];
        let refused = both.records(vec![record_of("order-1", 30)], checks).await.unwrap_err();
        assert_eq!(failed_checks(&refused), [(0, expected, actual)], "{stream}");
    }
    assert_eq!(both.count("order-1").await, 4);
}

async fn records_and_appends_that_are_too_large_are_refused_with_their_sizes(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let of = |number, bytes: usize| AppendRecord {
        data: vec![b' '; bytes].into(),
        ..record_of("order-1", number)
    };
    let large = (16 << 20) + 1;
    let refused = both.records(vec![of(7, large)], vec![]).await.unwrap_err();
    let record: AppendRecordSizeExceededErrorDetails = details(&refused, Code::InvalidArgument);
    assert_eq!(record.record_id, Uuid::from_u128(7).to_string());
    assert_eq!(record.max_size, 16 << 20);
    assert!(record.size > record.max_size);
    let third = 11 << 20;
    let records = vec![of(1, third), of(2, third), of(3, third)];
    let refused = both.records(records, vec![]).await.unwrap_err();
    let append: AppendTransactionSizeExceededErrorDetails = details(&refused, Code::Aborted);
    assert_eq!(append.max_size, 32 << 20);
    assert_eq!(both.count("order-1").await, 0);
}

async fn properties_are_read_as_metadata_by_the_first_version(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let text = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue("request-42".to_owned())),
    };
    let mut record = record_of("order-1", 1);
    record.properties = [("$correlationId".to_owned(), text)].into();
    both.records(vec![record], vec![]).await.unwrap();
    let read = Read::stream("order-1").run(&mut both.first).await.unwrap();
    let recorded = event(&read[0]).event.as_ref().unwrap();
    let schema = r#""$schema.format":"Json","$schema.name":"happened""#;
    let expected = format!(r#"{{"$correlationId":"request-42",{schema}}}"#);
    assert_eq!(recorded.custom_metadata, expected);
    assert_eq!(recorded.metadata["type"], "happened");
    assert_eq!(recorded.metadata["content-type"], "application/json");
    let found = Read::stream("$bc-request-42").places(&mut both.first).await;
    assert_eq!(found, ["0@$bc-request-42"]);
}

async fn names_that_the_index_answers_take_no_records(scene: Scene) {
    let mut both = Both::of(&scene).await;
    let refused = both.records(vec![record_of("$ce-order", 1)], vec![]).await.unwrap_err();
    assert_exception(&refused, Code::PermissionDenied, "access-denied");
    both.records(vec![record_of("$settings", 2)], vec![]).await.unwrap();
    assert_eq!(both.count("$settings").await, 1);
}

async fn metadata_among_records_leave_a_deleted_stream_deleted(scene: Scene) {
    let mut both = Both::of(&scene).await;
    grow(&mut both.first, "customer-1", [1, 2]).await;
    grow(&mut both.first, "customer-2", [3, 4]).await;
    delete(&mut both.first, "customer-1", Deleting::Any(Empty {})).await.unwrap();
    let metadata = |stream: &str, number, json: &str| AppendRecord {
        schema: Some(SchemaInfo {
            format: SchemaFormat::Json.into(),
            name: "$metadata".to_owned(),
            id: None,
        }),
        data: json.to_owned().into(),
        ..record_of(stream, number)
    };
    let records = vec![
        metadata("$$customer-1", 10, r#"{"$maxCount":9}"#),
        record_of("order-1", 11),
        metadata("$$customer-2", 12, r#"{"$tb":9223372036854775807}"#),
    ];
    both.records(records, vec![]).await.unwrap();
    assert_eq!(both.count("order-1").await, 1);
    for stream in ["customer-1", "customer-2"] {
        assert_eq!(both.count(stream).await, 0);
        // An append revives the stream, without what was deleted.
        grow(&mut both.first, stream, [if stream == "customer-1" { 20 } else { 21 }]).await;
        assert_eq!(Read::stream(stream).places(&mut both.first).await, [format!("2@{stream}")]);
    }
}
