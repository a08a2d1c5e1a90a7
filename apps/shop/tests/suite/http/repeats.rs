//! Repeated requests.

use gesta::{CommandIdScope, EventId, store::ReadAll};
use gesta_http::Problem;
use serde_json::json;
use shop::{id::UserId, users::CreateUser};

use super::{Client, ann, mug, order};
use crate::opened;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_takes_effect_once_and_is_answered_alike() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    let place = || {
        let items = json!([{ "productId": "mug", "quantity": 4 }]);
        client.post("/v1/orders", json!({ "orderItems": items })).header("idempotency-key", "k1")
    };
    let first = place().ok().await;
    // The state that a repeated request would be decided on has changed.
    client.put("/v1/products/mug", json!({ "name": "Mug", "price": "9" })).ok().await;
    let again = place().ok().await;
    assert_eq!((first.status, &first.json), (again.status, &again.json));
    for header in ["location", "etag", "gesta-position"] {
        assert_eq!(first.header(header), again.header(header));
    }
    assert_eq!(first.header("gesta-recorded"), "now");
    assert_eq!(again.header("gesta-recorded"), "earlier");
    let id = first.json["id"].as_str().unwrap();
    assert_eq!(first.header("location"), format!("/v1/orders/{id}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_again_with_another_body_is_refused() {
    let client = Client::new().await;
    let create = |name: &str| {
        let user = json!({ "userId": "ann", "firstName": name, "lastName": "Lee" });
        client.post("/v1/users", user).header("idempotency-key", "k1")
    };
    create("Ann").ok().await;
    assert_eq!(create("Anna").send().await.problem(), (409, "command-id-reused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operations_with_one_key_are_two_commands() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).header("idempotency-key", "k1").ok().await;
    client.post("/v1/products", mug()).header("idempotency-key", "k1").ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_actors_with_one_key_are_two_commands() {
    let client = Client::at(opened::in_memory().await, |edge| {
        edge.actor(|parts: &axum::http::request::Parts| {
            let name = parts.headers.get("x-actor").and_then(|value| value.to_str().ok());
            Ok::<_, Problem>(name.unwrap_or("nobody").to_owned())
        })
    });
    let create = |actor: &str| {
        let user = json!({ "firstName": "Kim", "lastName": "Lee" });
        client.post("/v1/users", user).header("idempotency-key", "k1").header("x-actor", actor)
    };
    let (ann, bob) = (create("ann").ok().await, create("bob").ok().await);
    assert_ne!(ann.json["id"], bob.json["id"]);
    assert_eq!(create("ann").ok().await.json["id"], ann.json["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_version_before_is_still_known() {
    let client = Client::new().await;
    let user_id = UserId::from(EventId::derived_from("k1", u64::MAX).as_uuid());
    let create = CreateUser {
        user_id: user_id.clone(),
        first_name: "Kim".to_owned(),
        last_name: "Lee".to_owned(),
        email: None,
    };
    let create = client.shop.execute(create).command_id("k1").actor("anonymous");
    let before = create.scope(CommandIdScope::Store).await.unwrap();
    let user = json!({ "firstName": "Kim", "lastName": "Lee" });
    let again = client.post("/v1/users", user).header("idempotency-key", "k1").ok().await;
    assert_eq!(again.position(), before.position.number());
    assert_eq!(again.json["id"], user_id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_repeat_the_first_conversation_stays() {
    let client = Client::new().await;
    for conversation in ["c1", "c2"] {
        let create = client.post("/v1/users", ann()).header("idempotency-key", "k1");
        let created = create.header("x-correlation-id", conversation).ok().await;
        assert_eq!(created.header("x-correlation-id"), conversation, "of the request");
    }
    let all = client.shop.store().read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let conversations: Vec<_> =
        all.iter().map(|event| event.correlation_id.as_ref().unwrap().as_str()).collect();
    assert_eq!(conversations, ["c1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_one_spelling_with_quotes_and_one_without() {
    let client = Client::new().await;
    let create = || client.post("/v1/users", json!({ "firstName": "Kim", "lastName": "Lee" }));
    let bare = create().header("idempotency-key", "k1").ok().await;
    let quoted = create().header("idempotency-key", "\"k1\"").ok().await;
    assert_eq!(bare.json["id"], quoted.json["id"], "the IETF's draft quotes it");
    let longest = "k".repeat(255);
    create().header("idempotency-key", &longest).ok().await;
    let long = "k".repeat(256);
    for odd in ["", "a b", "\"k1", "\"\"", long.as_str()] {
        let answer = create().header("idempotency-key", odd).send().await;
        assert_eq!(answer.field(), (400, "Idempotency-Key"), "{odd}");
    }
    let twice = create().header("idempotency-key", "k1").header("idempotency-key", "k2");
    assert_eq!(twice.send().await.field(), (400, "Idempotency-Key"));
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
