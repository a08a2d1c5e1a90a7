//! A script that fails stops its projection, and no other.

use super::{driver::Driver, emitting::read_when, stating::COUNT};
use crate::{
    client::*,
    endpoints::{LOCAL, get},
    scene::{Scene, scenarios},
};

scenarios!(
    a_script_that_cannot_run_has_failed_when_its_creation_is_answered,
    an_invalid_script_fails_with_its_error,
    an_endless_loop_fails_its_projection_alone,
    figures_count_handled_events_and_failures,
    a_huge_state_fails_its_projection_alone,
    a_transient_projection_whose_states_exceed_its_memory_fails_alone,
    events_before_the_failure_are_done_and_a_better_script_goes_on,
    a_failing_key_of_a_partition_is_told,
    a_long_error_is_cut,
    a_projection_stops_whatever_its_script_does,
);

async fn a_script_that_cannot_run_has_failed_when_its_creation_is_answered(scene: Scene) {
    let mut driver = Driver::of(&scene).await;
    for (name, script, reason) in [
        ("syntax", "fromAll()\n  .when({ a b })", "projection:2:"),
        ("top", "fromAll(); nothing()", "projection:1:"),
        ("first-state", "fromAll().when({ $init() { throw new Error('no') } })", "no"),
    ] {
        driver.create(name, script).await;
        let details = driver.details(name).await;
        assert_eq!(details.status, "Faulted", "{details:?}");
        assert!(details.state_reason.contains(reason), "{details:?}");
    }
    driver.create("good", &format!("fromAll().{COUNT}")).await;
    assert_eq!(driver.details("good").await.status, "Running");
    driver.update("good", "fromAll(").await.unwrap();
    assert_eq!(driver.details("good").await.status, "Faulted");
}

async fn an_invalid_script_fails_with_its_error(scene: Scene) {
    let mut driver = Driver::of(&scene).await;
    driver.create("empty", "").await;
    let details = driver.becomes("empty", "Faulted").await;
    assert!(details.state_reason.contains("selects no events"), "{details:?}");
    driver.create("broken", "fromAll().when({").await;
    let details = driver.becomes("broken", "Faulted").await;
    assert!(details.state_reason.contains("SyntaxError"), "{details:?}");
    driver.delete("broken").await.unwrap();
    driver.create("of-streams", "fromStream('$streams').when({})").await;
    let details = driver.becomes("of-streams", "Faulted").await;
    assert!(details.state_reason.contains("cannot read `$streams`"), "{details:?}");
}

async fn an_endless_loop_fails_its_projection_alone(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    driver.create("good", &format!("fromAll().{COUNT}")).await;
    driver.create("loop", "fromAll().when({ happened() { for (;;) {} } })").await;
    grow(&mut client, "order-1", 1..4).await;
    driver.reaches("good", "", r#"{"n":3}"#).await;
    let details = driver.becomes("loop", "Faulted").await;
    assert!(details.state_reason.contains("may loop without an end"), "{details:?}");
    grow(&mut client, "order-1", 4..5).await;
    driver.reaches("good", "", r#"{"n":4}"#).await;
}

async fn figures_count_handled_events_and_failures(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    driver.create("good", &format!("fromAll().{COUNT}")).await;
    driver.create("bad", "fromAll().when({ happened() { throw new Error('bad') } })").await;
    grow(&mut client, "order-1", 1..4).await;
    driver.reaches("good", "", r#"{"n":3}"#).await;
    driver.becomes("bad", "Faulted").await;
    let (status, figures) = get(&scene, "/metrics", LOCAL).await;
    assert_eq!(status, 200);
    for line in ["events_projected_total 3", "projections_failed_total 1"] {
        assert!(figures.contains(&format!("\ngesta_server_{line}\n")), "{figures}");
    }
}

async fn a_transient_projection_whose_states_exceed_its_memory_fails_alone(mut scene: Scene) {
    use projections::create_req::options::{Mode, Transient};
    scene.restart_with_transient_states_of(20_000).await;
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    let script = "fromAll().foreachStream().when({ \
                  $init: () => ({ n: 0, text: 'x'.repeat(3000) }), happened(s) { s.n += 1 } })";
    let state = |n: u32| format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(3_000));
    let transient = Mode::Transient(Transient { name: "peek".to_owned() });
    driver.create_as(transient, script).await.unwrap();
    driver.create("stored", script).await;
    grow(&mut client, "order-1", 1..3).await;
    grow(&mut client, "order-2", 3..4).await;
    driver.reaches("peek", "order-1", &state(2)).await;
    driver.reaches("peek", "order-2", &state(1)).await;
    assert_eq!(driver.status("peek").await, "Running");
    for number in 4..20 {
        grow(&mut client, &format!("order-{number}"), [number]).await;
    }
    let details = driver.becomes("peek", "Faulted").await;
    for part in ["20000 bytes in all", "make it a continuous one"] {
        assert!(details.state_reason.contains(part), "{details:?}");
    }
    driver.reaches("stored", "order-19", &state(1)).await;
    assert_eq!(driver.status("stored").await, "Running");
}

async fn a_huge_state_fails_its_projection_alone(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    driver.create("good", &format!("fromAll().{COUNT}")).await;
    let huge = "fromAll().when({ $init: () => [], \
                happened(s) { for (;;) s.push('x'.repeat(1000) + s.length) } })";
    driver.create("huge", huge).await;
    grow(&mut client, "order-1", 1..4).await;
    let details = driver.becomes("huge", "Faulted").await;
    assert!(details.state_reason.contains("bytes of memory"), "{details:?}");
    driver.reaches("good", "", r#"{"n":3}"#).await;
}

async fn events_before_the_failure_are_done_and_a_better_script_goes_on(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..6).await;
    let script = |guard: &str| {
        format!(
            "fromStream('order-1').when({{ $init: () => ({{ n: 0 }}), happened(s, e) {{ s.n += 1; \
             {guard} emit('copies', 'copied', e.data) }} }})"
        )
    };
    driver.create("copy", &script("if (e.data.n === 4) throw new Error('not four');")).await;
    let details = driver.becomes("copy", "Faulted").await;
    assert!(details.state_reason.contains("not four"), "{details:?}");
    assert_eq!(read_when(&mut client, "copies", 3).await.len(), 3);
    assert_eq!(driver.state("copy").await, r#"{"n":3}"#, "the failing event left nothing");
    driver.enable("copy").await.unwrap();
    driver.becomes("copy", "Faulted").await;
    driver.update("copy", &script("")).await.unwrap();
    driver.reaches("copy", "", r#"{"n":5}"#).await;
    driver.disable("copy").await.unwrap();
    assert_eq!(Read::stream("copies").places(&mut client).await.len(), 5);
}

async fn a_failing_key_of_a_partition_is_told(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    let key = "partitionBy(e => { if (e.data.n === 3) throw new Error('no key'); return 'k' })";
    driver.create("keys", &format!("fromAll().{key}.{COUNT}")).await;
    let details = driver.becomes("keys", "Faulted").await;
    assert!(details.state_reason.contains("no key"), "{details:?}");
    assert_eq!(driver.state_of("keys", "k").await.unwrap(), r#"{"n":2}"#);
}

async fn a_long_error_is_cut(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..2).await;
    for (name, thrown) in [("error", "new Error('x'.repeat(1e7))"), ("text", "'x'.repeat(1e7)")] {
        let script = format!("fromAll().when({{ happened() {{ throw {thrown} }} }})");
        driver.create(name, &script).await;
        let reason = driver.becomes(name, "Faulted").await.state_reason;
        assert!(reason.len() < 5_000 && reason.contains("bytes in all"), "{} bytes", reason.len());
    }
}

async fn a_projection_stops_whatever_its_script_does(mut scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..2).await;
    let bulk = "fromAll().when({ happened() { const a = new Array(1e5).fill(7); \
                while (true) { try { a.slice() } catch {} } } })";
    for name in ["one", "two"] {
        driver.create(name, bulk).await;
    }
    driver.disable("one").await.unwrap();
    assert_eq!(driver.status("one").await, "Stopped");
    scene.stop();
    scene.ended().await;
}
