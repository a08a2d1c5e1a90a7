//! `POST /v1/append`.

use serde_json::{Value, json};

use tokio::io::AsyncWriteExt as _;

use super::http_client::{Api, JSON, read_answer};
use crate::{
    endpoints::LOCAL,
    scene::{Scene, scenarios},
};

scenarios!(
    an_append_to_several_streams_is_all_or_none,
    a_conflict_has_the_current_revision,
    a_condition_over_tags_fails_after_a_matching_event,
    a_retry_with_the_same_ids_is_a_repeat_and_another_append_of_an_id_a_conflict,
    json_bytes_and_all_fields_come_back_as_they_were,
    a_stream_that_is_only_checked_gets_no_events,
    metadata_of_a_stream_that_is_expected_elsewhere_are_a_conflict,
    names_of_the_system_and_of_the_index_are_refused,
    too_large_an_event_is_refused_with_the_limit,
);

fn event(event_type: &str) -> Value {
    json!({ "type": event_type, "data": {} })
}

fn to(stream: &str, expected: impl Into<Value>, events: &[Value]) -> Value {
    json!({ "stream": stream, "expected": expected.into(), "events": events })
}

async fn an_append_to_several_streams_is_all_or_none(scene: Scene) {
    let api = Api::of(&scene);
    let both = |expected: &str| {
        json!({ "streams": [
            to("order-1", "no-stream", &[event("placed"), event("paid")]),
            to("stock-1", expected, &[event("reserved")]),
        ] })
    };
    api.append(&both("stream-exists")).await.refused(409, "conflict");
    api.get("/v1/streams/order-1").await.refused(404, "stream-not-found");
    let appended = api.append(&both("no-stream")).await.done();
    let heads = json!([
        { "stream": "order-1", "revision": 1 },
        { "stream": "stock-1", "revision": 0 },
    ]);
    assert_eq!((&appended["position"], &appended["streams"]), (&json!(3), &heads));
    assert_eq!(appended["repeated"], false);
}

async fn a_conflict_has_the_current_revision(scene: Scene) {
    let api = Api::of(&scene);
    let append = |expected: Value| json!({ "streams": [to("s-1", expected, &[event("a")])] });
    api.append(&append("no-stream".into())).await.done();
    api.append(&append(0.into())).await.done();
    let conflict = api.append(&append(0.into())).await.refused(409, "conflict");
    assert_eq!(conflict["stream"], "s-1");
    assert_eq!((&conflict["expected"], &conflict["revision"]), (&json!(0), &json!(1)));
    let other = json!({ "streams": [to("s-2", 3, &[event("a")])] });
    let conflict = api.append(&other).await.refused(409, "conflict");
    assert_eq!(conflict["revision"], Value::Null);
    let conflict = api.append(&append("no-stream".into())).await.refused(409, "conflict");
    assert_eq!((&conflict["expected"], &conflict["revision"]), (&json!("no-stream"), &json!(1)));
}

async fn a_condition_over_tags_fails_after_a_matching_event(scene: Scene) {
    let api = Api::of(&scene);
    let register = |id: u64, after: u64| {
        let event = json!({ "type": "registered", "data": {}, "tags": ["email:a@example.org"] });
        json!({
            "streams": [to(&format!("user-{id}"), "any", &[event])],
            "condition": {
                "noneMatching": [{ "types": ["registered"], "tags": ["email:a@example.org"] }],
                "after": after,
            },
        })
    };
    api.append(&register(1, 0)).await.done();
    let failed = api.append(&register(2, 0)).await.refused(409, "condition-failed");
    assert_eq!(failed["position"], 1);
    // A writer that has seen the event may continue.
    api.append(&register(2, 1)).await.done();
    api.append(&register(3, 9)).await.refused(412, "position-beyond-head");
}

async fn a_retry_with_the_same_ids_is_a_repeat_and_another_append_of_an_id_a_conflict(
    scene: Scene,
) {
    let api = Api::of(&scene);
    let id = "0190a0de-7f51-7c9f-8b6b-111111111111";
    let append = |other: &str| {
        let first = json!({ "id": id, "type": "a", "data": 1 });
        json!({ "streams": [to("s-1", "no-stream", &[first, json!({ "id": other, "type": "b" })])] })
    };
    let second = "0190a0de-7f51-7c9f-8b6b-222222222222";
    let first = api.append(&append(second)).await.done();
    let again = api.append(&append(second)).await.done();
    assert_eq!((&first["repeated"], &again["repeated"]), (&json!(false), &json!(true)));
    assert_eq!((&first["position"], &first["streams"]), (&again["position"], &again["streams"]));
    let reused = api.append(&append("0190a0de-7f51-7c9f-8b6b-333333333333")).await;
    reused.refused(409, "event-id-reused");
    let read = api.get("/v1/streams/s-1").await.done();
    assert_eq!(read["events"].as_array().unwrap().len(), 2);
}

async fn json_bytes_and_all_fields_come_back_as_they_were(scene: Scene) {
    let api = Api::of(&scene);
    let body = r#"{"streams":[{"stream":"s-1","events":[
        {"id":"6f0e2a8e-65a9-4a3a-8f0c-6f3e2d9d1a10","type":"a","schemaVersion":3,
         "data":{ "b" : 1.10,"a":12345678901234567890 },"metadata":{"by":"ann"},
         "tags":["x:1","y:2"],"correlationId":"c","causationId":"k"},
        {"type":"b","contentType":"image/png","dataBase64":"iVBORw==","metadataBase64":"/w=="},
        {"type":"c","data":null},
        {"type":"d"}]}]}"#;
    let appended = api.send("POST /v1/append", JSON, body.as_bytes()).await;
    appended.done();
    let read = api.get("/v1/streams/s-1").await;
    assert!(read.body.contains(r#""data":{ "b" : 1.10,"a":12345678901234567890 }"#), "{read:?}");
    let read = read.done();
    let [first, second, third, fourth] = read["events"].as_array().unwrap().as_slice() else {
        panic!("{read}");
    };
    assert_eq!(first["id"], "6f0e2a8e-65a9-4a3a-8f0c-6f3e2d9d1a10");
    assert_eq!((&first["schemaVersion"], &first["metadata"]), (&json!(3), &json!({"by":"ann"})));
    assert_eq!((&first["correlationId"], &first["causationId"]), (&json!("c"), &json!("k")));
    let mut tags: Vec<_> = first["tags"].as_array().unwrap().iter().map(Value::as_str).collect();
    tags.sort_unstable();
    assert_eq!(tags, [Some("x:1"), Some("y:2")]);
    assert_eq!(
        (&second["contentType"], &second["dataBase64"]),
        (&json!("image/png"), &json!("iVBORw=="))
    );
    assert_eq!(second["metadataBase64"], "/w==");
    assert_eq!(third.get("data"), Some(&Value::Null));
    assert_eq!((fourth.get("data"), &fourth["dataBase64"]), (None, &json!("")));
}

async fn a_stream_that_is_only_checked_gets_no_events(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("account-1", "opened", &[]).await;
    let append = |expected: Value| {
        json!({ "streams": [
            to("transfer-1", "any", &[event("sent")]),
            json!({ "stream": "account-1", "expected": expected }),
        ] })
    };
    let conflict = api.append(&append(1.into())).await.refused(409, "conflict");
    assert_eq!((&conflict["stream"], &conflict["revision"]), (&json!("account-1"), &json!(0)));
    let appended = api.append(&append(0.into())).await.done();
    assert_eq!(appended["streams"], json!([{ "stream": "transfer-1", "revision": 0 }]));
    // A check alone answers with the head.
    let check = json!({ "streams": [{ "stream": "account-1", "expected": 0 }] });
    let checked = api.append(&check).await.done();
    assert_eq!((&checked["position"], &checked["streams"]), (&json!(2), &json!([])));
}

async fn metadata_of_a_stream_that_is_expected_elsewhere_are_a_conflict(scene: Scene) {
    let api = Api::of(&scene);
    let described = json!({ "type": "$metadata", "data": { "owner": "ann" } });
    let append = |expected: u64| {
        json!({ "streams": [
            to("$$order-1", "any", std::slice::from_ref(&described)),
            to("$$order-1", expected, &[]),
        ] })
    };
    let first = std::slice::from_ref(&described);
    api.append(&json!({ "streams": [to("$$order-1", "any", first)] })).await.done();
    let conflict = api.append(&append(7)).await.refused(409, "conflict");
    assert_eq!((&conflict["stream"], &conflict["revision"]), (&json!("$$order-1"), &json!(0)));
    api.append(&append(0)).await.done();
}

async fn names_of_the_system_and_of_the_index_are_refused(scene: Scene) {
    let api = Api::of(&scene);
    for stream in ["$ce-order", "$streams", "$et-paid"] {
        let append = json!({ "streams": [to(stream, "any", &[event("a")])] });
        let refused = api.append(&append).await.refused(403, "reserved-stream");
        assert_eq!(refused["stream"], stream);
    }
    // Other names of the system are for those who have the right, here everyone.
    let settings = json!({ "streams": [to("$settings", "any", &[event("update")])] });
    api.append(&settings).await.done();
    let twice = json!({ "streams": [
        to("s-1", "any", &[event("a")]),
        to("s-1", "any", &[event("b")]),
    ] });
    api.append(&twice).await.refused(400, "invalid");
}

async fn too_large_an_event_is_refused_with_the_limit(scene: Scene) {
    let api = Api::of(&scene);
    let large = json!({ "type": "a", "data": "x".repeat(16 << 20) });
    let refused = api.append(&json!({ "streams": [to("s-1", "any", &[large])] })).await;
    let refused = refused.refused(413, "too-large");
    assert_eq!(refused["limit"], 16 << 20);
    // A length that is declared is refused before the body comes.
    let mut stream = api.connect().await;
    let length = (48 << 20) + 1;
    let head = format!(
        "POST /v1/append HTTP/1.1\r\n{LOCAL}{JSON}content-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    read_answer(stream).await.refused(413, "too-large");
}
