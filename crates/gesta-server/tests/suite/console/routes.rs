//! Routes, headers and media types of the files, and the endpoints that the console needs.

use serde_json::json;

use crate::{
    client::Credentials,
    native::http_client::Api,
    projections::driver::Driver,
    scene::Scene,
    secured::{Secured, basic},
};

const BROWSER: &str = "accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";

#[tokio::test]
async fn browsers_are_led_to_the_console_and_programs_are_not() {
    let scene = Scene::of_memory().await;
    let api = Api::of(&scene);
    for (path, headers, status) in [("/", BROWSER, 307), ("/console", "", 308)] {
        let answer = api.send(&format!("GET {path}"), headers, b"").await;
        assert_eq!((answer.status, answer.header("location")), (status, Some("/console/")));
    }
    let answer = api.send("GET /", "accept: */*\r\n", b"").await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.body.contains("/console/"), "{answer:?}");
}

#[tokio::test]
async fn every_file_has_its_type_and_the_policy() {
    let scene = Scene::of_memory().await;
    let api = Api::of(&scene);
    let mut files = 0;
    for asset in gesta_console::assets() {
        let answer = api.get(&format!("/console/{}", asset.path)).await;
        assert_eq!(answer.status, 200, "{}", asset.path);
        assert_eq!(answer.body, asset.text, "{}", asset.path);
        assert_eq!(answer.header("content-type"), Some(asset.content_type), "{}", asset.path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        files += 1;
    }
    assert!(files > 10, "{files} files");
    for path in ["/console/none.js", "/console/../v1/head", "/console/screens/"] {
        assert_eq!(api.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_file_that_a_browser_has_is_not_sent_again() {
    let scene = Scene::of_memory().await;
    let api = Api::of(&scene);
    let first = api.get("/console/app.js").await;
    let tag = first.header("etag").unwrap();
    let again = api.send("GET /console/app.js", &format!("if-none-match: {tag}\r\n"), b"").await;
    assert_eq!((first.status, again.status, again.body.as_str()), (200, 304, ""));
    let other = api.send("GET /console/api.js", &format!("if-none-match: {tag}\r\n"), b"").await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn the_files_are_public_and_the_data_are_not() {
    let scene = Secured::start().await;
    let anonymous = Credentials::default();
    let (status, page) = scene.get("/console/", &anonymous).await;
    assert!(status == 200 && page.contains("<!doctype html>"), "{status}");
    assert_eq!(scene.get("/console/screens/start.js", &anonymous).await.0, 200);
    for path in ["/v1/server", "/v1/counts", "/v1/groups", "/v1/projections"] {
        assert_eq!(scene.get(path, &anonymous).await.0, 401, "{path}");
    }
    assert_eq!(scene.ask("POST", "/console/", &anonymous).await.0, 405);
}

#[tokio::test]
async fn the_server_names_itself_and_its_caller() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let ann = basic("ann", "changeit");
    let (status, body) = scene.get("/v1/server", &ann).await;
    let server: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!((&server["login"], &server["secure"]), (&"ann".into(), &true.into()));
    assert!(server.get("environment").is_none() && server.get("store").is_none(), "{server}");
    // Scripts of projections are for operators, as they are over gRPC.
    assert_eq!(scene.get("/v1/projections", &ann).await.0, 403);
    assert_eq!(scene.get("/v1/groups", &ann).await.0, 200);
}

#[tokio::test]
async fn streams_are_counted_without_those_of_the_system() {
    let scene = Scene::of_log().await;
    let api = Api::of(&scene);
    for stream in ["order-1", "order-2", "cart-1"] {
        api.grow(stream, "opened", &[]).await;
    }
    Driver::of(&scene).await.create("totals", "fromAll().when({ $any: s => s })").await;
    let counts = api.get("/v1/counts").await.done();
    assert_eq!((&counts["streams"], &counts["categories"]), (&3.into(), &2.into()), "{counts}");
    assert_eq!(
        (&counts["streamsAreAll"], &counts["categoriesAreAll"]),
        (&true.into(), &true.into())
    );
    for (limit, streams, streams_are_all, categories, categories_are_all) in
        [(1, 1, false, 1, false), (2, 2, false, 2, true), (3, 3, true, 2, true)]
    {
        let counts = api.get(&format!("/v1/counts?limit={limit}")).await.done();
        let names = json!({ "streams": streams, "streamsAreAll": streams_are_all,
            "categories": categories, "categoriesAreAll": categories_are_all,
            "events": counts["events"] });
        assert_eq!(counts, names, "{limit}");
    }
    let head = api.get("/v1/head").await.done();
    assert!(counts["events"].as_u64().unwrap() <= head["position"].as_u64().unwrap());
    let all = api.get("/v1/projections").await.done();
    let all = all["projections"].as_array().unwrap();
    let own: Vec<_> = all.iter().filter(|one| one["ofSystem"] == false).collect();
    assert_eq!((own.len(), &own[0]["name"], all.len()), (1, &"totals".into(), 6), "{all:?}");
    assert!(own[0]["query"].as_str().unwrap().starts_with("fromAll()"));
}
