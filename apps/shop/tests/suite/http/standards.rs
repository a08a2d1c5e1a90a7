//! HTTP standards: conditional requests, unusual paths, origins, future positions.

use axum::http::Method;
use gesta::{
    StreamName,
    store::{ExpectedRevision, TombstoneStream},
};
use serde_json::json;

use super::{Client, account, ann, deposit, mug, order};
use crate::opened;

fn named(name: &str) -> serde_json::Value {
    json!({ "firstName": name, "lastName": "Lee" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_if_any_of_the_strong_tags_matches() {
    let client = Client::new().await;
    let created = client.post("/v1/users", ann()).ok().await;
    let etag = created.header("etag");
    let change =
        |name: &str, tags: &str| client.put("/v1/users/ann", named(name)).header("if-match", tags);
    for never in [
        format!("W/{etag}"),
        "W/\"0\"".to_owned(),
        format!("{}-gzip\"", etag.trim_end_matches('"')),
        "\"0-00000000\"".to_owned(),
        "\"6\", \"7\"".to_owned(),
        "\"something else\"".replace(' ', "-"),
    ] {
        let answer = change("Anna", &never).send().await;
        assert_eq!(answer.problem(), (412, "revision-mismatch"), "{never}");
    }
    change("Anna", &format!("\"7\", W/\"8\", {etag}")).ok().await;
    change("Anne", "\"0\", \"1\"").ok().await;
    change("Anni", "*").ok().await;
    let twice = client.put("/v1/users/ann", named("Anka")).header("if-match", "\"9\"");
    twice.header("if-match", "\"3\"").ok().await;
    for odd in ["3", "\"3", "\"3\" \"4\"", "*, \"3\"", "w/\"3\""] {
        assert_eq!(change("Ann", odd).send().await.field(), (400, "If-Match"), "{odd}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_on_what_is_not_there_fails() {
    let client = Client::new().await;
    for tags in ["*", "\"0\"", "W/\"0\""] {
        let change = client.put("/v1/users/nobody", named("Ann")).header("if-match", tags);
        assert_eq!(change.send().await.status, 412, "{tags}");
        let create = client.post("/v1/users", ann()).header("if-match", tags);
        assert_eq!(create.send().await.problem(), (412, "precondition-failed"), "{tags}");
    }
    let create = || client.post("/v1/users", ann()).header("if-none-match", "*");
    create().ok().await;
    assert_eq!(create().send().await.problem(), (412, "precondition-failed"));
    let without = client.post("/v1/users", ann()).send().await;
    assert_eq!(without.problem(), (409, "already-exists"));
    let change = client.put("/v1/users/ann", named("Ann")).header("if-none-match", "*");
    assert_eq!(change.send().await.problem(), (412, "precondition-failed"));
    let change = client.put("/v1/users/ann", named("Anna")).header("if-none-match", "\"7\"");
    change.ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_with_if_match_of_what_is_not_there_fails() {
    let client = Client::new().await;
    for path in [
        "/v1/users/nobody",
        "/v1/products/nothing",
        "/v1/orders/nothing",
        "/v1/orders/nothing/history",
        "/v1/accounts/nobody",
        "/v1/processes/nobody",
    ] {
        assert_eq!(client.get(path).send().await.problem(), (404, "not-found"), "{path}");
        for tags in ["*", "\"0\"", "W/\"0\""] {
            let answer = client.get(path).header("if-match", tags).send().await;
            assert_eq!(answer.problem(), (412, "precondition-failed"), "{path} {tags}");
        }
        assert_eq!(client.get(path).header("if-none-match", "*").send().await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tombstoned_is_neither_created_nor_changed() {
    let client = Client::new().await;
    client.post("/v1/users", ann()).ok().await;
    client.post("/v1/accounts", account("a", "GBP")).ok().await;
    client.post("/v1/accounts", account("b", "GBP")).ok().await;
    client.post("/v1/accounts/a/deposit", deposit("8")).ok().await;
    for stream in ["user-ann", "account-b"] {
        let stream = StreamName::new(stream).unwrap();
        let tombstone = TombstoneStream::new(stream, ExpectedRevision::Any);
        client.shop.store().tombstone_stream(tombstone).await.unwrap();
    }
    let created = client.post("/v1/users", ann()).send().await;
    assert_eq!(created.problem(), (409, "tombstoned"));
    assert!(created.json["detail"].as_str().unwrap().contains("user-ann"), "{created:?}");
    let transfer = json!({ "from": "a", "to": "b", "amount": "1", "reference": "rent" });
    let moved = client.post("/v1/transfers", transfer).send().await;
    assert_eq!(moved.problem(), (409, "tombstoned"), "{moved:?}");
    let changed = || client.put("/v1/users/ann", named("Anna"));
    assert_eq!(changed().send().await.problem(), (404, "deleted"));
    let wanted = changed().header("if-match", "*").send().await;
    assert_eq!(wanted.problem(), (412, "precondition-failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_answer_already_is_told_so_in_few_bytes() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    client.post("/v1/orders", order("1")).ok().await;
    let shown = client.get("/v1/orders/1").ok().await;
    let etag = shown.header("etag").to_owned();
    let ask = |tags: &str| client.get("/v1/orders/1").header("if-none-match", tags);
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer = ask(&known).send().await;
        assert_eq!((answer.status, answer.header("etag")), (304, etag.as_str()), "{known}");
        assert!(answer.json.is_null() && !answer.headers.contains_key("content-type"));
        assert!(answer.headers.contains_key("gesta-position"));
    }
    client.post("/v1/orders/1/pay", json!({ "method": "invoice" })).ok().await;
    assert_eq!(ask(&etag).ok().await.json["status"], "paid");
    assert_eq!(ask("\"0-00000000\"").ok().await.status, 200, "of another incarnation");
    assert_eq!(ask("paid").send().await.field(), (400, "If-None-Match"));
    let elsewhere = client.get("/v1/orders/1").header("if-match", &etag).send().await;
    assert_eq!(elsewhere.problem(), (412, "precondition-failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_paths_are_what_they_unescape_to() {
    let client = Client::new().await;
    let product = json!({ "productId": "a/b %2F", "name": "Mug", "price": "1" });
    let created = client.post("/v1/products", product).ok().await;
    assert_eq!(created.header("location"), "/v1/products/a%2Fb%20%252F");
    let path = "/v1/products/a%2Fb%20%252F";
    client.put(path, json!({ "name": "Cup", "price": "1" })).ok().await;
    for odd in ["%00", "a%00b", "%2F", "%0A", "%C3%A9", "%FF"] {
        let answer = client.get(&format!("/v1/products/{odd}")).send().await;
        assert_eq!(answer.status, 400, "{odd}: {answer:?}");
        assert!(["code", "path"].contains(&answer.field().1), "{odd}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_allowed_origin_read_what_they_need() {
    let page = "https://shop.example";
    let allowed = [page.parse().unwrap()];
    let client = Client::at(opened::in_memory().await, |edge| edge.allow_origins(allowed));
    let ask = |origin: &'static str| {
        let asking = client.ask(Method::OPTIONS, "/v1/users").header("origin", origin);
        let asking = asking.header("access-control-request-method", "POST");
        asking.header("access-control-request-headers", "content-type,idempotency-key")
    };
    let preflight = client.raw(ask(page).into_request()).await;
    assert_eq!(preflight.status(), 204);
    let header = |name: &str| preflight.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-origin"), page);
    assert!(header("access-control-allow-methods").contains("POST"));
    assert_eq!(header("access-control-allow-headers"), "content-type,idempotency-key");
    assert_eq!(header("vary"), "Origin");

    let created = client.post("/v1/users", ann()).header("origin", page).ok().await;
    assert_eq!(created.header("access-control-allow-origin"), page);
    for exposed in ["ETag", "Location", "Gesta-Position", "Gesta-Recorded"] {
        assert!(created.header("access-control-expose-headers").contains(exposed), "{exposed}");
    }
    let refused = client.get("/v1/nowhere").header("origin", page).send().await;
    assert_eq!(refused.header("access-control-allow-origin"), page, "problems are read, too");
    let feed = client.get("/v1/events").header("origin", page).into_request();
    let feed = client.raw(feed).await;
    assert_eq!(feed.headers()["access-control-allow-origin"], page);

    let stranger = client.get("/v1/users").header("origin", "https://evil.example").ok().await;
    assert!(!stranger.headers.contains_key("access-control-allow-origin"));
    assert_eq!(ask("https://evil.example").send().await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_allowed_origins_no_page_of_another_origin_reads_anything() {
    let client = Client::new().await;
    let asking = client.ask(Method::OPTIONS, "/v1/users").header("origin", "http://x");
    let asking = asking.header("access-control-request-method", "POST");
    assert_eq!(asking.send().await.problem(), (405, "method-not-allowed"));
    let answer = client.get("/v1/users").header("origin", "http://x").ok().await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_has_not_come_is_told_with_the_head() {
    let client = Client::new().await;
    client.post("/v1/products", mug()).ok().await;
    let placed = client.post("/v1/orders", order("1")).ok().await;
    let at = |moment: &str| client.get(&format!("/v1/orders/1?at={moment}"));
    let beyond = at("revision:99").send().await;
    assert_eq!(beyond.problem(), (412, "revision-beyond-head"));
    assert_eq!(beyond.json["revision"], 0, "where the head is");
    let beyond = at("position:99").send().await;
    assert_eq!(beyond.problem(), (412, "position-beyond-head"));
    assert!(beyond.json["detail"].as_str().unwrap().contains(&placed.position().to_string()));
    let future = at("8999-01-01T00:00:00Z").send().await;
    assert_eq!(future.problem(), (412, "time-in-future"));
    let unescaped = at("2011-01-31T12:00:00+01:00").send().await;
    assert_eq!(unescaped.field(), (400, "at"));
    assert!(unescaped.json["detail"].as_str().unwrap().contains("%2B"), "{unescaped:?}");
    let escaped = at("2011-01-31T12:00:00%2B01:00").send().await;
    assert_eq!(escaped.problem(), (404, "not-found"), "it was not there then");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_does_not_wait_for_a_position_that_was_never_given_out() {
    let client = Client::new().await;
    let resumed = client.get("/v1/events").header("last-event-id", 99).send().await;
    assert_eq!(resumed.problem(), (412, "position-beyond-head"));
    let after = client.get("/v1/events?after=99").send().await;
    assert_eq!(after.problem(), (412, "position-beyond-head"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wrong_fields_of_a_body_or_a_query_are_told() {
    let client = Client::new().await;
    let order = json!({
        "orderId": "", "orderItems": [
            { "productId": "mug", "quantity": 0 }, { "quantity": 1, "unitPrice": "cheap" },
        ], "colour": "red",
    });
    let answer = client.post("/v1/orders", order).send().await;
    let fields = |answer: &super::Answer| {
        let errors = answer.json["errors"].as_array().unwrap();
        let mut fields: Vec<_> =
            errors.iter().map(|it| it["field"].as_str().unwrap().to_owned()).collect();
        fields.sort();
        fields
    };
    assert_eq!(
        fields(&answer),
        [
            "colour",
            "orderId",
            "orderItems[0].quantity",
            "orderItems[1].productId",
            "orderItems[1].unitPrice",
        ]
    );
    let answer = client.get("/v1/orders?status=lost&limit=0&color=red").send().await;
    assert_eq!(fields(&answer), ["color", "limit", "status"]);
}
