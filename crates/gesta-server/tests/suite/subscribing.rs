//! `Read` as a subscription.

use read_req::options::filter_options::Filter;
use read_resp::Content;
use tonic::Code;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_subscription_to_a_stream_catches_up_and_stays_live,
    a_subscription_starts_after_its_revision_or_at_the_end,
    a_subscription_to_all_starts_after_its_position,
    a_filter_tells_its_progress_and_no_position_twice,
    a_filter_tells_where_it_has_caught_up_also_without_an_event,
    a_subscription_ends_when_its_stream_is_tombstoned,
    a_server_that_stops_ends_its_subscriptions,
);

async fn a_subscription_to_a_stream_catches_up_and_stays_live(scene: Scene) {
    let mut client = scene.client().await;
    // A stream that does not exist yet.
    let mut messages = Read::stream("s-1").subscribing().open(&mut client).await.unwrap();
    messages.confirmed().await;
    let Content::CaughtUp(caught_up) = messages.next().await else { panic!("not caught up") };
    assert_eq!(caught_up.stream_revision, Some(-1));
    assert!(caught_up.timestamp.is_some() && caught_up.position.is_none());
    for revision in 0..3_u64 {
        grow(&mut client, "other", [u128::from(revision) + 100]).await;
        grow(&mut client, "s-1", [u128::from(revision)]).await;
        assert_eq!(place(&messages.next().await), format!("{revision}@s-1"));
    }
}

async fn a_subscription_starts_after_its_revision_or_at_the_end(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "s-1", 0..3).await;
    let after = Read::stream("s-1").at_revision(0).subscribing();
    let mut messages = after.open(&mut client).await.unwrap();
    messages.confirmed().await;
    assert_eq!(place(&messages.next().await), "1@s-1");
    assert_eq!(place(&messages.next().await), "2@s-1");
    let mut live = Read::stream("s-1").at_end().subscribing().open(&mut client).await.unwrap();
    live.confirmed().await;
    let Content::CaughtUp(caught_up) = live.next().await else { panic!("not caught up") };
    assert_eq!(caught_up.stream_revision, Some(2));
    grow(&mut client, "s-1", [3]).await;
    assert_eq!(place(&live.next().await), "3@s-1");
}

async fn a_subscription_to_all_starts_after_its_position(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "s-1", 0..2).await;
    let read = Read::all().limit(1).run(&mut client).await.unwrap();
    let first = crate::client::event(&read[0]).event.as_ref().unwrap().commit_position;
    let after = Read::all().at_position(first, first).subscribing();
    let mut messages = after.open(&mut client).await.unwrap();
    messages.confirmed().await;
    assert_eq!(place(&messages.next().await), "1@s-1");
    let Content::CaughtUp(caught_up) = messages.next().await else { panic!("not caught up") };
    assert!(caught_up.position.unwrap().commit_position > first);
    assert_eq!(caught_up.stream_revision, None);

    let mut live = Read::all().at_end().subscribing().open(&mut client).await.unwrap();
    live.confirmed().await;
    assert!(matches!(live.next().await, Content::CaughtUp(_)));
    grow(&mut client, "s-2", [9]).await;
    assert_eq!(place(&live.next().await), "0@s-2");
}

async fn a_filter_tells_its_progress_and_no_position_twice(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "noise-1", 0..40).await;
    grow(&mut client, "wanted-1", 100..103).await;
    let filter = Filter::StreamIdentifier(by_prefix(&["wanted-"]));
    let read = Read::all().filtered(filter, 1).subscribing();
    let mut messages = read.open(&mut client).await.unwrap();
    messages.confirmed().await;
    let (mut events, mut checkpoints) = (0, Vec::new());
    loop {
        match messages.next().await {
            Content::Event(_) => events += 1,
            Content::Checkpoint(at) => checkpoints.push(at.commit_position),
            Content::CaughtUp(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, 3);
    assert!(checkpoints.is_sorted_by(|one, other| one < other), "{checkpoints:?}");
    let last = Read::all().backwards().at_end().limit(1).run(&mut client).await.unwrap();
    let head = crate::client::event(&last[0]).event.as_ref().unwrap().commit_position;
    assert_eq!(checkpoints.last(), Some(&head));
    // Events that the filter leaves out move a subscription that is live, too.
    grow(&mut client, "noise-1", 200..240).await;
    let Content::Checkpoint(live) = messages.next().await else { panic!("no checkpoint") };
    assert!(live.commit_position > head);
}

async fn a_filter_tells_where_it_has_caught_up_also_without_an_event(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "noise-1", 0..3).await;
    let last = Read::all().backwards().at_end().limit(1).run(&mut client).await.unwrap();
    let head = crate::client::event(&last[0]).event.as_ref().unwrap().commit_position;
    let wanted = || Filter::StreamIdentifier(by_prefix(&["wanted-"]));
    for read in [Read::all(), Read::all().at_end(), Read::all().at_position(head, head)] {
        let read = read.filtered(wanted(), 32).subscribing();
        let mut messages = read.open(&mut client).await.unwrap();
        messages.confirmed().await;
        let Content::Checkpoint(at) = messages.next().await else { panic!("no checkpoint") };
        assert_eq!(at.commit_position, head);
        assert!(matches!(messages.next().await, Content::CaughtUp(_)));
    }
}

async fn a_subscription_ends_when_its_stream_is_tombstoned(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "s-1", [1]).await;
    let mut messages = Read::stream("s-1").subscribing().open(&mut client).await.unwrap();
    messages.confirmed().await;
    let options = tombstone_req::Options {
        stream_identifier: identifier("s-1"),
        expected_stream_revision: Some(tombstone_req::options::ExpectedStreamRevision::Any(
            Empty {},
        )),
    };
    client.tombstone(TombstoneReq { options: Some(options) }).await.unwrap();
    let ended = messages.error().await;
    assert_exception(&ended, Code::FailedPrecondition, "stream-deleted");
}

async fn a_server_that_stops_ends_its_subscriptions(mut scene: Scene) {
    let mut client = scene.client().await;
    let mut messages = Read::all().subscribing().open(&mut client).await.unwrap();
    messages.confirmed().await;
    scene.stop();
    let ended = messages.error().await;
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    scene.ended().await;
}
