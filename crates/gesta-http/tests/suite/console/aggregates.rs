//! States of aggregates: at each revision, as of a time, and what has changed between two of them.

use std::time::Duration;

use axum::Router;
use gesta::{Gesta, store::ReadAll};
use gesta_http::GestaState;
use gesta_services::chromium::Page;
use serde_json::{Value, json};

use super::{Operated, with_console};
use crate::{OpenDoor, asked, send};

async fn opened(times: usize) -> (Gesta, Router) {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    for _ in 0..times {
        gesta.execute(OpenDoor { door: 7 }).await.unwrap();
    }
    (gesta.clone(), with_console().router(GestaState::new(gesta)))
}

async fn state(router: &Router, query: &str) -> (u16, Value) {
    let path = format!("/v1/aggregates/door/7{query}");
    let (status, _, body) = send(router.clone(), asked("GET", &path)).await;
    (status, body)
}

#[tokio::test]
async fn a_state_is_shown_now_and_at_each_earlier_moment() {
    let (gesta, router) = opened(3).await;
    let (status, now) = state(&router, "").await;
    assert_eq!((status, &now["data"], &now["head"]), (200, &json!({ "opened": 3 }), &json!(2)));
    assert_eq!(now["lastEvent"]["type"], "door-opened");
    for (revision, times) in [(0, 1), (1, 2), (2, 3)] {
        let (_, then) = state(&router, &format!("?asOf=revision:{revision}")).await;
        assert_eq!((&then["data"], &then["head"]), (&json!({ "opened": times }), &json!(2)));
        assert_eq!(then["lastEvent"]["revision"], revision);
    }
    let events = gesta.store().read_all(ReadAll::forwards()).collect_events().await.unwrap();
    let (_, then) = state(&router, &format!("?asOf=position:{}", events[1].position)).await;
    assert_eq!(then["data"]["opened"], 2);
    let at = now["lastEvent"]["recordedAt"].as_str().unwrap();
    let (_, then) = state(&router, &format!("?asOf={at}")).await;
    assert_eq!(then["data"]["opened"], 3);
}

#[tokio::test]
async fn a_moment_without_a_final_state_and_what_is_not_shown_are_refused() {
    let (gesta, router) = opened(1).await;
    for (query, status, code) in [
        ("?asOf=revision:1", 412, "revision-beyond-head"),
        ("?asOf=position:99", 412, "position-beyond-head"),
        ("?asOf=2999-01-01T00:00:00Z", 412, "time-in-future"),
        ("?asOf=1999-01-01T00:00:00Z", 404, "not-found"),
        ("?asOf=yesterday", 400, "invalid"),
        ("?revision=1", 400, "invalid"),
    ] {
        let (was, problem) = state(&router, query).await;
        assert_eq!((was, problem["code"].as_str()), (status, Some(code)), "{query}: {problem}");
    }
    for (path, status) in [("gate/7", 404), ("door/8", 404), ("door/x", 400), ("door/%20", 400)] {
        let path = format!("/v1/aggregates/{path}");
        assert_eq!(send(router.clone(), asked("GET", &path)).await.0, status, "{path}");
    }
    let (_, _, kinds) = send(router, asked("GET", "/v1/aggregates")).await;
    assert_eq!(kinds, json!({ "items": [{ "category": "door" }] }));
    gesta.close().await;
}

/// Waits until the table of changes has these cells.
async fn until_changed(page: &mut Page, cells: Value) {
    let shown =
        "JSON.stringify([...document.querySelectorAll('tbody td')].map((it) => it.innerText))";
    page.until(&format!("{shown} === {}", json!(cells.to_string()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slider_shows_each_revision_and_what_its_event_has_changed() {
    let doors = Operated::open().await;
    for _ in 0..3 {
        doors.open_door(7).await;
        doors.faults.advance_clock(Duration::from_secs(60));
    }
    let Some(mut page) = doors.page().await else { return };
    page.load("#/stream?name=door-7").await;
    page.click("main .links a", "State").await;
    until_changed(&mut page, json!(["opened", "2", "3"])).await;
    assert!(page.text().await.contains("Revision 2 of 2"));
    page.value("document.querySelector('[aria-label=\"Revision before\"]').click()").await;
    until_changed(&mut page, json!(["opened", "1", "2"])).await;
    page.value(
        "(() => { const it = document.querySelector('[type=range]'); it.value = 0; \
         it.dispatchEvent(new Event('input')); })()",
    )
    .await;
    until_changed(&mut page, json!(["opened", "1"])).await;
    assert!(page.text().await.contains("Changed by the first event"));
    // Two revisions that are not next to each other, by a link.
    page.load("#/aggregate?category=door&id=7&revision=2&with=0").await;
    until_changed(&mut page, json!(["opened", "1", "3"])).await;
    assert!(page.text().await.contains("Changed since revision 0"));
    // A comparison with what is not there says so, and is one with the revision before.
    for with in ["99", "first", "-1", "1.5"] {
        page.load(&format!("#/aggregate?category=door&id=7&revision=2&with={with}")).await;
        until_changed(&mut page, json!(["opened", "2", "3"])).await;
        page.until_shown(&format!("There is no revision {with} to compare with")).await;
    }
    // Before the aggregate was there.
    page.load("#/aggregate?category=door&id=7&asOf=1999-01-01T00:00:00Z").await;
    page.until("document.querySelector('main').innerText.includes('There is no state')").await;
    page.errors.retain(|error| !error.contains("404"));
    page.assert_clean();
}
