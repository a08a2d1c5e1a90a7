//! States, partitions and results.

use tonic::Code;

use super::driver::{Driver, continuous};
use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_projection_counts_old_events_and_new_ones,
    a_result_that_is_not_there_yet_is_an_empty_object,
    each_stream_has_a_state,
    each_key_has_a_state,
    large_states_are_loaded_again,
    partitions_share_a_state,
    several_streams_are_one_source,
    a_category_is_a_source,
    a_stream_of_links_is_followed_to_its_events,
    a_deleted_stream_is_told_to_its_state,
    a_result_is_an_event_for_each_change,
    a_result_is_computed_from_the_state,
    system_events_go_to_handlers_of_their_type_only,
    a_transient_projection_keeps_nothing,
    a_one_time_projection_completes,
);

pub(super) const COUNT: &str = "when({ $init: () => ({ n: 0 }), happened(s, e) { s.n += 1 } })";

async fn a_projection_counts_old_events_and_new_ones(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    driver.create("count", &format!("fromAll().{COUNT}")).await;
    driver.reaches("count", "", r#"{"n":3}"#).await;
    grow(&mut client, "order-2", 4..6).await;
    driver.reaches("count", "", r#"{"n":5}"#).await;
    let details = driver.details("count").await;
    assert_eq!(details.status, "Running");
    assert_eq!(details.mode, "Continuous");
    assert_eq!(details.events_processed_after_restart, 5);
}

async fn a_result_that_is_not_there_yet_is_an_empty_object(scene: Scene) {
    let mut driver = Driver::of(&scene).await;
    driver.create("count", &format!("fromStream('order-1').{COUNT}.outputState()")).await;
    assert_eq!(driver.result_of("count", "").await.unwrap(), "{}");
}

async fn each_stream_has_a_state(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    grow(&mut client, "order-2", 4..6).await;
    driver.create("count", &format!("fromAll().foreachStream().{COUNT}")).await;
    driver.reaches("count", "order-1", r#"{"n":3}"#).await;
    driver.reaches("count", "order-2", r#"{"n":2}"#).await;
    assert_eq!(driver.state_of("count", "order-3").await.unwrap(), "{}");
    assert_eq!(driver.details("count").await.partitions_cached, 2);
    driver.disable("count").await.unwrap();
    driver.enable("count").await.unwrap();
    grow(&mut client, "order-2", 6..7).await;
    driver.reaches("count", "order-2", r#"{"n":3}"#).await;
    driver.reaches("count", "order-1", r#"{"n":3}"#).await;
}

async fn each_key_has_a_state(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..6).await;
    let key = "partitionBy(e => e.data.n === 5 ? null : e.data.n % 2 ? 'odd' : 'even')";
    driver.create("count", &format!("fromAll().{key}.{COUNT}")).await;
    driver.reaches("count", "even", r#"{"n":2}"#).await;
    driver.reaches("count", "odd", r#"{"n":2}"#).await;
    grow(&mut client, "order-1", 6..7).await;
    driver.reaches("count", "even", r#"{"n":3}"#).await;
}

async fn large_states_are_loaded_again(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..50).await;
    let script = "fromAll().partitionBy(e => 'p' + e.data.n % 45).when({ \
                  $init: () => ({ n: 0, text: 'x'.repeat(1e6) }), happened(s) { s.n += 1 } })";
    driver.create("large", script).await;
    let state = |n: u32| format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(1_000_000));
    // The last event goes to the partition `p4`, whose first state is no longer in memory.
    driver.reaches("large", "p4", &state(2)).await;
    assert_eq!(driver.state_of("large", "p1").await.unwrap(), state(2));
    assert_eq!(driver.state_of("large", "p44").await.unwrap(), state(1));
    let cached = driver.details("large").await.partitions_cached;
    assert!(cached < 45, "{cached} partitions are in memory");
}

async fn partitions_share_a_state(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    grow(&mut client, "order-2", 4..6).await;
    let handlers = "when({ $init: () => ({ n: 0 }), $initShared: () => ({ all: 0 }), \
                    happened(s, e) { s[1].all += 1; s[0].n = s[1].all; return s } })";
    driver.create("count", &format!("fromAll().foreachStream().{handlers}")).await;
    driver.reaches("count", "order-2", r#"{"n":5}"#).await;
    driver.disable("count").await.unwrap();
    driver.enable("count").await.unwrap();
    grow(&mut client, "order-1", 6..7).await;
    driver.reaches("count", "order-1", r#"{"n":6}"#).await;
}

async fn several_streams_are_one_source(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    for number in 1..10 {
        grow(&mut client, &format!("order-{}", number % 3), [number]).await;
    }
    let handlers = "when({ $init: () => [], $any(s, e) { s.push(e.data.n) } })";
    driver.create("list", &format!("fromStreams(['order-1', 'order-2']).{handlers}")).await;
    // In the order of the store.
    driver.reaches("list", "", "[1,2,4,5,7,8]").await;
}

async fn a_category_is_a_source(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..3).await;
    grow(&mut client, "user-1", 3..4).await;
    for (name, from) in [
        ("category", "fromCategory('order')"),
        ("index", "fromStream('$ce-order')"),
        ("type", "fromStream('$et-happened')"),
    ] {
        driver.create(name, &format!("{from}.{COUNT}")).await;
    }
    grow(&mut client, "order-2", 4..5).await;
    driver.reaches("category", "", r#"{"n":3}"#).await;
    driver.reaches("index", "", r#"{"n":3}"#).await;
    driver.reaches("type", "", r#"{"n":4}"#).await;
}

async fn a_stream_of_links_is_followed_to_its_events(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    let link = "fromStream('order-1').when({ happened(s, e) { \
                if (e.data.n !== 2) linkTo('odd', e, { why: 'odd' }) } })";
    driver.create("link", link).await;
    let handlers = "when({ $init: () => [], happened(s, e) { \
                    s.push([e.streamId, e.sequenceNumber, e.data.n, e.linkMetadata.why]) } })";
    driver.create("read", &format!("fromStream('odd').{handlers}")).await;
    let expected = r#"[["order-1",0,1,"odd"],["order-1",2,3,"odd"]]"#;
    driver.reaches("read", "", expected).await;
    let resolved = Read::stream("odd").resolving().run(&mut client).await.unwrap();
    assert_eq!(resolved.len(), 2);
    // Among all events links are left out, unless the script asks for them.
    driver.create("without", &format!("fromAll().{COUNT}")).await;
    let with = format!("options({{ $includeLinks: true }}); fromAll().{COUNT}");
    driver.create("with", &with).await;
    driver.reaches("without", "", r#"{"n":3}"#).await;
    driver.reaches("with", "", r#"{"n":5}"#).await;
}

async fn a_deleted_stream_is_told_to_its_state(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..3).await;
    let handlers = "when({ $init: () => ({ n: 0, gone: 0 }), happened(s) { s.n += 1 }, \
                    $deleted(s, e) { s.gone += e.isSoftDelete ? 1 : 10 } })";
    driver.create("all", &format!("fromAll().foreachStream().{handlers}")).await;
    driver.create("one", &format!("fromCategory('order').foreachStream().{handlers}")).await;
    driver.reaches("all", "order-1", r#"{"gone":0,"n":2}"#).await;
    let delete = delete_req::Options {
        stream_identifier: identifier("order-1"),
        expected_stream_revision: Some(delete_req::options::ExpectedStreamRevision::Any(Empty {})),
    };
    client.delete(DeleteReq { options: Some(delete) }).await.unwrap();
    driver.reaches("all", "order-1", r#"{"gone":1,"n":2}"#).await;
    grow(&mut client, "order-1", 3..4).await;
    let tombstone = tombstone_req::Options {
        stream_identifier: identifier("order-1"),
        expected_stream_revision: Some(tombstone_req::options::ExpectedStreamRevision::Any(
            Empty {},
        )),
    };
    client.tombstone(TombstoneReq { options: Some(tombstone) }).await.unwrap();
    driver.reaches("all", "order-1", r#"{"gone":11,"n":3}"#).await;
    driver.reaches("one", "order-1", r#"{"gone":11,"n":3}"#).await;
}

fn data(read: &[read_resp::Content]) -> Vec<String> {
    let data = read.iter().map(|content| {
        let record = event(content).event.as_ref().unwrap();
        format!("{} {}", record.metadata["type"], std::str::from_utf8(&record.data).unwrap())
    });
    data.collect()
}

async fn a_result_is_an_event_for_each_change(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..5).await;
    let output = "filterBy(s => s.n !== 3).transformBy(s => s.n * 10).outputState()";
    driver.create("sum", &format!("fromAll().{COUNT}.{output}")).await;
    driver.reaches("sum", "", r#"{"n":4}"#).await;
    driver.disable("sum").await.unwrap();
    let results = Read::stream("$projections-sum-result").run(&mut client).await.unwrap();
    assert_eq!(data(&results), ["Result 10", "Result 20", "ResultRemoved null", "Result 40"]);
    assert_eq!(driver.result_of("sum", "").await.unwrap(), "40");
    let named = format!("fromAll().foreachStream().{COUNT}.outputTo('sums', 'sum-{{0}}')");
    driver.create_as(continuous("named", false, false), &named).await.unwrap();
    driver.reaches("named", "order-1", r#"{"n":4}"#).await;
    driver.disable("named").await.unwrap();
    let results = Read::stream("sum-order-1").run(&mut client).await.unwrap();
    assert_eq!(results.len(), 4);
}

async fn a_result_is_computed_from_the_state(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    driver.create("double", &format!("fromAll().{COUNT}.transformBy(s => s.n * 2)")).await;
    driver.create("plain", &format!("fromAll().{COUNT}")).await;
    driver.reaches("double", "", r#"{"n":0}"#).await;
    grow(&mut client, "order-1", 1..4).await;
    driver.reaches("double", "", r#"{"n":3}"#).await;
    driver.reaches("plain", "", r#"{"n":3}"#).await;
    assert_eq!(driver.result_of("double", "").await.unwrap(), "6");
    assert_eq!(driver.result_of("plain", "").await.unwrap(), r#"{"n":3}"#);
    let missing = driver.state_of("triple", "").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

async fn system_events_go_to_handlers_of_their_type_only(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    let mut setting = proposed(1, "changed");
    setting.data = "{}".into();
    append(&mut client, "$settings", ANY, vec![setting]).await.unwrap();
    grow(&mut client, "order-1", 2..4).await;
    let count = "$init: () => ({ n: 0 })";
    driver.create("any", &format!("fromAll().when({{ {count}, $any(s) {{ s.n += 1 }} }})")).await;
    let named = format!("fromAll().when({{ {count}, changed(s) {{ s.n += 1 }} }})");
    driver.create("named", &named).await;
    driver.reaches("any", "", r#"{"n":2}"#).await;
    driver.reaches("named", "", r#"{"n":1}"#).await;
}

async fn a_transient_projection_keeps_nothing(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    use projections::create_req::options::{Mode, Transient};
    let mode = Mode::Transient(Transient { name: "peek".to_owned() });
    driver.create_as(mode, &format!("fromAll().foreachStream().{COUNT}")).await.unwrap();
    driver.reaches("peek", "order-1", r#"{"n":3}"#).await;
    assert_eq!(driver.details("peek").await.mode, "Transient");
    driver.disable("peek").await.unwrap();
    assert_eq!(Read::all().places(&mut client).await.len(), 3, "nothing was written");
    driver.delete("peek").await.unwrap();
    assert_eq!(driver.state_of("peek", "").await.unwrap_err().code(), Code::NotFound);
}

async fn a_one_time_projection_completes(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    use projections::{create_req::options::Mode, statistics_req::options::Mode as Asked};
    driver.create_as(Mode::OneTime(Empty {}), &format!("fromAll().{COUNT}")).await.unwrap();
    let name = driver.names(Asked::OneTime(Empty {})).await.remove(0);
    driver.becomes(&name, "Completed").await;
    grow(&mut client, "order-1", 4..6).await;
    driver.restart_all().await;
    driver.becomes(&name, "Completed").await;
    assert_eq!(driver.state(&name).await, r#"{"n":3}"#);
}
