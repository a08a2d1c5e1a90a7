//! Streams that the index answers: `$ce-`, `$et-`, `$bc-`, `$category-`, `$streams`, and the names
//! `$idx-`.

use read_req::options::filter_options::Filter;
use read_resp::Content;
use tonic::Code;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_category_has_revisions_of_its_own_in_both_directions,
    links_are_resolved_to_the_events_of_a_category,
    a_type_and_a_conversation_are_streams_too,
    an_index_is_a_filter_of_the_whole_store,
    a_category_without_events_is_not_found,
    a_category_is_followed_live,
    the_event_of_a_deleted_stream_is_missing_and_its_link_stays,
    no_event_is_written_for_a_category,
    a_stream_of_the_index_takes_no_events,
    streams_are_listed_in_the_order_of_their_first_events,
    the_streams_of_a_category_are_listed_by_name,
    a_new_stream_is_followed_live,
);

/// Type and data of each event.
fn contents_of(read: &[Content]) -> Vec<(String, String)> {
    let content = |content: &Content| {
        let record = crate::client::event(content).event.as_ref().unwrap();
        let data = std::str::from_utf8(&record.data).unwrap().to_owned();
        (record.metadata["type"].clone(), data)
    };
    read.iter().map(content).collect()
}

async fn streams_are_listed_in_the_order_of_their_first_events(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    grow(&mut client, "$settings", [5]).await;
    let read = Read::stream("$streams").run(&mut client).await.unwrap();
    let link = |data: &str| ("$>".to_owned(), data.to_owned());
    assert_eq!(contents_of(&read), [link("0@user-1"), link("0@user-2"), link("0@order-1")]);
    let read = Read::stream("$streams").at_revision(1).resolving().run(&mut client).await.unwrap();
    assert_eq!(ids_of(&read), [id(2), id(3)]);
    let last = Read::stream("$streams").backwards().at_end().limit(1).places(&mut client).await;
    assert_eq!(last, ["2@$streams"]);
}

async fn the_streams_of_a_category_are_listed_by_name(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let reference = |data: &str| ("$@".to_owned(), data.to_owned());
    for read in [Read::stream("$category-user"), Read::stream("$category-user").resolving()] {
        let read = read.run(&mut client).await.unwrap();
        assert_eq!(contents_of(&read), [reference("user-1"), reference("user-2")]);
        assert_eq!(place(&read[1]), "1@$category-user");
    }
    let none = Read::stream("$category-nothing").run(&mut client).await.unwrap();
    assert!(matches!(none.as_slice(), [Content::StreamNotFound(_)]), "{none:?}");
}

async fn a_new_stream_is_followed_live(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let next = [("$streams", "3@$streams"), ("$category-user", "3@$category-user")];
    for (number, (stream, expected)) in (20..).step_by(2).zip(next) {
        let mut live = Read::stream(stream).at_end().subscribing().open(&mut client).await.unwrap();
        live.confirmed().await;
        assert!(matches!(live.next().await, Content::CaughtUp(_)));
        grow(&mut client, "user-1", [number]).await;
        grow(&mut client, &format!("user-{number}"), [number + 1]).await;
        assert_eq!(place(&live.next().await), expected);
    }
}

/// Two streams of one category, in turns, and one of another.
async fn users(client: &mut Client) {
    grow(client, "user-1", [1]).await;
    grow(client, "user-2", [2]).await;
    grow(client, "order-1", [3]).await;
    grow(client, "user-1", [4]).await;
}

fn ids_of(read: &[Content]) -> Vec<Option<shared::Uuid>> {
    let ids = read.iter().map(|content| {
        crate::client::event(content).event.as_ref().and_then(|event| event.id.clone())
    });
    ids.collect()
}

async fn a_category_has_revisions_of_its_own_in_both_directions(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let read = Read::stream("$ce-user").run(&mut client).await.unwrap();
    let data: Vec<_> = read
        .iter()
        .map(|content| {
            let record = crate::client::event(content).event.as_ref().unwrap();
            assert_eq!(record.metadata["type"], "$>");
            std::str::from_utf8(&record.data).unwrap().to_owned()
        })
        .collect();
    assert_eq!(data, ["0@user-1", "0@user-2", "1@user-1"]);
    let table = [
        (Read::stream("$ce-user").at_revision(1), &["1@$ce-user", "2@$ce-user"][..]),
        (Read::stream("$ce-user").limit(1), &["0@$ce-user"]),
        (Read::stream("$ce-user").backwards().at_end().limit(2), &["2@$ce-user", "1@$ce-user"]),
        (Read::stream("$ce-user").backwards().at_revision(0), &["0@$ce-user"]),
    ];
    for (read, expected) in table {
        assert_eq!(read.places(&mut client).await, expected);
    }
}

async fn links_are_resolved_to_the_events_of_a_category(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let read = Read::stream("$ce-user").resolving().run(&mut client).await.unwrap();
    assert_eq!(ids_of(&read), [id(1), id(2), id(4)]);
    assert_eq!(place(&read[2]), "2@$ce-user", "the link keeps its revision");
    let again = Read::stream("$ce-user").resolving().run(&mut client).await.unwrap();
    assert_eq!(read, again, "a link has the same id each time");
}

async fn a_type_and_a_conversation_are_streams_too(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let mut paid = proposed(9, "paid");
    paid.custom_metadata = br#"{"$correlationId":"c-1"}"#.to_vec().into();
    append(&mut client, "order-1", ANY, vec![paid]).await.unwrap();
    let typed = Read::stream("$et-paid").resolving().run(&mut client).await.unwrap();
    assert_eq!(ids_of(&typed), [id(9)]);
    let conversation = Read::stream("$bc-c-1").resolving().run(&mut client).await.unwrap();
    assert_eq!(ids_of(&conversation), [id(9)]);
}

async fn an_index_is_a_filter_of_the_whole_store(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    append(&mut client, "order-1", ANY, vec![proposed(9, "paid")]).await.unwrap();
    for (index, expected) in [
        ("$idx-ce-user", &["0@user-1", "0@user-2", "1@user-1"][..]),
        ("$idx-et-paid", &["1@order-1"]),
    ] {
        let filter = Filter::StreamIdentifier(by_prefix(&[index]));
        let read = Read::all().filtered(filter, 32);
        assert_eq!(read.places(&mut client).await, expected, "{index}");
    }
}

async fn a_category_without_events_is_not_found(scene: Scene) {
    let mut client = scene.client().await;
    let read = Read::stream("$ce-user").run(&mut client).await.unwrap();
    assert!(matches!(read.as_slice(), [Content::StreamNotFound(_)]), "{read:?}");
}

async fn a_category_is_followed_live(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let read = Read::stream("$ce-user").at_revision(0).resolving().subscribing();
    let mut messages = read.open(&mut client).await.unwrap();
    messages.confirmed().await;
    assert_eq!(place(&messages.next().await), "1@$ce-user");
    assert_eq!(place(&messages.next().await), "2@$ce-user");
    let Content::CaughtUp(caught_up) = messages.next().await else { panic!("not caught up") };
    assert_eq!(caught_up.stream_revision, Some(2));
    for (revision, number) in (3..).zip(10..20) {
        grow(&mut client, "order-1", [number + 100]).await;
        grow(&mut client, &format!("user-{number}"), [number]).await;
        let next = messages.next().await;
        assert_eq!(place(&next), format!("{revision}@$ce-user"));
        assert_eq!(ids_of(&[next]), [id(number)]);
    }
    let end = Read::stream("$ce-user").at_end().resolving().subscribing();
    let mut live = end.open(&mut client).await.unwrap();
    live.confirmed().await;
    assert!(matches!(live.next().await, Content::CaughtUp(_)));
    grow(&mut client, "user-1", [30]).await;
    assert_eq!(place(&live.next().await), "13@$ce-user");
}

async fn the_event_of_a_deleted_stream_is_missing_and_its_link_stays(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    let options = delete_req::Options {
        stream_identifier: identifier("user-1"),
        expected_stream_revision: Some(delete_req::options::ExpectedStreamRevision::Any(Empty {})),
    };
    client.delete(DeleteReq { options: Some(options) }).await.unwrap();
    let read = Read::stream("$ce-user").resolving().run(&mut client).await.unwrap();
    assert_eq!(ids_of(&read), [None, id(2), None]);
    let places: Vec<_> = read.iter().map(place).collect();
    assert_eq!(places, ["0@$ce-user", "1@$ce-user", "2@$ce-user"]);
}

async fn no_event_is_written_for_a_category(scene: Scene) {
    let mut client = scene.client().await;
    users(&mut client).await;
    Read::stream("$ce-user").run(&mut client).await.unwrap();
    assert_eq!(Read::all().places(&mut client).await.len(), 4);
}

async fn a_stream_of_the_index_takes_no_events(scene: Scene) {
    let mut client = scene.client().await;
    for name in ["$ce-user", "$et-paid", "$bc-1"] {
        let refused = append(&mut client, name, ANY, vec![proposed(1, "$>")]).await.unwrap_err();
        assert_exception(&refused, Code::PermissionDenied, "access-denied");
    }
}
