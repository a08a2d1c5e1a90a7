//! Projections come, change, stop and go.

use projections::statistics_req::options::Mode as Asked;
use tonic::Code;

use super::{
    driver::{Driver, continuous},
    stating::COUNT,
};
use crate::{
    client::*,
    scene::{Scene, scenarios},
};

scenarios!(
    a_projection_is_listed_by_its_mode,
    a_stopped_projection_goes_on_where_it_was,
    a_stopped_projection_is_complete_as_long_as_no_event_is_left_for_it,
    an_aborted_projection_goes_on_from_its_checkpoint,
    another_script_goes_on_with_the_state,
    a_reset_projection_begins_again,
    a_projection_is_deleted_when_it_is_stopped,
    a_new_projection_of_the_same_name_begins_anew,
    projections_of_the_system_run_and_cannot_be_changed,
    a_wrong_request_says_what_is_wrong,
);

async fn a_projection_is_listed_by_its_mode(scene: Scene) {
    let mut driver = Driver::of(&scene).await;
    driver.create("mine", &format!("fromAll().{COUNT}")).await;
    let listed = driver.names(Asked::All(Empty {})).await;
    assert!(listed.contains(&"mine".to_owned()) && listed.contains(&"$by_category".to_owned()));
    assert!(driver.names(Asked::Continuous(Empty {})).await.contains(&"mine".to_owned()));
    assert!(driver.names(Asked::Transient(Empty {})).await.is_empty());
    assert!(driver.names(Asked::OneTime(Empty {})).await.is_empty());
    assert_eq!(driver.names(Asked::Name("mine".to_owned())).await, ["mine"]);
}

async fn a_stopped_projection_goes_on_where_it_was(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    driver.create("count", &format!("fromAll().{COUNT}")).await;
    driver.reaches("count", "", r#"{"n":3}"#).await;
    driver.disable("count").await.unwrap();
    assert_eq!(driver.status("count").await, "Stopped");
    grow(&mut client, "order-1", 4..6).await;
    assert_eq!(driver.state("count").await, r#"{"n":3}"#);
    driver.enable("count").await.unwrap();
    driver.reaches("count", "", r#"{"n":5}"#).await;
    assert_eq!(driver.details("count").await.events_processed_after_restart, 5, "none twice");
}

async fn a_stopped_projection_is_complete_as_long_as_no_event_is_left_for_it(mut scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    let copy = "fromStream('order-1').when({ $init: () => ({ n: 0 }), \
                happened(s) { s.n += 1; emit('copies', 'copied', {}) } })";
    driver.create("all", &format!("fromAll().{COUNT}")).await;
    driver.create("one", &format!("fromStream('order-1').{COUNT}")).await;
    driver.create("copy", copy).await;
    grow(&mut client, "other-1", 4..9).await;
    driver.reaches("all", "", r#"{"n":8}"#).await;
    for name in ["one", "copy"] {
        driver.reaches(name, "", r#"{"n":3}"#).await;
    }
    for name in ["all", "one", "copy"] {
        driver.disable(name).await.unwrap();
        let details = driver.details(name).await;
        assert!(details.progress == 100.0, "{details:?}");
    }
    // Those of another stream are left for the projection of all streams alone.
    grow(&mut client, "other-1", 9..10).await;
    scene.restart().await;
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    for (name, is_complete) in [("all", false), ("one", true), ("copy", true)] {
        let details = driver.details(name).await;
        assert_eq!(details.progress == 100.0, is_complete, "{details:?}");
    }
    grow(&mut client, "order-1", 10..11).await;
    let details = driver.details("one").await;
    assert!(details.progress < 100.0, "{details:?}");
    driver.enable("one").await.unwrap();
    driver.reaches("one", "", r#"{"n":4}"#).await;
    driver.disable("one").await.unwrap();
    let details = driver.details("one").await;
    assert!(details.progress == 100.0, "{details:?}");
}

async fn an_aborted_projection_goes_on_from_its_checkpoint(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    driver.create("count", &format!("fromAll().{COUNT}")).await;
    driver.reaches("count", "", r#"{"n":3}"#).await;
    driver.abort("count").await.unwrap();
    assert_eq!(driver.status("count").await, "Aborted/Stopped");
    driver.enable("count").await.unwrap();
    grow(&mut client, "order-1", 4..5).await;
    driver.reaches("count", "", r#"{"n":4}"#).await;
}

async fn another_script_goes_on_with_the_state(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    driver.create("count", &format!("fromAll().{COUNT}")).await;
    driver.reaches("count", "", r#"{"n":3}"#).await;
    driver.update("count", "fromAll().when({ happened(s) { s.n += 100 } })").await.unwrap();
    grow(&mut client, "order-1", 4..5).await;
    driver.reaches("count", "", r#"{"n":103}"#).await;
    assert_eq!(driver.details("count").await.version, 1);
}

async fn a_reset_projection_begins_again(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    driver.create("count", &format!("fromAll().foreachStream().{COUNT}")).await;
    driver.reaches("count", "order-1", r#"{"n":3}"#).await;
    let handlers = "when({ $init: () => ({ n: 0 }), happened(s) { s.n += 10 } })";
    driver.update("count", &format!("fromAll().foreachStream().{handlers}")).await.unwrap();
    driver.reset("count").await.unwrap();
    driver.reaches("count", "order-1", r#"{"n":30}"#).await;
    assert_eq!(driver.details("count").await.epoch, 1);
}

async fn a_projection_is_deleted_when_it_is_stopped(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    driver.create("count", &format!("fromAll().foreachStream().{COUNT}.outputState()")).await;
    driver.reaches("count", "order-1", r#"{"n":3}"#).await;
    let running = driver.delete("count").await.unwrap_err();
    // The text by which a client tells it.
    assert_eq!(running.code(), Code::Unknown);
    let known = "Envelope callback expected Updated, received OperationFailed instead";
    assert!(running.message().starts_with(known), "{running}");
    driver.disable("count").await.unwrap();
    driver.delete("count").await.unwrap();
    let gone = driver.statistics(Asked::Name("count".to_owned())).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    for stream in ["$projections-count-checkpoint", "$projections-count:order-1-checkpoint"] {
        let read = Read::stream(stream).run(&mut client).await.unwrap();
        assert!(matches!(read.as_slice(), [read_resp::Content::StreamNotFound(_)]), "{stream}");
    }
}

async fn a_new_projection_of_the_same_name_begins_anew(scene: Scene) {
    let (mut client, mut driver) = (scene.client().await, Driver::of(&scene).await);
    grow(&mut client, "order-1", 1..4).await;
    let emitting =
        "fromStream('order-1').when({ happened(s, e) { emit('copies', 'copied', e.data) } })";
    for round in 1..3 {
        driver.create("copy", emitting).await;
        grow(&mut client, "order-1", [10 * round]).await;
        let mut copies = Read::stream("copies").subscribing().open(&mut client).await.unwrap();
        copies.confirmed().await;
        // Three old events and all new ones, in each round.
        let expected = if round == 1 { 4 } else { 4 + 5 };
        let mut seen = 0;
        while seen < expected {
            seen += usize::from(matches!(copies.next().await, read_resp::Content::Event(_)));
        }
        driver.disable("copy").await.unwrap();
        use projections::{DeleteReq, delete_req};
        let name = "copy".to_owned();
        let options = delete_req::Options { name, ..delete_req::Options::default() };
        driver.0.delete(DeleteReq { options: Some(options) }).await.unwrap();
    }
    let copies = Read::stream("copies").places(&mut client).await;
    assert_eq!(copies.len(), 9);
}

async fn projections_of_the_system_run_and_cannot_be_changed(scene: Scene) {
    let mut driver = Driver::of(&scene).await;
    for name in
        ["$by_category", "$by_correlation_id", "$by_event_type", "$stream_by_category", "$streams"]
    {
        let details = driver.details(name).await;
        assert_eq!((details.status.as_str(), details.mode.as_str()), ("Running", "Continuous"));
        // The index has all events already.
        driver.enable(name).await.unwrap();
        driver.reset(name).await.unwrap();
        assert_eq!(driver.status(name).await, "Running");
        for refused in [
            driver.disable(name).await.unwrap_err(),
            driver.delete(name).await.unwrap_err(),
            driver.update(name, "fromAll()").await.unwrap_err(),
        ] {
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(refused.message().contains("read from the store's index"), "{refused}");
        }
    }
}

async fn a_wrong_request_says_what_is_wrong(scene: Scene) {
    let mut driver = Driver::of(&scene).await;
    let query = format!("fromAll().{COUNT}");
    driver.create("mine", &query).await;
    let twice = driver.create_as(continuous("mine", false, false), &query).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    for name in ["", "$mine", "a:b"] {
        let refused = driver.create_as(continuous(name, false, false), &query).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
    for engine in [-1, 2] {
        let options = projections::create_req::Options {
            mode: Some(continuous("other", false, false)),
            query: query.clone(),
            engine_version: engine,
        };
        let request = projections::CreateReq { options: Some(options) };
        let refused = driver.0.create(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().ends_with(&format!("got {engine}")), "{refused}");
    }
    let tracking = driver.create_as(continuous("other", false, true), &query).await.unwrap_err();
    assert_eq!(tracking.code(), Code::Unknown);
    assert!(tracking.message().starts_with("Exception was thrown by handler."), "{tracking}");
    for missing in [
        driver.enable("other").await.unwrap_err(),
        driver.disable("other").await.unwrap_err(),
        driver.reset("other").await.unwrap_err(),
        driver.update("other", &query).await.unwrap_err(),
        driver.delete("other").await.unwrap_err(),
        driver.result_of("other", "").await.unwrap_err(),
    ] {
        assert_eq!(missing.code(), Code::NotFound, "{missing}");
    }
}
