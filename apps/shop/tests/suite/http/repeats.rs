//! Requests that come again.

use serde_json::json;

use super::{Client, ann, mug, order};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_takes_effect_once_and_is_answered_alike() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    let place = || {
        let items = json!([{ "productId": "mug", "quantity": 4 }]);
        client.post("/v1/orders", json!({ "orderItems": items })).header("idempotency-key", "k1")
    };
    let first = place().ok().await;
    // What a repeat would be judged by has changed meanwhile.
    client.put("/v1/products/mug", json!({ "name": "Mug", "price": "9" })).ok().await;
    let again = place().ok().await;
    assert_eq!((first.status, &first.json), (again.status, &again.json));
    for header in ["location", "etag", "gesta-position"] {
        assert_eq!(first.header(header), again.header(header));
    }
    let id = first.json["id"].as_str().unwrap();
    assert_eq!(first.header("location"), format!("/v1/orders/{id}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_of_one_command_only() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).header("idempotency-key", "k1").ok().await;
    let other = client.post("/v1/products", mug()).header("idempotency-key", "k1").send().await;
    assert_eq!(other.problem(), (409, "command-id-reused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_created_again() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    client.post("/v1/orders", order("1")).ok().await;
    for (path, body) in [("/v1/products", mug()), ("/v1/orders", order("1"))] {
        let again = client.post(path, body).send().await;
        assert_eq!(again.problem(), (409, "already-exists"), "{path}");
    }
}
