//! `Append`: expectations, repeats and refusals.

use tonic::Code;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};
use append_resp::{
    Result::{Success, WrongExpectedVersion},
    success::{CurrentRevisionOption, PositionOption},
    wrong_expected_version as wrong,
};

scenarios!(
    each_expectation_holds_or_is_answered_with_the_head,
    a_repeat_is_answered_with_the_first_result,
    a_repeat_may_put_appends_together_or_take_them_apart,
    parts_of_an_append_are_repeats_also_without_an_expected_revision,
    parts_of_an_append_with_an_expected_revision_are_repeats_without_one,
    the_whole_store_is_no_stream_that_takes_events,
    an_append_without_events_tells_the_head,
    an_event_without_its_required_metadata_is_refused_by_name,
    an_event_that_is_too_large_is_refused_with_its_id_and_the_limit,
    a_system_stream_takes_events_and_metadata_must_be_valid,
    an_append_that_begins_with_an_event_is_refused,
);

async fn each_expectation_holds_or_is_answered_with_the_head(scene: Scene) {
    let mut client = scene.client().await;
    let refused = [
        (exact(0), wrong::ExpectedRevisionOption::ExpectedRevision(0)),
        (EXISTS, wrong::ExpectedRevisionOption::ExpectedStreamExists(Empty {})),
    ];
    for (expected, echoed) in refused {
        let answer = append(&mut client, "order-1", expected, vec![proposed(1, "placed")]).await;
        let Ok(WrongExpectedVersion(answer)) = answer else { panic!("{answer:?}") };
        let current = wrong::CurrentRevisionOption::CurrentNoStream(Empty {});
        assert_eq!(answer.current_revision_option, Some(current));
        let older = wrong::CurrentRevisionOption2060::NoStream2060(Empty {});
        assert_eq!(answer.current_revision_option_20_6_0, Some(older));
        assert_eq!(answer.expected_revision_option, Some(echoed));
    }
    let accepted = [(NO_STREAM, 1), (exact(0), 2), (EXISTS, 3), (ANY, 4)];
    for (head, (expected, number)) in (0..).zip(accepted) {
        let events = vec![proposed(number, "placed")];
        let answer = append(&mut client, "order-1", expected, events).await;
        let Ok(Success(success)) = answer else { panic!("{answer:?}") };
        let current = CurrentRevisionOption::CurrentRevision(head);
        assert_eq!(success.current_revision_option, Some(current));
        assert!(matches!(success.position_option, Some(PositionOption::Position(_))));
    }
    let answer = append(&mut client, "order-1", NO_STREAM, vec![proposed(5, "placed")]).await;
    let Ok(WrongExpectedVersion(answer)) = answer else { panic!("{answer:?}") };
    let current = wrong::CurrentRevisionOption::CurrentRevision(3);
    assert_eq!(answer.current_revision_option, Some(current));
}

async fn a_repeat_is_answered_with_the_first_result(scene: Scene) {
    let mut client = scene.client().await;
    for expected in [NO_STREAM, ANY] {
        let events = || vec![proposed(1, "placed"), proposed(2, "paid")];
        let first = append(&mut client, "order-1", expected, events()).await.unwrap();
        grow(&mut client, "order-1", [9]).await;
        let second = append(&mut client, "order-1", expected, events()).await.unwrap();
        assert_eq!(first, second);
    }
    assert_eq!(Read::stream("order-1").places(&mut client).await.len(), 3);
}

async fn a_repeat_may_put_appends_together_or_take_them_apart(scene: Scene) {
    let mut client = scene.client().await;
    let batch = |numbers: &[u128]| numbers.iter().map(|n| proposed(*n, "placed")).collect();
    let one = append(&mut client, "order-1", NO_STREAM, batch(&[1])).await.unwrap();
    let two = append(&mut client, "order-1", exact(0), batch(&[2, 3])).await.unwrap();
    grow(&mut client, "order-2", [4]).await;
    let repeats = [(NO_STREAM, vec![1], &one), (NO_STREAM, vec![1, 2, 3], &two)];
    for (expected, numbers, first) in repeats {
        let again = append(&mut client, "order-1", expected, batch(&numbers)).await.unwrap();
        assert_eq!(again, *first, "{numbers:?}");
    }
    // The event in the middle has an answer of its own.
    let Ok(Success(middle)) = append(&mut client, "order-1", exact(0), batch(&[2])).await else {
        panic!("the event is where it is expected")
    };
    let revision = CurrentRevisionOption::CurrentRevision(1);
    assert_eq!(middle.current_revision_option, Some(revision));
    let wrong = [
        (NO_STREAM, vec![2]),
        (NO_STREAM, vec![1, 3]),
        (exact(0), vec![2, 3, 9]),
        (exact(1), vec![2, 3]),
    ];
    for (expected, numbers) in wrong {
        let answer = append(&mut client, "order-1", expected, batch(&numbers)).await;
        assert!(matches!(answer, Ok(WrongExpectedVersion(_))), "{numbers:?}: {answer:?}");
    }
    assert_eq!(Read::stream("order-1").places(&mut client).await.len(), 3);
}

async fn parts_of_an_append_are_repeats_also_without_an_expected_revision(scene: Scene) {
    let mut client = scene.client().await;
    let batch = |numbers: &[u128]| numbers.iter().map(|n| proposed(*n, "placed")).collect();
    let appends: [&[u128]; 4] = [&[1, 2, 3], &[4], &[5, 6], &[7]];
    for numbers in appends {
        append(&mut client, "order-1", ANY, batch(numbers)).await.unwrap();
    }
    let repeats: [(&[u128], u64); 7] = [
        (&[1], 0),
        (&[2, 3], 2),
        (&[1, 2], 1),
        (&[3, 4, 5], 4),
        (&[6], 5),
        (&[4, 5, 6, 7], 6),
        (&[1, 2, 3, 4, 5, 6, 7], 6),
    ];
    for (numbers, head) in repeats {
        for expected in [ANY, EXISTS] {
            let answer = append(&mut client, "order-1", expected, batch(numbers)).await;
            let Ok(Success(success)) = answer else { panic!("{numbers:?}: {answer:?}") };
            let current = CurrentRevisionOption::CurrentRevision(head);
            assert_eq!(success.current_revision_option, Some(current), "{numbers:?}");
        }
    }
    let differing: [&[u128]; 4] = [&[2, 1], &[3, 8], &[7, 8], &[1, 3]];
    for numbers in differing {
        let answer = append(&mut client, "order-1", ANY, batch(numbers)).await;
        let Ok(WrongExpectedVersion(answer)) = answer else { panic!("{numbers:?}: {answer:?}") };
        let current = wrong::CurrentRevisionOption::CurrentRevision(6);
        assert_eq!(answer.current_revision_option, Some(current));
    }
    assert_eq!(Read::stream("order-1").places(&mut client).await.len(), 7);
    // An unknown first event makes a new append, and so does another stream.
    for (stream, numbers) in [("order-1", [8, 9]), ("order-2", [2, 3])] {
        append(&mut client, stream, ANY, batch(&numbers)).await.unwrap();
    }
    assert_eq!(Read::stream("order-1").places(&mut client).await.len(), 9);
    assert_eq!(Read::stream("order-2").places(&mut client).await.len(), 2);
}

async fn parts_of_an_append_with_an_expected_revision_are_repeats_without_one(scene: Scene) {
    let mut client = scene.client().await;
    let batch = |numbers: &[u128]| numbers.iter().map(|n| proposed(*n, "placed")).collect();
    append(&mut client, "order-1", NO_STREAM, batch(&[1, 2, 3])).await.unwrap();
    append(&mut client, "order-1", exact(2), batch(&[4, 5])).await.unwrap();
    let repeats: [(&[u128], u64); 5] =
        [(&[1], 0), (&[2], 1), (&[2, 3], 2), (&[5], 4), (&[3, 4, 5], 4)];
    for (numbers, head) in repeats {
        for expected in [ANY, EXISTS] {
            let answer = append(&mut client, "order-1", expected, batch(numbers)).await;
            let Ok(Success(success)) = answer else { panic!("{numbers:?}: {answer:?}") };
            let current = CurrentRevisionOption::CurrentRevision(head);
            assert_eq!(success.current_revision_option, Some(current), "{numbers:?}");
        }
    }
    let answer = append(&mut client, "order-1", ANY, batch(&[2, 9])).await;
    assert!(matches!(answer, Ok(WrongExpectedVersion(_))), "{answer:?}");
    assert_eq!(Read::stream("order-1").places(&mut client).await.len(), 5);
}

async fn the_whole_store_is_no_stream_that_takes_events(scene: Scene) {
    let mut client = scene.client().await;
    let appended = append(&mut client, "$all", ANY, vec![proposed(1, "placed")]).await;
    assert_exception(&appended.unwrap_err(), Code::PermissionDenied, "access-denied");
    let deleted = delete(&mut client, "$all", Deleting::Any(Empty {})).await;
    assert_exception(&deleted.unwrap_err(), Code::PermissionDenied, "access-denied");
    let ended = tombstone(&mut client, "$all", Tombstoning::Any(Empty {})).await;
    assert_exception(&ended.unwrap_err(), Code::PermissionDenied, "access-denied");
    assert_eq!(Read::all().places(&mut client).await, [""; 0]);
}

async fn an_append_without_events_tells_the_head(scene: Scene) {
    let mut client = scene.client().await;
    let answer = append(&mut client, "order-1", ANY, vec![]).await;
    let Ok(Success(success)) = answer else { panic!("{answer:?}") };
    let none = CurrentRevisionOption::NoStream(Empty {});
    assert_eq!(success.current_revision_option, Some(none));
    grow(&mut client, "order-1", [1, 2]).await;
    let answer = append(&mut client, "order-1", exact(1), vec![]).await;
    let Ok(Success(success)) = answer else { panic!("{answer:?}") };
    let second = CurrentRevisionOption::CurrentRevision(1);
    assert_eq!(success.current_revision_option, Some(second));
}

async fn an_event_without_its_required_metadata_is_refused_by_name(scene: Scene) {
    let mut client = scene.client().await;
    for key in ["type", "content-type"] {
        let mut event = proposed(1, "placed");
        event.metadata.remove(key);
        let refused = append(&mut client, "order-1", ANY, vec![event]).await.unwrap_err();
        assert_exception(&refused, Code::InvalidArgument, "missing-required-metadata-property");
        assert_eq!(trailer(&refused, "required-metadata-properties"), key);
    }
}

async fn an_event_that_is_too_large_is_refused_with_its_id_and_the_limit(scene: Scene) {
    let mut client = scene.client().await;
    let mut event = proposed(7, "placed");
    event.data = vec![b' '; 16 << 20].into();
    let refused = append(&mut client, "order-1", ANY, vec![event]).await.unwrap_err();
    assert_exception(&refused, Code::InvalidArgument, "maximum-append-event-size-exceeded");
    assert_eq!(trailer(&refused, "event-id"), uuid::Uuid::from_u128(7).to_string());
    assert_eq!(trailer(&refused, "maximum-append-event-size"), (16 << 20).to_string());
}

async fn a_system_stream_takes_events_and_metadata_must_be_valid(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "$settings", [1]).await;
    assert_eq!(Read::stream("$settings").places(&mut client).await, ["0@$settings"]);
    let mut metadata = proposed(2, "$metadata");
    metadata.data = br#"{"$maxCount":"many"}"#.to_vec().into();
    let refused = append(&mut client, "$$order-1", ANY, vec![metadata]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let other = append(&mut client, "$$order-1", ANY, vec![proposed(3, "placed")]).await;
    assert_exception(&other.unwrap_err(), Code::PermissionDenied, "access-denied");
}

async fn an_append_that_begins_with_an_event_is_refused(scene: Scene) {
    let mut client = scene.client().await;
    let content = Some(append_req::Content::ProposedMessage(proposed(1, "placed")));
    let refused = client.append(tokio_stream::iter([AppendReq { content }])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
