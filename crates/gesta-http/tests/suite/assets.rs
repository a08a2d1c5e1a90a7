//! Files of a program: their cache headers, tags and compression.

use std::convert::Infallible;

use axum::{
    Router,
    body::{Body, HttpBody as _},
    http::Request,
    response::Response,
    routing::get,
};
use gesta_http::{Asset, HttpRules};
use tower::ServiceExt as _;

use crate::{api, state};

async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_browser_that_has_a_file_is_told_so() {
    let router = api().router(state().await);
    for path in ["/docs", "/docs/swagger-ui.css", "/docs/start.js", "/openapi.json"] {
        let first = ask(&router, path, &[]).await;
        assert_eq!(first.status(), 200, "{path}");
        assert_eq!(first.headers()["cache-control"], "no-cache", "{path}");
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        for known in [tag.as_str(), tag.trim_start_matches("W/"), "*"] {
            let again = ask(&router, path, &[("if-none-match", known)]).await;
            assert_eq!(again.status(), 304, "{path}: {known}");
            assert_eq!(again.headers()["etag"], tag.as_str());
            assert!(!again.headers().contains_key("content-type"), "{path}");
        }
        let other = ask(&router, path, &[("if-none-match", "W/\"other\"")]).await;
        assert_eq!(other.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_file_is_compressed_as_the_client_accepts_and_keeps_its_tag() {
    let router = api().router(state().await);
    let plain = ask(&router, "/docs/swagger-ui.css", &[]).await;
    for (accepted, coding) in [
        ("br", Some("br")),
        ("gzip", Some("gzip")),
        ("gzip, br", Some("br")),
        ("br;q=0, gzip", Some("gzip")),
        ("deflate", None),
    ] {
        let answer = ask(&router, "/docs/swagger-ui.css", &[("accept-encoding", accepted)]).await;
        let got = answer.headers().get("content-encoding").map(|it| it.to_str().unwrap());
        assert_eq!(got, coding, "{accepted}");
        assert_eq!(answer.headers()["etag"], plain.headers()["etag"], "{accepted}");
    }
    let small = ask(&router, "/docs/start.js", &[("accept-encoding", "br, gzip")]).await;
    assert!(!small.headers().contains_key("content-encoding"), "it fits into one packet");
}

#[tokio::test]
async fn a_response_of_a_handler_is_compressed_as_a_whole() {
    let state = state().await;
    let router = Router::new().route("/long", get(async || "long ".repeat(1_000)));
    let router = router.layer(HttpRules::new(&state));
    for coding in ["br", "gzip"] {
        let answer = ask(&router, "/long", &[("accept-encoding", coding)]).await;
        assert_eq!(answer.headers()["content-encoding"], coding);
        assert_eq!(answer.headers()["vary"], "accept-encoding");
        // The encoder is gone: what waits for the client is bytes.
        let bytes = answer.body().size_hint().exact();
        assert!(bytes.is_some_and(|bytes| bytes < 500), "{coding}: {bytes:?}");
    }
}

#[tokio::test]
async fn an_encoding_of_a_handler_stays() {
    let endless = async || {
        let parts = futures_util::stream::repeat(Ok::<_, Infallible>("x"));
        ([("content-encoding", "x-own")], Body::from_stream(parts))
    };
    let state = state().await;
    let router = Router::new().route("/endless", get(endless)).layer(HttpRules::new(&state));
    let answer = ask(&router, "/endless", &[("accept-encoding", "br, gzip")]).await;
    assert_eq!(answer.headers()["content-encoding"], "x-own");
}

#[tokio::test]
async fn a_feed_is_not_compressed() {
    let router = api().router(state().await);
    let feed = ask(&router, "/v1/events", &[("accept-encoding", "br, gzip")]).await;
    assert!(!feed.headers().contains_key("content-encoding"), "{:?}", feed.headers());
}

#[tokio::test]
async fn a_file_of_the_application_has_a_tag_of_its_content() {
    let state = state().await;
    let of = |text: &'static str| {
        let asset = Asset::new("text/css", text);
        let router = Router::new().route("/style.css", get(async move || asset.clone()));
        router.layer(HttpRules::new(&state))
    };
    let tags = [of("a {}"), of("a {}"), of("b {}")].map(|router| async move {
        ask(&router, "/style.css", &[]).await.headers()["etag"].clone()
    });
    let [first, same, other] = tags;
    let (first, same, other) = (first.await, same.await, other.await);
    assert_eq!(first, same);
    assert_ne!(first, other);
}
