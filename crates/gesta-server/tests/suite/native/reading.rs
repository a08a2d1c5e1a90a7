//! `GET /v1/streams/{stream}` and `GET /v1/events/{id}`.

use serde_json::{Value, json};

use super::http_client::Api;
use crate::scene::{Scene, scenarios};

scenarios!(
    a_stream_is_read_page_by_page_in_both_directions,
    a_read_may_start_at_a_time,
    a_missing_a_deleted_and_a_tombstoned_stream_are_told_apart,
    a_category_is_read_by_ordinals,
    an_event_is_found_by_its_id_in_each_stream_that_has_it,
    a_page_is_bounded_in_bytes,
);

fn revisions(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["revision"].as_u64().unwrap()).collect()
}

async fn a_stream_is_read_page_by_page_in_both_directions(scene: Scene) {
    let api = Api::of(&scene);
    for _ in 0..5 {
        api.grow("s-1", "happened", &[]).await;
    }
    let page = async |query: &str| {
        let page = api.get(&format!("/v1/streams/s-1?{query}")).await.done();
        (revisions(&page), page["next"].clone(), page["end"].clone())
    };
    assert_eq!(page("limit=2").await, (vec![0, 1], json!(2), json!(false)));
    assert_eq!(page("limit=2&from=2").await, (vec![2, 3], json!(4), json!(false)));
    assert_eq!(page("limit=2&from=4").await, (vec![4], json!(5), json!(true)));
    // A reader at the end asks for the same place again.
    assert_eq!(page("from=5").await, (vec![], json!(5), json!(true)));
    let back = "direction=backwards&limit=2";
    assert_eq!(page(back).await, (vec![4, 3], json!(2), json!(false)));
    assert_eq!(page(&format!("{back}&from=2")).await, (vec![2, 1], json!(0), json!(false)));
    assert_eq!(page(&format!("{back}&from=0")).await, (vec![0], Value::Null, json!(true)));
    let name = api.get("/v1/streams/s%2D1?limit=1").await.done();
    assert_eq!(name["stream"], "s-1");
}

async fn a_read_may_start_at_a_time(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("s-1", "happened", &[]).await;
    let past = api.get("/v1/streams/s-1?fromTime=1999-12-31T23%3A59%3A59Z").await.done();
    assert_eq!(revisions(&past), [0]);
    let future = api.get("/v1/streams/s-1?fromTime=8999-01-01T00%3A00%3A00%2B01%3A00").await.done();
    assert_eq!((revisions(&future), &future["end"]), (vec![], &json!(true)));
    let both = api.get("/v1/streams/s-1?from=0&fromTime=1999-12-31T23%3A59%3A59Z").await;
    both.refused(400, "invalid");
}

async fn a_missing_a_deleted_and_a_tombstoned_stream_are_told_apart(scene: Scene) {
    let api = Api::of(&scene);
    let missing = api.get("/v1/streams/s-1").await.refused(404, "stream-not-found");
    assert!(missing["detail"].as_str().unwrap().contains("no events"), "{missing}");
    api.grow("s-1", "happened", &[]).await;
    api.delete("/v1/streams/s-1").await.done();
    let deleted = api.get("/v1/streams/s-1").await.refused(404, "stream-not-found");
    assert!(deleted["detail"].as_str().unwrap().contains("deleted"), "{deleted}");
    api.grow("s-1", "again", &[]).await;
    assert_eq!(revisions(&api.get("/v1/streams/s-1").await.done()), [1]);
    api.delete("/v1/streams/s-1?tombstone=true").await.done();
    api.get("/v1/streams/s-1").await.refused(410, "tombstoned");
    let append = json!({ "streams": [{ "stream": "s-1", "events": [{ "type": "a" }] }] });
    api.append(&append).await.refused(410, "tombstoned");
}

async fn a_category_is_read_by_ordinals(scene: Scene) {
    let api = Api::of(&scene);
    for stream in ["order-1", "account-1", "order-2", "order-1"] {
        api.grow(stream, "happened", &[]).await;
    }
    let page = api.get("/v1/streams/$ce-order?limit=2").await.done();
    let places: Vec<_> = page["events"].as_array().unwrap().iter().collect();
    let place = |event: &Value| (event["ordinal"].clone(), event["stream"].clone());
    assert_eq!(place(places[0]), (json!(0), json!("order-1")));
    assert_eq!(place(places[1]), (json!(1), json!("order-2")));
    assert_eq!((&page["next"], &page["end"]), (&json!(2), &json!(false)));
    let rest = api.get("/v1/streams/%24ce-order?from=2").await.done();
    assert_eq!(place(&rest["events"][0]), (json!(2), json!("order-1")));
    assert_eq!((&rest["next"], &rest["end"]), (&json!(3), &json!(true)));
    let last = api.get("/v1/streams/$ce-order?direction=backwards&limit=1").await.done();
    assert_eq!((&last["events"][0]["ordinal"], &last["next"]), (&json!(2), &json!(1)));
    let streams = api.get("/v1/streams/$streams").await.done();
    assert_eq!(streams["events"].as_array().unwrap().len(), 3);
}

async fn an_event_is_found_by_its_id_in_each_stream_that_has_it(scene: Scene) {
    let api = Api::of(&scene);
    let id = "0190a0de-7f51-7c9f-8b6b-111111111111";
    for stream in ["s-1", "s-2"] {
        let event = json!({ "id": id, "type": "a" });
        let append = json!({ "streams": [{ "stream": stream, "events": [event] }] });
        api.append(&append).await.done();
    }
    let found = api.get(&format!("/v1/events/{id}")).await.done();
    let streams = found["events"].as_array().unwrap().iter().map(|event| event["stream"].clone());
    assert_eq!(streams.collect::<Vec<_>>(), ["s-1", "s-2"]);
    api.delete("/v1/streams/s-1").await.done();
    let found = api.get(&format!("/v1/events/{id}")).await.done();
    assert_eq!(found["events"].as_array().unwrap().len(), 1);
    let other = "0190a0de-7f51-7c9f-8b6b-999999999999";
    api.get(&format!("/v1/events/{other}")).await.refused(404, "event-not-found");
    api.get("/v1/events/7").await.refused(400, "invalid");
    let append = api.get(&format!("/v1/appends/{id}")).await.done();
    assert_eq!(append["repeated"], true);
    api.get(&format!("/v1/appends/{other}")).await.refused(404, "event-not-found");
}

async fn a_page_is_bounded_in_bytes(scene: Scene) {
    let api = Api::of(&scene);
    let event = json!({ "type": "large", "data": "x".repeat(3 << 20) });
    for _ in 0..4 {
        let append = json!({ "streams": [{ "stream": "s-1", "events": [event] }] });
        api.append(&append).await.done();
    }
    let page = api.get("/v1/streams/s-1").await.done();
    assert_eq!((revisions(&page), &page["next"]), (vec![0, 1], &json!(2)));
    let rest = api.get("/v1/streams/s-1?from=2").await.done();
    assert_eq!((revisions(&rest), &rest["end"]), (vec![2, 3], &json!(true)));
}
