//! Content codings of bodies, and `Expect`.

use std::io::{Read as _, Write as _};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{api, send, state};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn order(coding: &str, body: Vec<u8>) -> (u16, HeaderMap, Value) {
    let request = Request::post("/orders").header("content-type", "application/json");
    let request = request.header("content-encoding", coding).body(Body::from(body)).unwrap();
    send(api().router(state().await), request).await
}

#[tokio::test]
async fn a_body_in_gzip_is_read_as_what_it_inflates_to() {
    let body = br#"{"door": 7}"#;
    for coding in ["gzip", "GZIP", "x-gzip"] {
        let (status, headers, _) = order(coding, gzip(body)).await;
        assert_eq!((status, &headers["location"]), (201, &"/doors/7".parse().unwrap()), "{coding}");
    }
    assert_eq!(order("identity", body.to_vec()).await.0, 201);
    let halves = [gzip(&body[..4]), gzip(&body[4..])].concat();
    assert_eq!(order("gzip", halves).await.0, 201, "of several members");
}

#[tokio::test]
async fn a_coding_that_is_not_understood_is_refused_and_the_others_are_named() {
    for coding in ["br", "deflate", "zstd", "gzip, gzip", "compress"] {
        let (status, headers, problem) = order(coding, br#"{"door": 7}"#.to_vec()).await;
        assert_eq!((status, &problem["code"]), (415, &"unsupported-encoding".into()), "{coding}");
        assert_eq!(headers["accept-encoding"], "gzip, identity");
    }
}

#[tokio::test]
async fn a_body_that_is_not_gzip_as_declared_is_refused() {
    let whole = gzip(br#"{"door": 7}"#);
    let cut = whole[..whole.len() - 4].to_vec();
    for body in [br#"{"door": 7}"#.to_vec(), cut, Vec::new()] {
        let (status, _, problem) = order("gzip", body).await;
        assert_eq!((status, &problem["field"]), (400, &"body".into()), "{problem}");
    }
}

#[tokio::test]
async fn a_body_counts_with_what_it_inflates_to() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20, "small on its way");
    let (status, _, problem) = order("gzip", bomb).await;
    assert_eq!((status, &problem["code"]), (413, &"too-large".into()));
}

#[tokio::test]
async fn an_unsupported_expectation_is_refused() {
    let request = Request::post("/doors").header("expect", "a-miracle");
    let request = request.body(Body::empty()).unwrap();
    let (status, _, problem) = send(api().router(state().await), request).await;
    assert_eq!((status, &problem["code"]), (417, &"expectation-failed".into()));
}

#[tokio::test]
async fn all_invalid_fields_are_reported_at_once() {
    let body = r#"{"door": 256, "sign": 7, "handle": true}"#;
    let (status, _, problem) = order("identity", body.into()).await;
    assert_eq!((status, &problem["field"]), (400, &"door".into()));
    let reported = problem["errors"].as_array().unwrap();
    let fields: Vec<_> = reported.iter().map(|it| it["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["door", "handle", "sign"]);
    assert!(reported.iter().all(|it| !it["reason"].as_str().unwrap().is_empty()), "{problem}");
}

/// Reads a path with `Accept-Encoding` and returns the headers and the body.
async fn accepting(coding: &str, path: &str) -> (HeaderMap, Body) {
    let request = Request::get(path).header("accept-encoding", coding).body(Body::empty());
    let response = api().router(state().await).oneshot(request.unwrap()).await.unwrap();
    (response.headers().clone(), response.into_body())
}

#[tokio::test]
async fn a_large_response_is_compressed_for_a_client_that_accepts_it() {
    let (headers, body) = accepting("br;q=0, gzip", "/openapi.json").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["vary"], "accept-encoding", "a cache keeps both forms");
    let compressed = to_bytes(body, usize::MAX).await.unwrap();
    let mut text = String::new();
    GzDecoder::new(&compressed[..]).read_to_string(&mut text).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(compressed.len() * 4 < text.len(), "{} of {}", compressed.len(), text.len());
    for coding in ["identity", "deflate", "gzip;q=0"] {
        let (headers, body) = accepting(coding, "/openapi.json").await;
        assert!(!headers.contains_key("content-encoding"), "{coding}");
        assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), text, "{coding}");
    }
}

#[tokio::test]
async fn small_responses_and_feeds_are_not_compressed() {
    for path in ["/health/live", "/v1/events"] {
        let (headers, _) = accepting("gzip", path).await;
        assert!(!headers.contains_key("content-encoding"), "{path}");
    }
}
