//! Commands as mutations.

use gesta::store::ReadAll;
use serde_json::json;

use crate::Client;

const LEND: &str = "mutation Lend($key: String, $revision: Long, $to: String!) {
    lendBook(book: \"emma\", input: { to: $to },
        idempotencyKey: $key, expectedRevision: $revision) {
        __typename
        ... on Changed { revision position recorded }
        ... on Rejection { code message }
    }
}";

#[tokio::test]
async fn a_command_answers_with_its_position_and_revision() {
    let client = Client::new().await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) {
        __typename ... on Created { id location revision position recorded } } }";
    let added = client.ok(add).await;
    let created = json!({
        "__typename": "Created", "id": "emma", "location": "/books/emma", "revision": 0,
        "position": 1, "recorded": "now",
    });
    assert_eq!(added["data"]["addBook"], created);
    assert_eq!(added["extensions"]["position"], 1);
}

#[tokio::test]
async fn a_rejection_is_a_member_of_the_result_with_its_code() {
    let client = Client::new().await;
    client.add("emma").await;
    let lent = client.ask(LEND, json!({ "to": "ann" }), &[]).await.json;
    assert_eq!(lent["data"]["lendBook"]["__typename"], "Changed");
    let refused = client.ask(LEND, json!({ "to": "bob" }), &[]).await.json;
    let rejection = json!({
        "__typename": "BookLent", "code": "book-lent", "message": "the book is lent to ann",
    });
    assert_eq!(refused["data"]["lendBook"], rejection);
    assert!(refused.get("errors").is_none(), "{refused}");
}

#[tokio::test]
async fn a_rejection_that_the_route_does_not_list_is_another_rejection() {
    let client = Client::new().await;
    let burn = "mutation { burnBook(book: \"emma\") { __typename ... on Rejection { code } } }";
    let burnt = client.ok(burn).await["data"]["burnBook"].clone();
    assert_eq!(burnt, json!({ "__typename": "OtherRejection", "code": "never" }));
}

#[tokio::test]
async fn an_error_has_the_code_and_the_status_of_the_http_interface() {
    let client = Client::new().await;
    let answer = client.ask(LEND, json!({ "to": "ann" }), &[]).await.json;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "not-found");
    assert_eq!(error["extensions"]["status"], 404);
    assert_eq!(error["path"], json!(["lendBook"]));
    assert_eq!(answer["data"], json!({ "lendBook": null }));
    client.add("emma").await;
    let again = "mutation { addBook(input: { book: \"emma\", title: \"\" }) { __typename } }";
    assert_eq!(client.error(again).await["extensions"]["code"], "already-exists");
}

#[tokio::test]
async fn an_expected_revision_is_compared() {
    let client = Client::new().await;
    client.add("emma").await;
    let answer = client.ask(LEND, json!({ "to": "ann", "revision": 7 }), &[]).await.json;
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "revision-mismatch");
    assert_eq!(extensions["revision"], 0, "the current one");
    let answer = client.ask(LEND, json!({ "to": "ann", "revision": "0" }), &[]).await.json;
    assert_eq!(answer["data"]["lendBook"]["revision"], 1);
}

#[tokio::test]
async fn a_repeat_with_the_same_key_takes_effect_once_at_either_interface() {
    let client = Client::new().await;
    client.add("emma").await;
    let key = json!({ "to": "ann", "key": "k1" });
    let first = client.ask(LEND, key.clone(), &[]).await.json["data"]["lendBook"].clone();
    let again = client.ask(LEND, key, &[]).await.json["data"]["lendBook"].clone();
    assert_eq!((&first["recorded"], &again["recorded"]), (&json!("now"), &json!("earlier")));
    let by_header = client.ask(LEND, json!({ "to": "ann" }), &[("idempotency-key", "k1")]).await;
    assert_eq!(by_header.json["data"]["lendBook"]["recorded"], "earlier");
    let over_http = axum::http::Request::post("/books/emma/lend")
        .header("content-type", "application/json")
        .header("idempotency-key", "k1")
        .body("{\"to\":\"ann\"}".into())
        .unwrap();
    let over_http = client.send(over_http).await;
    assert_eq!(over_http.headers["gesta-recorded"], "earlier");
    let events = client.state.gesta().store().read_all(ReadAll::forwards());
    assert_eq!(events.collect_events().await.unwrap().len(), 2);
}

#[tokio::test]
async fn several_commands_are_executed_in_order_and_cannot_share_a_key() {
    let client = Client::new().await;
    let both = "mutation {
        a: addBook(input: { book: \"emma\", title: \"Emma\" }) { ... on Created { position } }
        b: lendBook(book: \"emma\", input: { to: \"ann\" }) { ... on Changed { position } }
    }";
    let answer = client.ask(both, json!({}), &[("idempotency-key", "k1")]).await.json;
    assert_eq!(answer["errors"][0]["extensions"]["field"], "idempotency-key");
    assert_eq!(answer["data"], json!({ "a": null, "b": null }));
    let answer = client.ok(both).await;
    assert_eq!(answer["data"]["b"]["position"], 2);
    assert_eq!(answer["extensions"]["position"], 2, "of the last one");
}

#[tokio::test]
async fn events_have_the_correlation_id_and_the_key_of_their_request() {
    let client = Client::new().await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    let headers = [("x-correlation-id", "c1"), ("idempotency-key", "k1")];
    let answer = client.ask(add, json!({}), &headers).await;
    assert_eq!(answer.headers["x-correlation-id"], "c1");
    let events = client.state.gesta().store().read_all(ReadAll::forwards());
    let events = events.collect_events().await.unwrap();
    assert_eq!(events[0].correlation_id.as_ref().unwrap().as_str(), "c1");
    assert_eq!(events[0].causation_id.as_ref().unwrap().as_str(), "k1");
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let client = Client::new().await;
    let add = "mutation { addBook(input: { book: \"emma\", title: \"Emma\" }) { __typename } }";
    let headers = [("origin", "https://evil.example"), ("host", "library.example")];
    let answer = client.ask(add, json!({}), &headers).await;
    assert_eq!((answer.status, &answer.json["code"]), (403, &json!("cross-site")));
}

#[tokio::test]
async fn operations_without_an_answer_say_whether_they_are_done() {
    let client = Client::new().await;
    let rebuild = "mutation { rebuildProjection(name: \"books\") { ... on Done { done } } }";
    assert_eq!(client.ok(rebuild).await["data"]["rebuildProjection"]["done"], false);
}

#[tokio::test]
async fn an_expected_revision_below_zero_is_no_revision_of_anything() {
    let client = Client::new().await;
    client.add("emma").await;
    for revision in ["-1", "-9223372036854775808"] {
        let variables = json!({ "to": "ann", "revision": revision });
        let answer = client.ask(LEND, variables, &[]).await.json;
        assert_eq!(answer["errors"][0]["extensions"]["status"], 412, "{answer}");
    }
    assert_eq!(client.ask(LEND, json!({ "to": "ann" }), &[]).await.json.get("errors"), None);
}
