//! Routes and headers of the files, and the description of the program.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response},
};
use gesta::Gesta;
use gesta_http::{Access, AccessRole, AccessRules, Api, GestaState, Right};
use serde_json::json;
use tower::ServiceExt as _;

use super::with_console;
use crate::{access::Named, api, asked, send, state};

const BROWSER: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

async fn answered(api: Api, mut request: Request<Body>, accept: &str) -> Response<Body> {
    request.headers_mut().insert("accept", accept.parse().unwrap());
    api.router(state().await).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn browsers_are_led_to_the_console_and_programs_are_not() {
    for (path, accept) in [("/", BROWSER), ("/console", "*/*")] {
        let answer = answered(with_console(), asked("GET", path), accept).await;
        let location = answer.headers().get("location").map(|it| it.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), location), (307, Some("console/")), "{path}");
    }
    let answer = answered(with_console(), asked("GET", "/"), "application/json").await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn an_application_without_a_console_has_none_of_it() {
    for path in ["/", "/console", "/console/", "/console/app.js", "/console/program", "/v1/all"] {
        let answer = answered(api(), asked("GET", path), BROWSER).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn every_file_has_its_type_and_the_policy() {
    let router = with_console().router(state().await);
    let mut files = 0;
    for asset in gesta_console::assets() {
        let path = format!("/console/{}", asset.path);
        let answer = router.clone().oneshot(asked("GET", &path)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), asset.content_type, "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'self';"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        let tag = header("etag");
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(body, asset.text, "{path}");
        let mut again = asked("GET", &path);
        again.headers_mut().insert("if-none-match", tag.parse().unwrap());
        assert_eq!(router.clone().oneshot(again).await.unwrap().status(), 304, "{path}");
        files += 1;
    }
    assert!(files > 10, "{files} files");
    for path in ["/console/none.js", "/console/../v1/all", "/console/screens/"] {
        let answer = router.clone().oneshot(asked("GET", path)).await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}

/// The doors with a console, for an operator and for a watcher, whom `x-test` names.
async fn guarded() -> Router {
    let operator = AccessRole::named("operator").has(Right::ALL);
    let watcher = AccessRole::named("watcher").has([Right::Status]);
    let access = Access::new(AccessRules::new([operator, watcher])).by(Named);
    let gesta = Gesta::at("memory:").open().await.unwrap();
    with_console().environment("test").router(GestaState::new(gesta).access(access))
}

fn by(who: &str, method: &str, path: &str) -> Request<Body> {
    let mut request = asked(method, path);
    request.headers_mut().insert("x-test", who.parse().unwrap());
    request
}

#[tokio::test]
async fn the_program_names_itself_and_what_its_caller_may_use() {
    let router = guarded().await;
    let (status, _, program) = send(router.clone(), asked("GET", "/console/program")).await;
    assert_eq!(status, 200, "the console asks it before a sign-in");
    assert_eq!(program["operations"], json!([]));
    assert!(program.get("login").is_none(), "{program}");
    let ask = by("wanda watcher", "GET", "/console/program");
    let (_, _, program) = send(router.clone(), ask).await;
    let expected = json!({
        "kind": "application", "name": "Doors", "version": "1.0", "environment": "test",
        "api": "v1", "secure": true, "login": "wanda", "actor": "wanda",
        "operations": program["operations"],
    });
    assert_eq!(program, expected);
    let may =
        |operation: &str| program["operations"].as_array().unwrap().contains(&json!(operation));
    assert!(may("listProjections") && may("listDueTimers") && may("listEventTypes"), "{program}");
    for other in ["retryDeadLetter", "readAll", "rebuildProjection", "listEvents", "openDoor"] {
        assert!(!may(other), "{other}");
    }
    let (_, _, program) = send(router, by("olga operator", "GET", "/console/program")).await;
    for own in ["retryDeadLetter", "readAll", "rebuildProjection", "listEvents"] {
        assert!(program["operations"].as_array().unwrap().contains(&json!(own)), "{own}");
    }
}

#[tokio::test]
async fn the_files_are_public_and_stored_events_need_a_right_of_their_own() {
    let router = guarded().await;
    assert_eq!(router.clone().oneshot(asked("GET", "/console/")).await.unwrap().status(), 200);
    for path in ["/v1/all", "/v1/streams", "/v1/streams/door-1", "/v1/categories", "/v1/counts"] {
        assert_eq!(send(router.clone(), asked("GET", path)).await.0, 401, "{path}");
        let (status, _, problem) = send(router.clone(), by("wanda watcher", "GET", path)).await;
        assert_eq!((status, &problem["right"]), (403, &json!("inspect")), "{path}");
    }
    assert_eq!(send(router, by("olga operator", "GET", "/v1/all")).await.0, 200);
}
