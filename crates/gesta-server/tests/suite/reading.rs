//! `Read`: finite reads of streams and of the whole store.

use read_req::options::filter_options::Filter;
use read_resp::Content;
use tonic::Code;

use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_stream_is_read_in_both_directions_from_a_revision_with_a_limit,
    an_event_comes_back_as_it_was_appended,
    a_stream_without_events_is_a_message_and_no_error,
    the_end_is_told_to_those_who_ask,
    the_first_revision_of_a_truncated_stream_is_told_to_those_who_ask,
    all_includes_its_position_forwards_and_leaves_it_out_backwards,
    filters_select_by_prefix_and_by_pattern,
    a_link_is_read_with_its_target_or_without,
    wrong_combinations_are_refused,
);

async fn a_stream_is_read_in_both_directions_from_a_revision_with_a_limit(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "s-1", 0..5).await;
    let stream = || Read::stream("s-1");
    let table = [
        (stream().limit(2), &["0@s-1", "1@s-1"][..]),
        (stream().at_revision(3), &["3@s-1", "4@s-1"]),
        (stream().backwards().at_end().limit(2), &["4@s-1", "3@s-1"]),
        (stream().backwards().at_revision(1), &["1@s-1", "0@s-1"]),
        // The start is the first event.
        (stream().backwards(), &["0@s-1"]),
        (Read::stream("$ce-s").backwards(), &["0@$ce-s"]),
        (Read::all().backwards(), &[]),
        (stream().backwards().at_revision(u64::MAX).limit(1), &["4@s-1"]),
        (stream().at_revision(9), &[]),
    ];
    for (read, expected) in table {
        assert_eq!(read.clone().places(&mut client).await, expected, "{:?}", read.request());
    }
}

async fn an_event_comes_back_as_it_was_appended(scene: Scene) {
    let mut client = scene.client().await;
    let mut event = proposed(7, "placed");
    event.custom_metadata = br#"{"$correlationId":"c-1"}"#.to_vec().into();
    append(&mut client, "order-1", ANY, vec![event.clone()]).await.unwrap();
    let mut bytes = proposed(8, "drawn");
    bytes.metadata.insert("content-type".to_owned(), "image/png".to_owned());
    append(&mut client, "order-1", ANY, vec![bytes]).await.unwrap();

    let read = Read::stream("order-1").run(&mut client).await.unwrap();
    let first = crate::client::event(&read[0]);
    let record = first.event.as_ref().unwrap();
    assert_eq!(record.id, id(7));
    assert_eq!(record.data, event.data);
    assert_eq!(record.custom_metadata, event.custom_metadata);
    assert_eq!(record.metadata["type"], "placed");
    assert_eq!(record.metadata["content-type"], "application/json");
    assert!(record.metadata["created"].parse::<u64>().unwrap() > 0);
    assert!(record.commit_position > 0 && record.commit_position == record.prepare_position);
    let position = read_resp::read_event::Position::CommitPosition(record.commit_position);
    assert_eq!(first.position, Some(position));
    let second = crate::client::event(&read[1]).event.as_ref().unwrap();
    assert_eq!(second.metadata["content-type"], "application/octet-stream");
}

async fn a_stream_without_events_is_a_message_and_no_error(scene: Scene) {
    let mut client = scene.client().await;
    for read in [Read::stream("order-1"), Read::stream("order-1").backwards().at_end()] {
        let read = read.run(&mut client).await.unwrap();
        let [Content::StreamNotFound(missing)] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(missing.stream_identifier, identifier("order-1"));
    }
}

async fn the_end_is_told_to_those_who_ask(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..3).await;
    let read = Read::stream("order-1").told_of_the_end().run(&mut client).await.unwrap();
    assert_eq!(read.last(), Some(&Content::LastStreamPosition(2)));
    let page = Read::stream("order-1").limit(2).told_of_the_end().run(&mut client).await.unwrap();
    assert_eq!(page.len(), 2, "the end was not reached");
    let silent = Read::stream("order-1").run(&mut client).await.unwrap();
    assert_eq!(silent.len(), 3);

    let mut metadata = proposed(9, "$metadata");
    metadata.data = br#"{"$tb":2}"#.to_vec().into();
    append(&mut client, "$$order-1", ANY, vec![metadata]).await.unwrap();
    let truncated = Read::stream("order-1").backwards().at_revision(1).told_of_the_end();
    let read = truncated.run(&mut client).await.unwrap();
    let expected = [Content::FirstStreamPosition(2), Content::LastStreamPosition(2)];
    assert_eq!(read, expected);
}

async fn the_first_revision_of_a_truncated_stream_is_told_to_those_who_ask(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", 0..6).await;
    let mut metadata = proposed(9, "$metadata");
    metadata.data = br#"{"$tb":2}"#.to_vec().into();
    append(&mut client, "$$order-1", ANY, vec![metadata]).await.unwrap();
    let stream = || Read::stream("order-1").told_of_the_end();
    for read in [stream(), stream().at_revision(1), stream().limit(4)] {
        let read = read.run(&mut client).await.unwrap();
        assert_eq!(read.first(), Some(&Content::FirstStreamPosition(2)));
        assert_eq!(place(&read[1]), "2@order-1");
    }
    // These begin where they were asked to.
    for read in [stream().at_revision(2), stream().at_revision(4), Read::stream("order-1")] {
        let read = read.run(&mut client).await.unwrap();
        assert!(matches!(read.first(), Some(Content::Event(_))), "{read:?}");
    }
}

async fn all_includes_its_position_forwards_and_leaves_it_out_backwards(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "s-1", 0..3).await;
    let read = Read::all().run(&mut client).await.unwrap();
    let positions: Vec<_> = read
        .iter()
        .map(|content| crate::client::event(content).event.as_ref().unwrap().commit_position)
        .collect();
    let at = positions[1];
    let forwards = Read::all().at_position(at, at).places(&mut client).await;
    assert_eq!(forwards, ["1@s-1", "2@s-1"]);
    let backwards = Read::all().at_position(at, at).backwards().places(&mut client).await;
    assert_eq!(backwards, ["0@s-1"]);
    let start = Read::all().at_position(0, 0).limit(1).places(&mut client).await;
    assert_eq!(start, ["0@s-1"]);
    let before = Read::all().at_position(0, 0).backwards().places(&mut client).await;
    assert_eq!(before, [""; 0]);
    let last = Read::all().at_position(u64::MAX, u64::MAX).backwards().limit(1);
    assert_eq!(last.places(&mut client).await, ["2@s-1"]);
}

async fn filters_select_by_prefix_and_by_pattern(scene: Scene) {
    let mut client = scene.client().await;
    append(&mut client, "order-1", ANY, vec![proposed(1, "placed"), proposed(2, "paid")])
        .await
        .unwrap();
    append(&mut client, "user-1", ANY, vec![proposed(3, "$system"), proposed(4, "placed-again")])
        .await
        .unwrap();
    let table = [
        (Filter::StreamIdentifier(by_prefix(&["order-", "x"])), &["0@order-1", "1@order-1"][..]),
        (Filter::EventType(by_prefix(&["placed"])), &["0@order-1", "1@user-1"]),
        (Filter::EventType(by_regex(r"^(?!(\$.*$))")), &["0@order-1", "1@order-1", "1@user-1"]),
        (Filter::StreamIdentifier(by_regex("user")), &["0@user-1", "1@user-1"]),
    ];
    for (filter, expected) in table {
        let read = Read::all().filtered(filter.clone(), 10);
        assert_eq!(read.places(&mut client).await, expected, "{filter:?}");
    }
    let last = Read::all().filtered(Filter::EventType(by_prefix(&["pa"])), 10);
    let last = last.backwards().at_end().limit(1).places(&mut client).await;
    assert_eq!(last, ["1@order-1"]);
}

async fn a_link_is_read_with_its_target_or_without(scene: Scene) {
    let mut client = scene.client().await;
    grow(&mut client, "order-1", [1]).await;
    let link = |number, data: &str| {
        let mut link = proposed(number, "$>");
        link.data = data.to_owned().into();
        link
    };
    let links = vec![link(2, "0@order-1"), link(3, "5@order-1"), link(4, "nowhere")];
    append(&mut client, "links", ANY, links).await.unwrap();

    let read = Read::stream("links").resolving().run(&mut client).await.unwrap();
    let found: Vec<_> = read
        .iter()
        .map(|content| crate::client::event(content).event.as_ref().map(|event| event.id.clone()))
        .collect();
    assert_eq!(found, [Some(id(1)), None, None]);
    assert_eq!(read.iter().map(place).collect::<Vec<_>>(), ["0@links", "1@links", "2@links"]);
    let plain = Read::stream("links").run(&mut client).await.unwrap();
    assert!(plain.iter().all(|content| crate::client::event(content).link.is_none()));
}

async fn wrong_combinations_are_refused(scene: Scene) {
    let mut client = scene.client().await;
    let by_type = || Filter::EventType(by_prefix(&["a"]));
    let refused = [
        Read::stream("s").without_form_of_ids(),
        Read::stream("s").in_direction(2),
        Read::stream("s").filtered(by_type(), 10),
        Read::stream("s").backwards().subscribing(),
        Read::all().at_position(3, 4),
        Read::all().filtered(by_type(), 0),
        Read::all().filtered(Filter::EventType(by_regex("(")), 10),
        Read::all().filtered(Filter::EventType(by_prefix(&[])), 10),
        Read::all().filtered(Filter::StreamIdentifier(by_prefix(&["$idx-other-a"])), 10),
    ];
    for read in refused {
        let error = read.clone().run(&mut client).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{:?}: {error}", read.request());
    }
}
