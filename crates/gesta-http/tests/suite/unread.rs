//! Conditions, keys and positions that an operation does not read.

use crate::{api, asked, send, state};

#[tokio::test]
async fn a_change_refuses_a_condition_or_a_key_that_it_does_not_read() {
    let router = api().router(state().await);
    for (method, path) in [
        ("POST", "/v1/projections/doors/rebuild"),
        ("POST", "/v1/reactors/bell/dead-letters/0192d3f0-7c1e-7000-8000-3f1c5a7b9e21/retry"),
        ("POST", "/v1/processes/visits/instances/ann/cancel"),
        ("DELETE", "/v1/dead-letters/doors@1"),
    ] {
        for (name, value) in
            [("If-Match", "\"5\""), ("If-None-Match", "*"), ("Idempotency-Key", "k")]
        {
            let mut request = asked(method, path);
            request.headers_mut().insert(
                axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
            let (status, _, problem) = send(router.clone(), request).await;
            assert_eq!((status, &problem["field"]), (400, &name.into()), "{path}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("send the request without it"), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_command_reads_its_conditions_and_its_key() {
    let router = api().router(state().await);
    let mut open = asked("POST", "/doors/7/open");
    open.headers_mut().insert("if-match", "\"5\"".parse().unwrap());
    assert_eq!(send(router.clone(), open).await.0, 412);
    let mut build = asked("POST", "/doors");
    build.headers_mut().insert("if-match", "\"5\"".parse().unwrap());
    assert_eq!(send(router.clone(), build).await.0, 412, "a new resource matches nothing");
    let mut keyed = asked("POST", "/doors/7/open");
    keyed.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(send(router, keyed).await.0, 200);
}

#[tokio::test]
async fn a_malformed_position_is_refused_also_where_none_is_read() {
    let router = api().router(state().await);
    for (method, path) in [("POST", "/doors/7/open"), ("GET", "/v1/projections")] {
        let mut odd = asked(method, path);
        odd.headers_mut().insert("gesta-position", "abc".parse().unwrap());
        let (status, _, problem) = send(router.clone(), odd).await;
        assert_eq!((status, &problem["field"]), (400, &"Gesta-Position".into()), "{path}");
    }
    let mut open = asked("POST", "/doors/7/open");
    open.headers_mut().insert("gesta-position", "0".parse().unwrap());
    assert_eq!(send(router, open).await.0, 200, "a command decides on the newest events");
}

#[tokio::test]
async fn a_read_is_the_same_with_a_key() {
    let router = api().router(state().await);
    let mut list = asked("GET", "/v1/projections");
    list.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(send(router, list).await.0, 200);
}

#[tokio::test]
async fn a_key_of_another_request_is_named_with_what_to_do() {
    let router = api().router(state().await);
    let mut statuses = Vec::new();
    for door in [7, 8] {
        let mut open = asked("POST", &format!("/doors/{door}/open"));
        open.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        let (status, _, answer) = send(router.clone(), open).await;
        statuses.push((status, answer["detail"].as_str().unwrap_or_default().to_owned()));
    }
    let reused = "the `Idempotency-Key` was already used for another request; send this one with \
                  another key";
    assert_eq!(statuses, [(200, String::new()), (409, reused.to_owned())]);
}

#[tokio::test]
async fn an_unknown_route_and_an_unknown_reactor_are_named() {
    let router = api().router(state().await);
    let (status, _, problem) = send(router.clone(), asked("GET", "/")).await;
    assert_eq!((status, &problem["code"]), (404, &"no-such-route".into()));
    assert!(problem["detail"].as_str().unwrap().contains("/docs"), "{problem}");
    for path in ["/v1/reactors/bell", "/v1/reactors/bell/dead-letters"] {
        let (status, _, problem) = send(router.clone(), asked("GET", path)).await;
        let detail = "reactor bell is not registered";
        assert_eq!((status, &problem["detail"]), (404, &detail.into()), "{path}");
    }
}
