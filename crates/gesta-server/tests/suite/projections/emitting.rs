//! Emitted events, links and copies.

use super::{
    driver::{Driver, continuous},
    stating::COUNT,
};
use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    an_emitted_event_names_its_cause,
    links_and_copies_are_appended,
    a_projection_that_may_not_emit_fails,
    a_stream_of_the_system_takes_no_emitted_events,
    a_reset_deletes_the_streams_that_were_tracked,
    a_deletion_deletes_the_streams_that_were_tracked,
    results_outlive_their_projection,
    a_projection_can_read_what_another_emits,
);

const EMIT: &str = "fromCategory('order').when({ happened(s, e) { \
                    emit('totals', 'grown', { of: e.data.n }, { why: 'test' }) } })";

fn records(read: &[read_resp::Content]) -> Vec<(String, String, String)> {
    let records = read.iter().map(|content| {
        let record = event(content).event.as_ref().unwrap();
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
        (record.metadata["type"].clone(), text(&record.data), text(&record.custom_metadata))
    });
    records.collect()
}

/// Reads a stream when it has this number of events.
pub(super) async fn read_when(
    client: &mut Client,
    stream: &str,
    count: usize,
) -> Vec<read_resp::Content> {
    let mut messages = Read::stream(stream).subscribing().open(client).await.unwrap();
    let mut events = Vec::new();
    while events.len() < count {
        let message = messages.next().await;
        if matches!(message, read_resp::Content::Event(_)) {
            events.push(message);
        }
    }
    events
}

async fn an_emitted_event_names_its_cause(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    driver.create("emit", EMIT).await;
    let mut cause = proposed(7, "happened");
    cause.custom_metadata = br#"{"$correlationId":"c-1"}"#.to_vec().into();
    append(&mut client, "order-1", ANY, vec![cause]).await.unwrap();
    let totals = read_when(&mut client, "totals", 1).await;
    let expected = (
        "grown".to_owned(),
        r#"{"of":7}"#.to_owned(),
        r#"{"$causedBy":"00000000-0000-0000-0000-000000000007","$correlationId":"c-1","why":"test"}"#
            .to_owned(),
    );
    assert_eq!(records(&totals), [expected]);
}

async fn links_and_copies_are_appended(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..3).await;
    let handlers = "when({ happened(s, e) { linkTo('links', e); copyTo('copies', e); \
                    linkStreamTo('streams', e.streamId) } })";
    driver.create("link", &format!("fromStream('order-1').{handlers}")).await;
    let data = |events: &[read_resp::Content]| -> Vec<(String, String)> {
        records(events).into_iter().map(|(kind, data, _)| (kind, data)).collect()
    };
    let pair = |kind: &str, data: &str| (kind.to_owned(), data.to_owned());
    let links = read_when(&mut client, "links", 2).await;
    assert_eq!(data(&links), [pair("$>", "0@order-1"), pair("$>", "1@order-1")]);
    let copies = read_when(&mut client, "copies", 2).await;
    assert_eq!(data(&copies), [pair("happened", r#"{"n":1}"#), pair("happened", r#"{"n":2}"#)]);
    let streams = read_when(&mut client, "streams", 2).await;
    assert_eq!(data(&streams), [pair("$@", "order-1"), pair("$@", "order-1")]);
}

async fn a_projection_that_may_not_emit_fails(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..2).await;
    driver.create_as(continuous("emit", false, false), EMIT).await.unwrap();
    let details = driver.becomes("emit", "Faulted").await;
    assert!(details.state_reason.contains("may not"), "{details:?}");
}

async fn a_stream_of_the_system_takes_no_emitted_events(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..2).await;
    for (number, stream) in
        ["$user-admin", "$$order-1", "$settings", "$ce-order"].iter().enumerate()
    {
        let name = format!("emit-{number}");
        let handlers = format!("when({{ happened(s, e) {{ emit('{stream}', 'a', {{}}) }} }})");
        driver.create(&name, &format!("fromAll().{handlers}")).await;
        let details = driver.becomes(&name, "Faulted").await;
        assert!(details.state_reason.contains("a stream of the system"), "{details:?}");
    }
}

async fn a_reset_deletes_the_streams_that_were_tracked(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..3).await;
    driver.create_as(continuous("emit", true, true), EMIT).await.unwrap();
    read_when(&mut client, "totals", 2).await;
    driver.reset("emit").await.unwrap();
    grow(&mut client, "order-1", 3..4).await;
    read_when(&mut client, "totals", 3).await;
    // The events of before the reset are hidden.
    let mut places = Read::stream("totals").places(&mut client).await;
    while places.len() < 3 || places.last().map(String::as_str) != Some("4@totals") {
        places = Read::stream("totals").places(&mut client).await;
    }
    assert_eq!(places, ["2@totals", "3@totals", "4@totals"]);
}

async fn a_deletion_deletes_the_streams_that_were_tracked(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..3).await;
    driver.create_as(continuous("emit", true, true), EMIT).await.unwrap();
    read_when(&mut client, "totals", 2).await;
    driver.disable("emit").await.unwrap();
    driver.delete("emit").await.unwrap();
    let read = Read::stream("totals").run(&mut client).await.unwrap();
    assert!(matches!(read.as_slice(), [read_resp::Content::StreamNotFound(_)]), "{read:?}");
}

async fn results_outlive_their_projection(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..3).await;
    let query = format!("fromStream('order-1').{COUNT}.outputState()");
    driver.create_as(continuous("count", true, true), &query).await.unwrap();
    read_when(&mut client, "$projections-count-result", 2).await;
    driver.disable("count").await.unwrap();
    driver.delete("count").await.unwrap();
    let kept = Read::stream("$projections-count-result").places(&mut client).await;
    assert_eq!(kept.len(), 2);
    let states = Read::stream("$projections-count-checkpoint").run(&mut client).await.unwrap();
    assert!(matches!(states.as_slice(), [read_resp::Content::StreamNotFound(_)]), "{states:?}");
}

async fn a_projection_can_read_what_another_emits(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    driver.create("first", EMIT).await;
    let handlers = "when({ $init: () => ({ sum: 0 }), grown(s, e) { s.sum += e.data.of } })";
    driver.create("second", &format!("fromStream('totals').{handlers}")).await;
    grow(&mut client, "order-1", 1..101).await;
    driver.reaches("second", "", r#"{"sum":5050}"#).await;
}
