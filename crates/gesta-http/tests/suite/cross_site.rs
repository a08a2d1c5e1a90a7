//! Requests that a browser sends for pages of other sites.

use axum::{Router, body::Body, http::Request};
use gesta_http::{GestaState, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{api, asked, send, state};

const EVIL: (&str, &str) = ("origin", "https://evil.example");
const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

fn with(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = asked(method, path);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

async fn status(router: &Router, request: Request<Body>) -> u16 {
    send(router.clone(), request).await.0
}

async fn is_empty(state: &GestaState) -> bool {
    let read = gesta::store::ReadAll::forwards();
    state.gesta().store().read_all(read).collect_events().await.unwrap().is_empty()
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let state = state().await;
    let router = api().router(state.clone());
    for (method, path) in [
        ("POST", "/doors/7/open"),
        ("POST", "/v1/projections/doors/rebuild"),
        ("POST", "/v1/reactors/bell/pause"),
        ("DELETE", "/v1/dead-letters/doors@1"),
    ] {
        for headers in [
            &[EVIL][..],
            &[CROSS_SITE],
            &[EVIL, CROSS_SITE],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "null")],
            &[("host", "localhost:3000"), ("origin", "http://localhost:4000")],
        ] {
            let sent = with(method, path, headers);
            let (status, answer_headers, problem) = send(router.clone(), sent).await;
            assert_eq!((status, &problem["code"]), (403, &"cross-site".into()), "{headers:?}");
            assert!(answer_headers.contains_key("x-correlation-id"));
        }
    }
    let (_, _, problem) = send(router, with("POST", "/doors/7/open", &[EVIL])).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("add `https://evil.example` to the allowed origins"), "{detail}");
    assert!(is_empty(&state).await);
}

#[tokio::test]
async fn own_pages_allowed_pages_and_programs_change_things() {
    let allowed = ["https://shop.example".parse().unwrap()];
    let router = api().router(state().await.allow_origins(allowed));
    for headers in [
        &[][..],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://behind.a.proxy")],
        &[("sec-fetch-site", "none")],
        &[("host", "localhost:3000"), ("origin", "http://localhost:3000")],
        &[("origin", "https://shop.example"), CROSS_SITE],
    ] {
        let opened = status(&router, with("POST", "/doors/7/open", headers)).await;
        assert_eq!(opened, 200, "{headers:?}");
    }
    let read = status(&router, with("GET", "/v1/projections", &[EVIL, CROSS_SITE])).await;
    assert_eq!(read, 200, "the browser withholds the response");
}

/// Sends a read for a host to a server on loopback and returns the response.
async fn answer(state: GestaState, host: &str) -> String {
    answer_of(state, "/health/live", host).await
}

/// Sends a read of a target, which may have a host of its own.
async fn answer_of(state: GestaState, target: &str, host: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = api().router(state.clone());
    let serving = tokio::spawn(serve(listener, router, state, std::future::pending()));
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).await.unwrap();
    serving.abort();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_loopback_serves_no_name_of_another_site() {
    let allowed = state().await.allow_hosts(["shop.example".parse().unwrap()]);
    let allowed = allowed.allow_origins(["https://pages.example:8443".parse().unwrap()]);
    for host in ["attacker.example", "attacker.example:3000", "localhost.example", "10.0.0.7"] {
        let said = answer(allowed.clone(), host).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{host}: {said}");
        assert!(said.contains(r#""code":"foreign-host""#), "{host}: {said}");
        assert!(said.contains("add it to its allowed hosts"), "{host}: {said}");
    }
    for host in ["localhost:3000", "127.0.0.1", "[::1]:80", "Shop.Example:443", "pages.example"] {
        let said = answer(allowed.clone(), host).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{host}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_for_other_machines_serves_every_name() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let state = state().await;
    let router = api().router(state.clone());
    let serving = tokio::spawn(serve(listener, router, state, std::future::pending()));
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = "GET /health/live HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).await.unwrap();
    serving.abort();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_a_target_goes_before_the_header() {
    let state = state().await;
    let foreign = "http://attacker.example/health/live";
    let said = answer_of(state.clone(), foreign, "localhost").await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    let own = "http://localhost:3000/health/live";
    let said = answer_of(state, own, "attacker.example").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn a_request_with_two_origins_changes_nothing() {
    let state = state().await;
    let router = api().router(state.clone());
    let mut two = with("POST", "/doors/7/open", &[("host", "doors"), ("origin", "http://doors")]);
    two.headers_mut().append("origin", EVIL.1.parse().unwrap());
    let (status, _, problem) = send(router, two).await;
    assert_eq!((status, &problem["field"]), (400, &"Origin".into()), "{problem}");
    assert!(is_empty(&state).await);
}
