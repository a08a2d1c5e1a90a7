//! Names, categories, metadata and deletions of streams.

use serde_json::{Value, json};

use super::http_client::Api;
use crate::scene::{Scene, scenarios};

scenarios!(
    names_of_streams_and_categories_are_listed_page_by_page,
    a_category_is_listed_as_long_as_it_has_a_stream_that_is_not_deleted,
    metadata_are_set_read_and_in_force,
    metadata_that_cannot_be_read_are_refused,
    a_deletion_may_expect_a_revision_and_a_missing_stream_is_not_deleted,
);

async fn names_of_streams_and_categories_are_listed_page_by_page(scene: Scene) {
    let api = Api::of(&scene);
    for stream in ["order-2", "order-1", "account-1", "settings", "order-3"] {
        api.grow(stream, "happened", &[]).await;
    }
    api.delete("/v1/streams/order-3").await.done();
    let page = async |path: &str| {
        let page = api.get(path).await.done();
        (page["names"].clone(), page["next"].clone())
    };
    let first = page("/v1/streams?limit=2").await;
    assert_eq!(first, (json!(["account-1", "order-1"]), json!("order-1")));
    let rest = page("/v1/streams?limit=2&after=order-1").await;
    assert_eq!(rest, (json!(["order-2", "settings"]), Value::Null));
    let orders = page("/v1/streams?prefix=order-").await;
    assert_eq!(orders, (json!(["order-1", "order-2"]), Value::Null));
    let system = page("/v1/streams?prefix=%24%24").await;
    assert_eq!(system, (json!(["$$order-3"]), Value::Null));
    let categories = page("/v1/categories?limit=1").await;
    assert_eq!(categories, (json!(["account"]), json!("account")));
    let rest = page("/v1/categories?after=account").await;
    assert_eq!(rest, (json!(["order"]), Value::Null));
}

async fn a_category_is_listed_as_long_as_it_has_a_stream_that_is_not_deleted(scene: Scene) {
    let api = Api::of(&scene);
    for stream in ["a-1", "b-1", "b-2", "bb-1", "c-1", "d-1"] {
        api.grow(stream, "happened", &[]).await;
    }
    for stream in ["a-1", "b-1", "c-1?tombstone=true"] {
        api.delete(&format!("/v1/streams/{stream}")).await.done();
    }
    let page = async |path: &str| {
        let page = api.get(path).await.done();
        (page["names"].clone(), page["next"].clone())
    };
    assert_eq!(page("/v1/categories").await, (json!(["b", "bb", "d"]), Value::Null));
    assert_eq!(page("/v1/categories?limit=1").await, (json!(["b"]), json!("b")));
    api.delete("/v1/streams/b-2").await.done();
    assert_eq!(page("/v1/categories?limit=1").await, (json!(["bb"]), json!("bb")));
    api.grow("a-1", "happened", &[]).await;
    assert_eq!(page("/v1/categories").await, (json!(["a", "bb", "d"]), Value::Null));
}

async fn metadata_are_set_read_and_in_force(scene: Scene) {
    let api = Api::of(&scene);
    for _ in 0..3 {
        api.grow("s-1", "happened", &[]).await;
    }
    let described = api.get("/v1/streams/s-1/metadata").await.done();
    assert_eq!((&described["state"], &described["metadata"]), (&json!("live"), &json!({})));
    assert_eq!(described["metadataRevision"], Value::Null);
    let set = |expected: Value, count: u64| json!({ "metadata": { "$maxCount": count, "team": "sales" }, "expected": expected });
    let line = "PUT /v1/streams/s-1/metadata";
    api.json(line, &set("no-stream".into(), 1)).await.done();
    let conflict = api.json(line, &set("no-stream".into(), 2)).await.refused(409, "conflict");
    assert_eq!((&conflict["stream"], &conflict["revision"]), (&json!("$$s-1"), &json!(0)));
    api.json(line, &set(0.into(), 2)).await.done();
    let described = api.get("/v1/streams/s-1/metadata").await.done();
    assert_eq!(described["metadata"], json!({ "$maxCount": 2, "team": "sales" }));
    assert_eq!(described["metadataRevision"], 1);
    let page = api.get("/v1/streams/s-1").await.done();
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    api.delete("/v1/streams/s-1").await.done();
    assert_eq!(api.get("/v1/streams/s-1/metadata").await.done()["state"], "deleted");
    assert_eq!(api.get("/v1/streams/s-2/metadata").await.done()["state"], "missing");
}

async fn metadata_that_cannot_be_read_are_refused(scene: Scene) {
    let api = Api::of(&scene);
    for metadata in [json!([]), json!({ "$maxCount": 0 }), json!({ "$acl": { "$x": [] } })] {
        let body = json!({ "metadata": metadata });
        let refused = api.json("PUT /v1/streams/s-1/metadata", &body).await;
        assert_eq!(refused.refused(400, "invalid")["field"], "metadata", "{metadata}");
    }
    assert_eq!(api.get("/v1/head").await.done()["position"], 0);
}

async fn a_deletion_may_expect_a_revision_and_a_missing_stream_is_not_deleted(scene: Scene) {
    let api = Api::of(&scene);
    api.delete("/v1/streams/s-1").await.refused(404, "stream-not-found");
    api.grow("s-1", "happened", &[]).await;
    let conflict = api.delete("/v1/streams/s-1?expected=1").await.refused(409, "conflict");
    assert_eq!(conflict["revision"], 0);
    api.delete("/v1/streams/s-1?expected=zero").await.refused(400, "invalid");
    assert_eq!(api.delete("/v1/streams/s-1?expected=0").await.done(), json!({ "position": 2 }));
    // A name can be forbidden before it is used.
    api.delete("/v1/streams/s-2?tombstone=true&expected=no-stream").await.done();
    assert_eq!(api.get("/v1/streams/s-2/metadata").await.done()["state"], "tombstoned");
}
