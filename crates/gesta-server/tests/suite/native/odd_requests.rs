//! Requests that are refused before an endpoint sees them, and bodies that are not what they
//! should be.

use serde_json::json;

use super::http_client::{Api, JSON};
use crate::{
    endpoints::LOCAL,
    scene::{Scene, scenarios},
};

scenarios!(
    unknown_paths_and_methods_are_told_apart,
    a_body_has_to_be_json,
    a_wrong_field_of_a_body_is_named_by_its_path,
    pages_of_other_sites_and_foreign_names_are_refused,
    names_are_percent_encoded,
);

async fn unknown_paths_and_methods_are_told_apart(scene: Scene) {
    let api = Api::of(&scene);
    api.get("/v1/nothing").await.refused(404, "no-such-route");
    api.get("/v1/streams/a/b/c").await.refused(404, "no-such-route");
    let refused = api.delete("/v1/head").await;
    assert_eq!(refused.header("allow"), Some("get,head"));
    refused.refused(405, "method-not-allowed");
    let head = api.send("HEAD /v1/head", "", b"").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

async fn a_body_has_to_be_json(scene: Scene) {
    let api = Api::of(&scene);
    let body = br#"{"streams":[{"stream":"s-1"}]}"#;
    let line = "POST /v1/append";
    for headers in
        ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"]
    {
        api.send(line, headers, body).await.refused(415, "unsupported-media-type");
    }
    let coded = format!("{JSON}content-encoding: gzip\r\n");
    api.send(line, &coded, body).await.refused(415, "unsupported-media-type");
    api.send(line, JSON, body).await.done();
    for body in [&b""[..], b"{", b"\xFF", b"{} {}", b"[]"] {
        api.send(line, JSON, body).await.refused(400, "invalid");
    }
}

async fn a_wrong_field_of_a_body_is_named_by_its_path(scene: Scene) {
    let api = Api::of(&scene);
    let one = |event: serde_json::Value| json!({ "streams": [{ "stream": "s-1", "events": [{ "type": "a" }, event] }] });
    for (body, field) in [
        (one(json!({ "type": "" })), "streams[0].events[1].type"),
        (one(json!({ "type": 3 })), "streams[0].events[1].type"),
        (one(json!({ "type": "a", "tags": ["x", "a\nb"] })), "streams[0].events[1].tags[1]"),
        (one(json!({ "type": "a", "date": 1 })), "streams[0].events[1].date"),
        (
            json!({ "streams": [{ "stream": "order-", "events": [{ "type": "a" }] }] }),
            "streams[0].stream",
        ),
        (json!({ "streams": [{ "stream": "s-1", "expected": "none" }] }), "streams[0].expected"),
        (json!({ "streams": [] }), "streams"),
        (json!({ "streams": [{ "stream": "s-1" }], "condition": {} }), "condition.noneMatching"),
    ] {
        let refused = api.append(&body).await.refused(400, "invalid");
        assert_eq!(refused["field"], field, "{refused}");
    }
    assert_eq!(api.get("/v1/head").await.done()["position"], 0);
}

async fn pages_of_other_sites_and_foreign_names_are_refused(scene: Scene) {
    let api = Api::of(&scene);
    let from = async |headers: &str| api.send("GET /v1/head", headers, b"").await;
    from("origin: https://evil.example\r\n").await.refused(403, "cross-site");
    from("origin: http://localhost:3000\r\n").await.refused(403, "cross-site");
    from("origin: http://localhost:2113\r\n").await.done();
    from("sec-fetch-site: cross-site\r\n").await.done();
    let delete = "DELETE /v1/streams/s-1";
    let sent = api.send(delete, "sec-fetch-site: cross-site\r\n", b"").await;
    sent.refused(403, "cross-site");
    // Other endpoints are protected alike.
    let stats = api.send("GET /stats", "origin: https://evil.example\r\n", b"").await;
    assert_eq!(stats.status, 403);
    let foreign = LOCAL.replace("localhost", "evil.example");
    let stream = api.connect().await;
    let sent = super::http_client::send_over(stream, "GET /v1/head", &foreign, b"").await;
    sent.refused(403, "foreign-host");
}

async fn names_are_percent_encoded(scene: Scene) {
    let api = Api::of(&scene);
    for (name, path) in
        [("a/b", "a%2Fb"), ("größe 1", "gr%C3%B6%C3%9Fe%201"), ("a?b#c", "a%3Fb%23c")]
    {
        api.grow(name, "happened", &[]).await;
        let page = api.get(&format!("/v1/streams/{path}")).await.done();
        assert_eq!(page["stream"], name);
    }
    api.get("/v1/streams/%FF").await.refused(400, "invalid");
    api.get(&format!("/v1/streams/{}", "x".repeat(1_027))).await.refused(400, "invalid");
}
