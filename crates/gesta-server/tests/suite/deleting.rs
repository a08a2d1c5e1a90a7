//! `Delete`, `Tombstone`, and metadata.

use read_resp::Content;
use tonic::Code;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_deleted_stream_is_not_found_and_is_revived_by_an_append,
    a_stream_that_never_was_cannot_be_deleted,
    a_deletion_checks_the_revision,
    a_deleted_stream_where_one_is_expected_is_told_as_deleted,
    a_tombstoned_stream_refuses_everything,
    a_read_of_a_tombstoned_stream_fails_before_it_begins,
    a_stream_that_the_server_needs_is_not_deleted,
    metadata_hide_events_and_are_read_back,
    a_client_that_truncates_before_the_largest_revision_deletes_the_stream,
    metadata_without_a_truncation_leave_a_deleted_stream_deleted,
    metadata_that_name_a_truncation_take_effect_as_written,
    a_tombstone_is_the_last_event_of_its_stream_in_the_whole_store,
);

async fn a_deleted_stream_is_not_found_and_is_revived_by_an_append(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..2).await;
    assert!(delete(&mut client, "order-1", Deleting::Any(Empty {})).await.unwrap() > 0);
    let read = Read::stream("order-1").run(&mut client).await.unwrap();
    assert!(matches!(read.as_slice(), [Content::StreamNotFound(_)]), "{read:?}");
    // A second deletion has nothing to do.
    delete(&mut client, "order-1", Deleting::Any(Empty {})).await.unwrap();
    let revived = append(&mut client, "order-1", NO_STREAM, vec![proposed(7, "placed")]).await;
    assert!(matches!(revived, Ok(append_resp::Result::Success(_))), "{revived:?}");
    assert_eq!(Read::stream("order-1").places(&mut client).await, ["2@order-1"]);
}

async fn a_stream_that_never_was_cannot_be_deleted(scene: Scene) {
    let mut client = scene.client().await;
    let refused = delete(&mut client, "order-1", Deleting::Any(Empty {})).await.unwrap_err();
    assert_exception(&refused, Code::FailedPrecondition, "wrong-expected-version");
    assert_eq!(trailer(&refused, "actual-version"), "-1");
    assert_eq!(trailer(&refused, "expected-version"), "-2");
}

async fn a_deletion_checks_the_revision(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..2).await;
    let refused = delete(&mut client, "order-1", Deleting::Revision(7)).await.unwrap_err();
    assert_exception(&refused, Code::FailedPrecondition, "wrong-expected-version");
    assert_eq!(trailer(&refused, "stream-name"), "order-1");
    assert_eq!(trailer(&refused, "expected-version"), "7");
    assert_eq!(trailer(&refused, "actual-version"), "1");
    let wrong = tombstone(&mut client, "order-1", Tombstoning::Revision(7)).await.unwrap_err();
    assert_exception(&wrong, Code::FailedPrecondition, "wrong-expected-version");
    delete(&mut client, "order-1", Deleting::Revision(1)).await.unwrap();
}

async fn a_deleted_stream_where_one_is_expected_is_told_as_deleted(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..2).await;
    delete(&mut client, "order-1", Deleting::StreamExists(Empty {})).await.unwrap();
    let deleted = delete(&mut client, "order-1", Deleting::StreamExists(Empty {})).await;
    let ended = tombstone(&mut client, "order-1", Tombstoning::StreamExists(Empty {})).await;
    let appended = append(&mut client, "order-1", EXISTS, vec![proposed(7, "placed")]).await;
    for refused in [deleted.unwrap_err(), ended.unwrap_err(), appended.unwrap_err()] {
        assert_exception(&refused, Code::FailedPrecondition, "stream-deleted");
        assert_eq!(trailer(&refused, "stream-name"), "order-1");
    }
    let never = delete(&mut client, "order-2", Deleting::StreamExists(Empty {})).await;
    assert_exception(&never.unwrap_err(), Code::FailedPrecondition, "wrong-expected-version");
}

async fn a_read_of_a_tombstoned_stream_fails_before_it_begins(scene: Scene) {
    let mut client = scene.client().await;
    let mut metadata = proposed(1, "$metadata");
    metadata.data = b"{}".to_vec().into();
    append(&mut client, "$$order-1", ANY, vec![metadata]).await.unwrap();
    tombstone(&mut client, "order-1", Tombstoning::Any(Empty {})).await.unwrap();
    for stream in ["order-1", "$$order-1"] {
        for read in [Read::stream(stream), Read::stream(stream).backwards().at_end()] {
            let Err(refused) = read.open(&mut client).await else { panic!("{stream} is read") };
            assert_exception(&refused, Code::FailedPrecondition, "stream-deleted");
            assert_eq!(trailer(&refused, "stream-name"), stream);
        }
    }
    let Err(refused) = Read::stream("$$order-1").subscribing().open(&mut client).await else {
        panic!("the metadata are followed")
    };
    assert_exception(&refused, Code::FailedPrecondition, "stream-deleted");
}

async fn a_tombstoned_stream_refuses_everything(scene: Scene) {
    let mut client = scene.client().await;
    // The stream need not exist.
    assert!(tombstone(&mut client, "order-1", Tombstoning::NoStream(Empty {})).await.unwrap() > 0);
    let read = Read::stream("order-1").run(&mut client).await.unwrap_err();
    assert_exception(&read, Code::FailedPrecondition, "stream-deleted");
    assert_eq!(trailer(&read, "stream-name"), "order-1");
    assert!(read.message().contains("is deleted"), "{read}");
    let appended = append(&mut client, "order-1", ANY, vec![proposed(1, "placed")]).await;
    assert_exception(&appended.unwrap_err(), Code::FailedPrecondition, "stream-deleted");
    let deleted = delete(&mut client, "order-1", Deleting::Any(Empty {})).await.unwrap_err();
    assert_exception(&deleted, Code::FailedPrecondition, "stream-deleted");
    let again = tombstone(&mut client, "order-1", Tombstoning::Any(Empty {})).await.unwrap_err();
    assert_exception(&again, Code::FailedPrecondition, "stream-deleted");
}

async fn a_stream_that_the_server_needs_is_not_deleted(scene: Scene) {
    let mut client = scene.client().await;
    for stream in [
        "$persistentSubscriptionConfig",
        "$projections-$all",
        "$projections-totals-checkpoint",
        "$settings",
        "$users",
        "$user-ann",
    ] {
        let refused = delete(&mut client, stream, Deleting::Any(Empty {})).await.unwrap_err();
        assert_exception(&refused, Code::PermissionDenied, "access-denied");
        assert!(refused.message().contains(stream), "{refused}");
        let refused = tombstone(&mut client, stream, Tombstoning::Any(Empty {})).await;
        assert_exception(&refused.unwrap_err(), Code::PermissionDenied, "access-denied");
    }
    for stream in ["$user-ann", "$$$user-ann", "$$$persistentSubscriptionConfig"] {
        let refused = append(&mut client, stream, ANY, vec![proposed(1, "$user")]).await;
        assert_exception(&refused.unwrap_err(), Code::PermissionDenied, "access-denied");
    }
}

async fn metadata_hide_events_and_are_read_back(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..5).await;
    let mut metadata = proposed(9, "$metadata");
    metadata.data = br#"{"$maxCount":2,"$other":1,"team":"sales"}"#.to_vec().into();
    append(&mut client, "$$order-1", NO_STREAM, vec![metadata.clone()]).await.unwrap();
    assert_eq!(Read::stream("order-1").places(&mut client).await, ["3@order-1", "4@order-1"]);
    let last = Read::stream("$$order-1").backwards().at_end().limit(1);
    let read = last.run(&mut client).await.unwrap();
    let record = event(&read[0]).event.as_ref().unwrap();
    assert_eq!(record.data, metadata.data, "unknown names and the order stay");
    assert_eq!(record.metadata["type"], "$metadata");
}

async fn a_client_that_truncates_before_the_largest_revision_deletes_the_stream(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1, 2]).await;
    let mut metadata = proposed(3, "$metadata");
    metadata.data = br#"{"$tb":9223372036854775807,"team":"sales"}"#.to_vec().into();
    let deletion = || vec![metadata.clone()];
    let first = append(&mut client, "$$order-1", NO_STREAM, deletion()).await.unwrap();
    let read = Read::stream("order-1").run(&mut client).await.unwrap();
    assert!(matches!(read.as_slice(), [Content::StreamNotFound(_)]), "{read:?}");
    grow(&mut client, "order-1", [4]).await;
    assert_eq!(Read::stream("order-1").places(&mut client).await, ["2@order-1"]);
    let again = append(&mut client, "$$order-1", NO_STREAM, deletion()).await.unwrap();
    assert_eq!(again, first, "a retry deletes nothing more");
    assert_eq!(Read::stream("order-1").places(&mut client).await, ["2@order-1"]);
    let kept = Read::stream("$$order-1").run(&mut client).await.unwrap();
    let kept = &event(kept.last().unwrap()).event.as_ref().unwrap().data;
    assert_eq!(kept, r#"{"$tb":2,"team":"sales"}"#);
}

/// Appends metadata, and returns the data of the metadata in force.
async fn describe(
    client: &mut Client,
    stream: &str,
    expected: append_req::options::ExpectedStreamRevision,
    (number, json): (u128, &str),
) -> String {
    let mut metadata = proposed(number, "$metadata");
    metadata.data = json.to_owned().into();
    let stream = format!("$${stream}");
    let answer = append(client, &stream, expected, vec![metadata]).await;
    assert!(matches!(answer, Ok(append_resp::Result::Success(_))), "{answer:?}");
    let last = Read::stream(&stream).backwards().at_end().limit(1).run(client).await.unwrap();
    String::from_utf8(event(&last[0]).event.as_ref().unwrap().data.to_vec()).unwrap()
}

async fn metadata_without_a_truncation_leave_a_deleted_stream_deleted(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1, 2]).await;
    delete(&mut client, "order-1", Deleting::Any(Empty {})).await.unwrap();
    for (expected, number) in [(exact(0), 10), (ANY, 11)] {
        let metadata = (number, r#"{"$maxCount":9,"team":"sales"}"#);
        let kept = describe(&mut client, "order-1", expected, metadata).await;
        assert_eq!(kept, r#"{"$maxCount":9,"$tb":2,"team":"sales"}"#);
        let read = Read::stream("order-1").run(&mut client).await.unwrap();
        assert!(matches!(read.as_slice(), [Content::StreamNotFound(_)]), "{read:?}");
    }
    // A repeat changes nothing, also after a revival.
    grow(&mut client, "order-1", [3]).await;
    describe(&mut client, "order-1", ANY, (11, r#"{"$maxCount":9,"team":"sales"}"#)).await;
    assert_eq!(Read::stream("order-1").places(&mut client).await, ["2@order-1"]);
    // Metadata of a stream that is there are recorded as they come.
    let kept = describe(&mut client, "order-2", ANY, (12, r#"{ "team":"sales" }"#)).await;
    assert_eq!(kept, r#"{ "team":"sales" }"#);
}

async fn metadata_that_name_a_truncation_take_effect_as_written(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1, 2]).await;
    delete(&mut client, "order-1", Deleting::Any(Empty {})).await.unwrap();
    describe(&mut client, "order-1", ANY, (10, r#"{"$tb":1}"#)).await;
    assert_eq!(Read::stream("order-1").places(&mut client).await, ["1@order-1"]);
}

async fn a_tombstone_is_the_last_event_of_its_stream_in_the_whole_store(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1]).await;
    tombstone(&mut client, "order-1", Tombstoning::Any(Empty {})).await.unwrap();
    let expected = [String::from("0@order-1"), format!("{}@order-1", i64::MAX)];
    let all = Read::all().run(&mut client).await.unwrap();
    assert_eq!(all.iter().map(place).collect::<Vec<_>>(), expected);
    assert_eq!(event(&all[1]).event.as_ref().unwrap().metadata["type"], "$streamDeleted");
    let mut live = Read::all().subscribing().open(&mut client).await.unwrap();
    live.confirmed().await;
    assert_eq!([place(&live.next().await), place(&live.next().await)], expected);
}
