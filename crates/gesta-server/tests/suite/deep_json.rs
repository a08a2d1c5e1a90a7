//! JSON with a million levels, in each place that reads data or metadata of an event. It is stored
//! and comes back as it came; only metadata of streams, which the server reads itself, are refused.

use tonic::Code;

use crate::{
    client::{groups::create_req, *},
    group_client::{GroupConsumer, of_stream, place, settings},
    native::http_client::{Api, JSON},
    projections::driver::Driver,
    scene::{Scene, scenarios},
};

scenarios!(
    events_come_back_as_they_came_over_both_protocols,
    events_are_found_and_pinned_by_the_ids_beside_deep_metadata,
    metadata_of_a_stream_are_refused,
    a_script_gets_no_data_and_its_server_continues,
    a_script_keeps_deep_metadata_of_what_it_emits,
    a_state_that_clients_cannot_read_is_refused_and_not_shown_as_empty,
);

const LEVELS: usize = 1_000_000;
/// The number that fits into bodies that have no events.
const BODY_LEVELS: usize = 100_000;

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn deep() -> String {
    nested(LEVELS)
}

/// An object with the id of a conversation behind a deep entry.
fn deep_metadata() -> String {
    format!(r#"{{"deep":{},"$correlationId":"c-1"}}"#, deep())
}

fn deep_event(number: u128) -> append_req::ProposedMessage {
    let mut event = proposed(number, "happened");
    (event.data, event.custom_metadata) = (deep().into(), deep_metadata().into());
    event
}

async fn events_come_back_as_they_came_over_both_protocols(scene: Scene) {
    let (mut client, api) = (scene.client().await, Api::of(&scene));
    append(&mut client, "s-1", ANY, vec![deep_event(1)]).await.unwrap();
    let body = format!(
        r#"{{"streams":[{{"stream":"s-1","events":[{{"type":"a","data":{},"metadata":{}}}]}}]}}"#,
        deep(),
        deep_metadata()
    );
    api.send("POST /v1/append", JSON, body.as_bytes()).await.done();
    let read = Read::stream("s-1").run(&mut client).await.unwrap();
    for content in &read {
        let record = event(content).event.as_ref().unwrap();
        assert!(record.data == deep().as_bytes() && record.custom_metadata == deep_metadata());
    }
    assert_eq!(read.len(), 2);
    for path in ["/v1/streams/s-1", "/v1/all"] {
        let page = api.get(path).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.body.matches(&format!(r#""data":{},"#, deep())).count(), 2, "{path}");
    }
    let mut feed = api.events("/v1/streams/s-1/subscribe", "").await.unwrap();
    let mut found = 0;
    while found < 2 {
        let mut line = String::new();
        assert!(feed.line(&mut line).await, "the feed continues");
        found += usize::from(line.contains(&deep_metadata()));
    }
}

async fn events_are_found_and_pinned_by_the_ids_beside_deep_metadata(scene: Scene) {
    let (mut client, api) = (scene.client().await, Api::of(&scene));
    append(&mut client, "s-1", ANY, vec![deep_event(1)]).await.unwrap();
    let found = api.get("/v1/all?correlationId=c-1").await;
    assert_eq!((found.status, found.body.contains(&deep_metadata())), (200, true));
    let mut groups = scene.groups().await;
    let strategy = "PinnedByCorrelation".to_owned();
    let pinned = create_req::Settings { consumer_strategy: strategy, ..settings() };
    groups.create(of_stream("s-1", "mail", pinned)).await.unwrap();
    let mut consumer = GroupConsumer::connect(&mut groups, ("s-1", "mail"), 10).await.unwrap();
    let delivered = consumer.next().await;
    assert_eq!(place(&delivered), "0@s-1");
    consumer.ack(&[&delivered]).await;
}

async fn metadata_of_a_stream_are_refused(scene: Scene) {
    let (mut client, api) = (scene.client().await, Api::of(&scene));
    for (before, behind) in [("", ""), (r#"{"team":"#, "}"), (r#"{"$acl":{"$r":"#, "}}")] {
        let form = |levels| format!("{before}{}{behind}", nested(levels));
        let mut metadata = proposed(1, "$metadata");
        metadata.data = form(LEVELS).into();
        let refused = append(&mut client, "$$s-1", ANY, vec![metadata]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let body = format!(r#"{{"metadata":{}}}"#, form(BODY_LEVELS));
        let refused = api.send("PUT /v1/streams/s-1/metadata", JSON, body.as_bytes()).await;
        assert_eq!(refused.refused(400, "invalid")["field"], "metadata");
    }
    // The same where the server reads all of a body.
    let query = format!(r#"{{"items":{}}}"#, nested(BODY_LEVELS));
    api.send("POST /v1/query", JSON, query.as_bytes()).await.refused(400, "invalid");
    api.send("POST /v1/append", JSON, deep().as_bytes()).await.refused(400, "invalid");
    assert_eq!(api.get("/v1/head").await.done()["position"], 0);
}

async fn a_script_gets_no_data_and_its_server_continues(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    let looks = "fromAll().when({ $init: () => [], happened(s, e) { \
                 s.push(typeof e.data + ' ' + typeof e.metadata + ' ' + e.bodyRaw.length) } })";
    driver.create("looks", looks).await;
    let parses = "fromAll().when({ happened(s, e) { JSON.parse(e.bodyRaw) } })";
    driver.create("parses", parses).await;
    append(&mut client, "s-1", ANY, vec![deep_event(1)]).await.unwrap();
    let details = driver.becomes("parses", "Faulted").await;
    assert!(details.state_reason.contains("stack"), "{details:?}");
    grow(&mut client, "s-1", 2..3).await;
    driver.reaches("looks", "", r#"["undefined undefined 2000000","object undefined 7"]"#).await;
}

async fn a_script_keeps_deep_metadata_of_what_it_emits(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    let emits = "fromStream('s-1').when({ happened(s, e) { \
                 let deep = 1; for (let n = 0; n < 200; n++) deep = [deep]; \
                 emit('copies', 'copied', {}, { deep }) } })";
    driver.create("emits", emits).await;
    grow(&mut client, "s-1", 1..2).await;
    let mut copies = Read::stream("copies").subscribing().open(&mut client).await.unwrap();
    let copy = loop {
        let message = copies.next().await;
        if matches!(message, read_resp::Content::Event(_)) {
            break message;
        }
    };
    let metadata = event(&copy).event.as_ref().unwrap().custom_metadata.clone();
    let metadata = std::str::from_utf8(&metadata).unwrap();
    let deep = format!(r#""deep":{}1{}"#, "[".repeat(200), "]".repeat(200));
    assert!(metadata.contains(&deep) && metadata.contains("$causedBy"), "{metadata}");
}

async fn a_state_that_clients_cannot_read_is_refused_and_not_shown_as_empty(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    let deeper = "fromAll().when({ $init: () => ({ n: 0, deep: 1 }), happened(s) { \
                  s.n += 1; for (let n = 0; n < 100; n++) s.deep = [s.deep] } })";
    driver.create("deeper", deeper).await;
    driver.reaches("deeper", "", r#"{"deep":1,"n":0}"#).await;
    grow(&mut client, "s-1", 1..4).await;
    loop {
        let handled = driver.details("deeper").await.events_processed_after_restart;
        if handled == 3 {
            break;
        }
        tokio::task::yield_now().await;
    }
    for refused in [driver.state_of("deeper", "").await, driver.result_of("deeper", "").await] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("$projections-deeper-checkpoint"), "{refused}");
    }
    driver.disable("deeper").await.unwrap();
    let checkpoints = Read::stream("$projections-deeper-checkpoint").run(&mut client).await;
    let checkpoints = checkpoints.unwrap();
    let last = event(checkpoints.last().unwrap()).event.as_ref().unwrap();
    let state = format!(r#""state":{{"n":3,"deep":{}1"#, "[".repeat(300));
    assert!(std::str::from_utf8(&last.data).unwrap().contains(&state));
}
