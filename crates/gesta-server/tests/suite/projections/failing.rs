//! A script that fails stops its projection, and no other.

use super::{driver::Driver, emitting::read_when, stating::COUNT};
use crate::{
    client::*,
    endpoints::{LOCAL, get},
    scene::{Scene, scenarios},
};

scenarios!(
    an_invalid_script_fails_with_its_error,
    an_endless_loop_fails_its_projection_alone,
    figures_count_handled_events_and_failures,
    a_huge_state_fails_its_projection_alone,
    events_before_the_failure_are_done_and_a_better_script_goes_on,
    a_failing_key_of_a_partition_is_told,
);

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
