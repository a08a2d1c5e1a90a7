//! Messages that RFC 9110 and RFC 9112 forbid: `Host`, media types, unexpected bodies, repeated
//! headers and parameters.

use axum::{body::Body, http::Request};
use gesta_http::serve;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{api, asked, send, state};

/// Sends a request head over a socket and returns the status of the response.
async fn status_of(head: &str) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = state().await.allow_hosts(["doors".parse().unwrap()]);
    let serving =
        tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("{}connection: close\r\n\r\n", head.strip_suffix("\r\n").unwrap());
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    connection.read_to_end(&mut said).await.unwrap();
    serving.abort();
    let said = String::from_utf8_lossy(&said).into_owned();
    (said.get(9..12).unwrap_or_default().to_owned(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_its_one_valid_host_is_refused() {
    for hosts in [
        "",
        "host: doors\r\nhost: doors\r\n",
        "host: doors\r\nHost: windows\r\n",
        "host: doors, windows\r\n",
        "host: do ors\r\n",
        "host: me@doors\r\n",
        "host: doors/7\r\n",
        "host: doors:80a\r\n",
        "host: [::1\r\n",
        "host: [::g]:80\r\n",
        "host: do%zzrs\r\n",
    ] {
        let head = format!("GET /health/live HTTP/1.1\r\n{hosts}\r\n");
        let (status, said) = status_of(&head).await;
        assert_eq!(status, "400", "{hosts:?}: {said}");
        assert!(said.contains(r#""field":"Host""#), "{hosts:?}: {said}");
        assert!(said.contains("application/problem+json"), "{hosts:?}: {said}");
        assert!(said.contains("x-correlation-id: "), "{hosts:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
    for host in ["doors", "doors:80", "doors:", "127.0.0.1:3000", "[::1]:80", ""] {
        let head = format!("GET /health/live HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(status_of(&head).await.0, "200", "{host}");
    }
    let absolute = "GET http://doors/health/live HTTP/1.1\r\nhost: doors\r\n\r\n";
    assert_eq!(status_of(absolute).await.0, "200");
    assert_eq!(status_of("GET /health/live HTTP/1.0\r\n\r\n").await.0, "200", "before HTTP/1.1");
    let twice = "GET /health/live HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n";
    assert_eq!(status_of(twice).await.0, "400");
}

async fn order(content_types: &[&str]) -> (u16, Value) {
    let mut request = Request::post("/orders");
    for content_type in content_types {
        request = request.header("content-type", *content_type);
    }
    let request = request.body(Body::from(r#"{"door": 7}"#)).unwrap();
    let (status, _, answer) = send(api().router(state().await), request).await;
    (status, answer)
}

#[tokio::test]
async fn json_comes_in_utf_8_and_in_no_other_charset() {
    for understood in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;Charset=\"UTF-8\"",
        "application/json; profile=\"a;charset=latin1\"",
        "application/json;",
    ] {
        assert_eq!(order(&[understood]).await.0, 201, "{understood}");
    }
    for other in [
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-16",
        "application/json; charset=\"\"",
        "application/json; charset=utf-8; charset=latin1",
        "text/json",
        "application/json, text/plain",
    ] {
        let (status, problem) = order(&[other]).await;
        assert_eq!((status, &problem["code"]), (415, &"unsupported-media-type".into()), "{other}");
    }
}

#[tokio::test]
async fn a_header_that_may_stand_once_is_refused_when_it_stands_twice() {
    let (status, problem) = order(&["application/json", "application/json"]).await;
    assert_eq!((status, &problem["field"]), (400, &"Content-Type".into()));
    for (name, shown) in [
        ("content-type", "Content-Type"),
        ("idempotency-key", "Idempotency-Key"),
        ("gesta-position", "Gesta-Position"),
        ("last-event-id", "Last-Event-ID"),
        ("x-correlation-id", "X-Correlation-Id"),
    ] {
        for path in ["/doors/7/open", "/v1/projections/doors/rebuild", "/doors"] {
            let request = Request::post(path).header(name, "1").header(name, "1");
            let request = request.body(Body::empty()).unwrap();
            let (status, _, problem) = send(api().router(state().await), request).await;
            assert_eq!((status, &problem["field"]), (400, &shown.into()), "{name} {path}");
        }
    }
}

#[tokio::test]
async fn content_that_no_operation_reads_is_refused_and_not_dropped() {
    for (method, path) in [
        ("POST", "/doors/7/open"),
        ("POST", "/doors"),
        ("POST", "/v1/projections/doors/rebuild"),
        ("POST", "/v1/processes/doors/instances/7/cancel"),
        ("DELETE", "/v1/dead-letters/doors@1"),
        ("GET", "/v1/projections"),
        ("GET", "/health/live"),
    ] {
        let router = api().router(state().await);
        let with = |body: Body| {
            let request = Request::builder().method(method).uri(path);
            let request = request.header("content-type", "application/json");
            send(router.clone(), request.body(body).unwrap())
        };
        let chunk = || Ok::<_, std::io::Error>(r#"{"reason": "a fixed bug"}"#);
        let endless = Body::from_stream(futures_util::stream::repeat_with(chunk));
        for body in [Body::from(chunk().unwrap()), Body::from("[]"), endless] {
            let (status, _, problem) = with(body).await;
            assert_eq!((status, &problem["field"]), (400, &"body".into()), "{method} {path}");
        }
        // Some clients send an empty object in place of no body.
        let plain = with(Body::empty()).await.0;
        for nothing in ["{}", " {} ", "\n"] {
            assert_eq!(with(Body::from(nothing)).await.0, plain, "{method} {path}");
        }
    }
    let request = Request::post("/v1/projections/doors/rebuild");
    let request = request.body(Body::from(r#"{"reason": "a fixed bug"}"#)).unwrap();
    let (_, _, problem) = send(api().router(state().await), request).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("in the query string: reason"),
        "it says where a reason goes: {detail}"
    );
}

#[tokio::test]
async fn parameters_that_an_operation_does_not_have_are_refused() {
    for (method, path) in [
        ("GET", "/v1/projections"),
        ("GET", "/v1/dead-letters"),
        ("GET", "/v1/processes"),
        ("POST", "/doors"),
        ("POST", "/doors/7/open"),
        ("POST", "/v1/projections/doors/rebuild"),
        ("DELETE", "/v1/dead-letters/doors@1"),
    ] {
        let router = api().router(state().await);
        let odd = send(router.clone(), asked(method, &format!("{path}?dryRun=true"))).await;
        assert_eq!((odd.0, &odd.2["field"]), (400, &"dryRun".into()), "{method} {path}");
        let plain = send(router.clone(), asked(method, path)).await.0;
        assert_eq!(send(router, asked(method, &format!("{path}?"))).await.0, plain);
    }
    let twice = "/v1/projections/doors/rebuild?reason=a&reason=b";
    let (status, _, problem) = send(api().router(state().await), asked("POST", twice)).await;
    assert_eq!((status, &problem["field"]), (400, &"reason".into()));
    // Probes may add parameters at will.
    let probe = send(api().router(state().await), asked("GET", "/health/live?from=a")).await;
    assert_eq!(probe.0, 200);
}
