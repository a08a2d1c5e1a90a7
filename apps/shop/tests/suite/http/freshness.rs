//! Positions and revisions in requests and responses.

use serde_json::json;

use super::{Client, ann, mug};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_with_the_position_of_a_command_shows_what_it_did() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    for price in 1..=100 {
        let change = json!({ "name": "Mug", "price": price });
        let changed = client.put("/v1/products/mug", change).ok().await;
        let asking = client.get("/v1/products/mug");
        let shown = asking.header("gesta-position", changed.position()).ok().await;
        assert_eq!(shown.json["price"], price.to_string());
        assert!(shown.position() >= changed.position());
        assert_eq!(shown.header("etag"), changed.header("etag"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_only_at_the_revision_that_was_seen() {
    let client = Client::new().await;
    let created = client.post("/v1/users", ann()).ok().await;
    assert_eq!(created.header("location"), "/v1/users/ann");
    let seen = created.header("etag").to_owned();
    let change = |name: &str| json!({ "firstName": name, "lastName": "Lee" });

    let first = client.put("/v1/users/ann", change("Anna")).header("if-match", &seen).ok().await;
    assert_eq!((first.status, &first.json["revision"]), (200, &json!(1)));
    let late = client.put("/v1/users/ann", change("Anne")).header("if-match", &seen).send().await;
    assert_eq!(late.problem(), (412, "revision-mismatch"));
    assert_eq!(late.json["revision"], 1, "says where it is");

    let seen = first.header("etag").to_owned();
    let same = client.put("/v1/users/ann", change("Anna")).header("if-match", &seen).ok().await;
    assert_eq!(same.json["revision"], 1, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revision_of_an_answer_is_that_of_all_that_happened() {
    let client = Client::new().await;
    client.post("/v1/accounts", json!({ "accountId": "a", "currency": "GBP" })).ok().await;
    let deposit = json!({ "amount": 5, "reference": "r" });
    let changed = client.post("/v1/accounts/a/deposit", deposit).ok().await;
    let asking = client.get("/v1/accounts/a").header("gesta-position", changed.position());
    let account = asking.ok().await;
    assert_eq!(account.tagged_revision(), 1);
    assert_eq!(account.json, json!({ "accountId": "a", "currency": "GBP", "balance": "5" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_keeps_its_id_or_is_given_one() {
    let client = Client::new().await;
    let named = client.get("/v1/users").header("x-correlation-id", "c1").ok().await;
    assert_eq!(named.header("x-correlation-id"), "c1");
    let nameless = client.get("/v1/nowhere").send().await;
    assert_eq!(nameless.header("x-correlation-id").len(), 36);
}
