//! Subscriptions as server-sent events.

use serde_json::{Value, json};

use super::http_client::Api;
use crate::scene::{Scene, scenarios};

scenarios!(
    a_subscription_to_a_stream_catches_up_and_stays_live,
    a_reader_that_reconnects_goes_on_after_its_last_event,
    a_selection_tells_its_progress_by_checkpoints,
    a_subscription_ends_with_a_problem_when_its_stream_is_tombstoned,
    a_server_that_stops_says_so_and_ends,
    odd_starts_are_refused_before_anything_is_sent,
);

async fn a_subscription_to_a_stream_catches_up_and_stays_live(scene: Scene) {
    let api = Api::of(&scene);
    // A stream that does not exist yet.
    let mut events = api.events("/v1/streams/s-1/subscribe", "").await.unwrap();
    assert_eq!(events.named("caught-up").await, (None, json!({ "revision": null })));
    for revision in 0..2_u64 {
        api.grow("other-1", "happened", &[]).await;
        api.grow("s-1", "happened", &[]).await;
        let event = events.event().await;
        assert_eq!((&event["stream"], &event["revision"]), (&json!("s-1"), &json!(revision)));
    }
    let mut rest = api.events("/v1/streams/s-1/subscribe?after=0", "").await.unwrap();
    assert_eq!(rest.event().await["revision"], 1);
    assert_eq!(rest.named("caught-up").await, (Some(1), json!({ "revision": 1 })));
    let mut live = api.events("/v1/streams/s-1/subscribe?atEnd=true", "").await.unwrap();
    assert_eq!(live.named("caught-up").await, (Some(1), json!({ "revision": 1 })));
}

async fn a_reader_that_reconnects_goes_on_after_its_last_event(scene: Scene) {
    let api = Api::of(&scene);
    for _ in 0..3 {
        api.grow("s-1", "happened", &[]).await;
    }
    let mut events = api.events("/v1/subscribe", "").await.unwrap();
    let first = events.next().await.unwrap();
    assert_eq!((first.id, &first.data["position"]), (Some(1), &json!(1)));
    drop(events);
    // The browser repeats the address, and adds the id.
    let header = "last-event-id: 2\r\n";
    let mut events = api.events("/v1/subscribe?after=0", header).await.unwrap();
    assert_eq!(events.event().await["position"], 3);
    assert_eq!(events.named("caught-up").await, (Some(3), json!({ "position": 3 })));
}

async fn a_selection_tells_its_progress_by_checkpoints(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("order-1", "paid", &["customer:1"]).await;
    for _ in 0..3 {
        api.grow("noise-1", "happened", &[]).await;
    }
    let mut events = api.events("/v1/subscribe?type=paid&tag=customer:1", "").await.unwrap();
    assert_eq!(events.event().await["stream"], "order-1");
    loop {
        let event = events.next().await.unwrap();
        match event.name.as_str() {
            "caught-up" => {
                assert_eq!(event.id, Some(4));
                break;
            }
            "checkpoint" => assert!(event.id > Some(1), "{event:?}"),
            _ => panic!("{event:?}"),
        }
    }
    api.grow("order-2", "paid", &["customer:2"]).await;
    api.grow("order-3", "paid", &["customer:1"]).await;
    let mut event = events.next().await.unwrap();
    while event.name == "checkpoint" {
        event = events.next().await.unwrap();
    }
    assert_eq!((event.id, &event.data["stream"]), (Some(6), &json!("order-3")));
}

async fn a_subscription_ends_with_a_problem_when_its_stream_is_tombstoned(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("s-1", "happened", &[]).await;
    let mut events = api.events("/v1/streams/s-1/subscribe?atEnd=true", "").await.unwrap();
    events.named("caught-up").await;
    api.delete("/v1/streams/s-1?tombstone=true").await.done();
    let (_, problem) = events.named("problem").await;
    assert_eq!((&problem["code"], &problem["status"]), (&json!("tombstoned"), &json!(410)));
    assert!(events.next().await.is_none());
    let again = api.events("/v1/streams/s-1/subscribe", "").await;
    again.err().unwrap().refused(410, "tombstoned");
}

async fn a_server_that_stops_says_so_and_ends(mut scene: Scene) {
    let api = Api::of(&scene);
    let mut events = api.events("/v1/subscribe", "").await.unwrap();
    events.named("caught-up").await;
    scene.stop();
    let (_, problem) = events.named("problem").await;
    assert_eq!(problem["code"], "closing");
    assert!(events.next().await.is_none());
    scene.ended().await;
}

async fn odd_starts_are_refused_before_anything_is_sent(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("order-1", "happened", &[]).await;
    let refused = async |path: &str, headers: &str, status: u16, code: &str| -> Value {
        let answer = api.events(path, headers).await;
        answer.err().unwrap_or_else(|| panic!("{path} is served")).refused(status, code)
    };
    let beyond = "position-beyond-head";
    assert_eq!(refused("/v1/subscribe?after=2", "", 412, beyond).await["position"], 1);
    // Another life of the store, which has lost what the reader has seen.
    let other = "/v1/subscribe?after=1&incarnation=0190a0de-7f51-7c9f-8b6b-111111111111";
    refused(other, "", 409, "other-incarnation").await;
    let stream = "/v1/streams/order-1/subscribe";
    let beyond = refused(&format!("{stream}?after=1"), "", 412, beyond).await;
    assert_eq!(beyond["revision"], 0);
    for (path, headers, field) in [
        ("/v1/subscribe", "last-event-id: x\r\n", "Last-Event-ID"),
        ("/v1/subscribe?after=0&atEnd=true", "", "after"),
        ("/v1/subscribe?from=0", "", "from"),
        ("/v1/subscribe?incarnation=1", "", "incarnation"),
        ("/v1/streams/$ce-order/subscribe", "", "stream"),
        ("/v1/streams/order-1/subscribe?type=a", "", "type"),
    ] {
        assert_eq!(refused(path, headers, 400, "invalid").await["field"], field, "{path}");
    }
}
