//! Every screen on real data: what it shows, its links and keys, without an error on the console
//! without a request to another place and without a violation of accessibility, in both themes and
//! two widths.

use gesta_services::chromium::{LOOKS, PHONE, Page};
use serde_json::{Value, json};

use super::store;
use crate::{native::http_client::Api, scene::Scene};

async fn page_of(scene: &Scene) -> Option<Page> {
    Page::open(&format!("http://{}", scene.address)).await
}

/// Each screen with texts that it shows.
const SCREENS: &[(&str, &str, &[&str])] = &[
    ("start", "#/start", &["Projection broken", "no price", "Group mail of order-1", "1 parked"]),
    ("streams", "#/streams?prefix=order-", &["order-1", "payment"]),
    ("stream", "#/stream?name=order-1", &["order-confirmed", "order-placed", "live"]),
    (
        "event",
        "#/event?stream=order-1&revision=0",
        &["check-out-7", "cart-checked-out", "payment-received", "order-confirmed", "12.5", "ann"],
    ),
    ("lanes", "#/lanes?correlation=checkout-42", &["5 events in 3 streams", "payment-requested"]),
    ("live", "#/live", &["Waiting for events"]),
    ("query", "#/query?category=order&tag=customer:17850", &["2 events", "order-placed"]),
    ("groups", "#/groups", &["mail", "order-1", "1 parked event"]),
    ("group", "#/group?source=order-1&name=mail", &["0@order-1", "the test says so"]),
    ("projections", "#/projections", &["totals", "broken", "Faulted"]),
    ("projection", "#/projection?name=broken", &["no price", "fromAll()"]),
];

#[tokio::test]
async fn every_screen_shows_its_data_in_both_themes_and_widths() {
    let scene = store::filled().await;
    let Some(mut page) = page_of(&scene).await else { return };
    for (width, theme) in LOOKS.into_iter().chain([PHONE]) {
        page.look(width, theme).await;
        for (name, address, texts) in SCREENS {
            page.load(address).await;
            if *name == "live" {
                page.until(
                    "document.querySelector('.live-state')?.innerText.startsWith('Waiting')",
                )
                .await;
            }
            let text = page.text().await;
            for expected in *texts {
                assert!(text.contains(expected), "{name} lacks {expected}: {text}");
            }
            page.assert_readable(name).await;
        }
    }
    page.assert_clean();
}

#[tokio::test]
async fn tables_filter_sort_and_page_and_keep_it_in_the_address() {
    let scene = store::filled().await;
    let Some(mut page) = page_of(&scene).await else { return };
    page.load("#/stream?name=ticks-1&filter=tick-1&sort=revision").await;
    let rows = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].innerText)";
    let shown = page.value(rows).await;
    let shown: Vec<u64> = numbers(&shown);
    // The newest 50 of 120 are loaded, and each third of them is shown.
    assert_eq!((shown.len(), shown[0], shown[shown.len() - 1]), (17, 70, 118), "{shown:?}");
    let filter = page.value("document.querySelector('input.filter').value").await;
    assert_eq!(filter, "tick-1");
    page.load("#/stream?name=ticks-1").await;
    assert_eq!(numbers(&page.value(rows).await)[0], 119);
    page.press("]").await;
    page.until("document.querySelector('tbody td')?.innerText === '69'").await;
    assert!(page.value("location.hash").await.as_str().unwrap().contains("from=69"));
    page.press("[").await;
    page.until("document.querySelector('tbody td')?.innerText === '119'").await;
    page.assert_clean();
}

fn numbers(values: &Value) -> Vec<u64> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn everything_is_reached_by_keys() {
    let scene = store::filled().await;
    let Some(mut page) = page_of(&scene).await else { return };
    page.load("#/start").await;
    for (key, heading) in [("s", "Streams"), ("q", "Query"), ("g", "Consumer groups")] {
        page.press("g").await;
        page.press(key).await;
        page.until(&format!("document.querySelector('h1')?.innerText === '{heading}'")).await;
        page.until("document.querySelector('main').dataset.state === 'ready'").await;
    }
    page.press("j").await;
    page.until("document.activeElement?.innerText === 'mail'").await;
    page.press("/").await;
    page.until("document.activeElement?.type === 'search'").await;
    page.press("Escape").await;
    page.press("?").await;
    page.until("document.querySelector('dialog')?.open").await;
    page.assert_clean();
}

#[tokio::test]
async fn live_events_arrive_and_stand_still_while_a_reader_scrolls() {
    let scene = store::filled().await;
    let api = Api::of(&scene);
    let Some(mut page) = page_of(&scene).await else { return };
    page.look(1_400, "light").await;
    page.load("#/live?category=orders").await;
    page.until("document.querySelector('.live-state')?.innerText.startsWith('Waiting')").await;
    for _ in 0..80 {
        api.grow("orders-1", "placed", &[]).await;
        api.grow("other-1", "placed", &[]).await;
    }
    page.until("document.querySelectorAll('tbody tr').length === 80").await;
    let newest = "document.querySelector('tbody td').innerText";
    let before = page.value(newest).await;
    page.value("scrollTo(0, 500)").await;
    page.until("!document.querySelector('.resume').hidden").await;
    api.grow("orders-1", "placed", &[]).await;
    page.until("document.querySelector('.resume').innerText.startsWith('1 new')").await;
    assert_eq!(page.value(newest).await, before, "the list stands still");
    page.value("document.querySelector('.resume').click()").await;
    page.until("document.querySelectorAll('tbody tr').length === 81").await;
    page.assert_clean();
}

#[tokio::test]
async fn live_events_are_those_that_match_every_filter() {
    let scene = store::filled().await;
    let api = Api::of(&scene);
    let Some(mut page) = page_of(&scene).await else { return };
    page.load("#/live").await;
    page.write("[name=category]", "orders").await;
    page.write("[name=type]", "placed, paid ").await;
    page.write("[name=of]", " orders-1").await;
    page.click("main form button", "Follow").await;
    // The form of the new screen has what was typed without spaces around it.
    page.until(
        "document.querySelector('[name=type]')?.value === 'placed, paid' && \
         document.querySelector('.live-state').innerText.startsWith('Waiting')",
    )
    .await;
    for (stream, event_type) in [
        ("orders-1", "sent"),
        ("orders-2", "placed"),
        ("orders-1", "placed"),
        ("other-1", "paid"),
        ("orders-1", "paid"),
    ] {
        api.grow(stream, event_type, &[]).await;
    }
    page.until("document.querySelectorAll('tbody tr').length === 2").await;
    let said = "document.querySelector('.live-state').innerText.startsWith('2 events')";
    assert_eq!(page.value(said).await, true);
    let rows = "[...document.querySelectorAll('tbody tr')].map((it) => it.innerText).join()";
    let rows = page.value(rows).await.to_string();
    assert!(rows.contains("paid") && rows.contains("placed") && !rows.contains("sent"), "{rows}");
    page.assert_clean();
}

#[tokio::test]
async fn a_query_finds_events_by_words_of_their_data() {
    let scene = Scene::of_log().await;
    let api = Api::of(&scene);
    let noted = |text: &str| json!({ "type": "noted", "data": { "note": text } });
    let events = ["a red Door", "a blue door", "a red wall"].map(noted);
    let streams = [json!({ "stream": "notes-1", "events": events })];
    api.append(&json!({ "streams": streams })).await.done();
    let Some(mut page) = page_of(&scene).await else { return };
    page.load("#/query").await;
    page.until_shown("3 events on this page").await;
    page.write("[name=text]", "DOOR red").await;
    page.click("main form button", "Find").await;
    page.until_shown("1 event on this page").await;
    assert!(page.text().await.contains("a red Door"));
    assert_eq!(page.value("location.hash").await, "#/query?text=DOOR+red");
    page.assert_clean();
}

#[tokio::test]
async fn all_streams_are_counted_when_their_reader_asks_for_it() {
    let scene = Scene::of_log().await;
    let api = Api::of(&scene);
    for hundred in 0..10 {
        let named =
            |number: u64| json!({ "stream": format!("s-{number}"), "events": [{ "type": "a" }] });
        let streams: Vec<_> = (hundred * 100..hundred * 100 + 100).map(named).collect();
        api.append(&json!({ "streams": streams })).await.done();
    }
    let Some(mut page) = page_of(&scene).await else { return };
    page.load("#/start").await;
    let text = page.text().await;
    assert!(text.contains("\n1,000\n") && !text.contains("Count all"), "{text}");
    api.grow("s-1000", "a", &[]).await;
    page.load("#/start").await;
    let text = page.text().await;
    assert!(text.contains("\n1,000+\n"), "{text}");
    page.click("button", "Count all").await;
    page.until_shown("All 1,001 streams are counted.").await;
    page.until_shown("\n1,001\n").await;
    page.assert_clean();
}
