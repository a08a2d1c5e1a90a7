//! `GET /v1/all`, `POST /v1/query`, `GET /v1/head` and `GET /v1/store`.

use serde_json::{Value, json};

use super::http_client::{Answer, Api};
use crate::scene::{Scene, scenarios};

scenarios!(
    the_whole_store_is_read_page_by_page_in_both_directions,
    a_filter_selects_by_each_kind,
    a_query_finds_any_of_its_items_and_its_position_guards_an_append,
    hidden_events_are_shown_on_request,
    a_position_beyond_the_head_is_refused,
    odd_queries_are_refused_by_field,
    the_head_and_the_features_are_told,
);

fn places(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["position"].as_u64().unwrap()).collect()
}

async fn the_whole_store_is_read_page_by_page_in_both_directions(scene: Scene) {
    let api = Api::of(&scene);
    for stream in ["a-1", "b-1", "a-1", "c-1", "a-1"] {
        api.grow(stream, "happened", &[]).await;
    }
    let page = async |query: &str| {
        let page = api.get(&format!("/v1/all?{query}")).await.done();
        (places(&page), page["position"].as_u64().unwrap(), page["end"] == true)
    };
    assert_eq!(page("limit=2").await, (vec![1, 2], 2, false));
    assert_eq!(page("limit=2&after=2").await, (vec![3, 4], 4, false));
    assert_eq!(page("limit=2&after=4").await, (vec![5], 5, true));
    assert_eq!(page("after=5").await, (vec![], 5, true));
    // The position is the head although the last event is not selected.
    assert_eq!(page("category=b").await, (vec![2], 5, true));
    let back = "direction=backwards&limit=2";
    assert_eq!(page(back).await, (vec![5, 4], 4, false));
    assert_eq!(page(&format!("{back}&before=4")).await, (vec![3, 2], 2, false));
    assert_eq!(page(&format!("{back}&before=2")).await, (vec![1], 0, true));
    assert_eq!(page(&format!("{back}&before=1")).await, (vec![], 0, true));
}

async fn a_filter_selects_by_each_kind(scene: Scene) {
    let api = Api::of(&scene);
    let event = json!({
        "type": "order-paid", "tags": ["customer:1", "vip"], "correlationId": "c-1",
        "causationId": "k-1",
    });
    let append = json!({ "streams": [{ "stream": "order-1", "events": [event] }] });
    api.append(&append).await.done();
    api.grow("order-2", "order-placed", &["customer:1"]).await;
    api.grow("account-1", "opened", &["customer:2"]).await;
    for (query, found) in [
        ("type=order-paid&type=opened", vec![1, 3]),
        ("tag=customer:1", vec![1, 2]),
        ("tag=customer:1&tag=vip", vec![1]),
        ("tag=customer:1&type=order-placed", vec![2]),
        ("stream=order-2&stream=account-1", vec![2, 3]),
        ("streamPrefix=order-", vec![1, 2]),
        ("category=account", vec![3]),
        ("typePrefix=order-", vec![1, 2]),
        ("streamPattern=1%24", vec![1, 3]),
        ("typePattern=%5Eo.*d%24", vec![1, 2, 3]),
        ("correlationId=c-1", vec![1]),
        ("causationId=k-1", vec![1]),
        ("fromTime=1999-12-31T23:59:59Z", vec![1, 2, 3]),
        ("type=nothing", vec![]),
    ] {
        let page = api.get(&format!("/v1/all?{query}")).await.done();
        assert_eq!((places(&page), &page["position"]), (found, &json!(3)), "{query}");
    }
}

async fn a_query_finds_any_of_its_items_and_its_position_guards_an_append(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("seat-1", "reserved", &["seat:1"]).await;
    api.grow("show-1", "announced", &["show:1"]).await;
    api.grow("seat-2", "reserved", &["seat:2"]).await;
    let items = json!([{ "tags": ["seat:1"] }, { "types": ["announced"], "tags": ["show:1"] }]);
    let query = |after: u64, limit: u64| json!({ "items": items, "after": after, "limit": limit });
    let first = api.json("POST /v1/query", &query(0, 1)).await.done();
    assert_eq!((places(&first), &first["end"]), (vec![1], &json!(false)));
    let second = api.json("POST /v1/query", &query(1, 1)).await.done();
    assert_eq!((places(&second), &second["end"]), (vec![2], &json!(true)));
    let seen = second["position"].clone();
    assert_eq!(seen, 3);
    let reserve = json!({
        "streams": [{ "stream": "seat-1", "events": [{ "type": "sold", "tags": ["seat:1"] }] }],
        "condition": { "noneMatching": items, "after": seen },
    });
    api.append(&reserve).await.done();
    api.append(&reserve).await.refused(409, "condition-failed");
    let back = json!({ "items": items, "direction": "backwards", "limit": 1 });
    assert_eq!(places(&api.json("POST /v1/query", &back).await.done()), [4]);
}

async fn hidden_events_are_shown_on_request(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("s-1", "happened", &["t:1"]).await;
    api.delete("/v1/streams/s-1").await.done();
    assert_eq!(places(&api.get("/v1/all?type=happened").await.done()), [0_u64; 0]);
    assert_eq!(places(&api.get("/v1/all?type=happened&hidden=true").await.done()), [1]);
    assert_eq!(places(&api.get("/v1/all?tag=t:1").await.done()), [0_u64; 0]);
    api.get("/v1/all?tag=t:1&hidden=true").await.refused(400, "invalid");
}

async fn a_position_beyond_the_head_is_refused(scene: Scene) {
    let api = Api::of(&scene);
    api.grow("s-1", "happened", &[]).await;
    let refused = api.get("/v1/all?after=2").await.refused(412, "position-beyond-head");
    assert_eq!(refused["position"], 1);
    let query = json!({ "items": [{ "types": ["happened"] }], "after": 2 });
    api.json("POST /v1/query", &query).await.refused(412, "position-beyond-head");
}

async fn odd_queries_are_refused_by_field(scene: Scene) {
    let api = Api::of(&scene);
    let field = |answer: Answer| answer.refused(400, "invalid")["field"].clone();
    for (query, named) in [
        ("before=1", "before"),
        ("direction=backwards&after=1", "after"),
        ("after=1&fromTime=1999-12-31T23:59:59Z", "fromTime"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=9007199254740992", "after"),
        ("category=a-b", "category"),
        ("category=a&type=b", "selection"),
        ("colour=red", "colour"),
        ("hidden=yes", "hidden"),
        ("type=%FF", "type"),
    ] {
        assert_eq!(field(api.get(&format!("/v1/all?{query}")).await), named, "{query}");
    }
    for (body, named) in [
        (json!({ "items": [] }), "items"),
        (json!({ "items": [{}] }), "items[0]"),
        (json!({ "items": [{ "tags": [""] }] }), "items[0].tags"),
        (json!({ "items": [{ "tag": "a" }] }), "items[0].tag"),
        (json!({ "items": [{ "tags": ["a"] }], "limit": 0 }), "limit"),
        (json!({ "items": [{ "tags": ["a"] }], "direction": "up" }), "direction"),
        (json!({}), "items"),
    ] {
        assert_eq!(field(api.json("POST /v1/query", &body).await), named, "{body}");
    }
    let pattern = api.get("/v1/all?streamPattern=(").await.refused(400, "invalid");
    assert!(pattern["detail"].as_str().unwrap().contains("regular expression"), "{pattern}");
}

async fn the_head_and_the_features_are_told(scene: Scene) {
    let api = Api::of(&scene);
    let head = api.get("/v1/head").await.done();
    assert_eq!(head["position"], 0);
    head["incarnation"].as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    let store = api.get("/v1/store").await.done();
    assert!(store["features"].as_array().unwrap().contains(&json!("append conditions")));
    assert_eq!(store["limits"]["eventBytesMax"], 16 << 20);
}
