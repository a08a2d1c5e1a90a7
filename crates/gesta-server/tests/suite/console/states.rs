//! Screens without what they usually show: an empty store, nobody signed in, no rights, names that
//! are as long as names get, a server that is gone. Each is readable in both themes and all widths.

use gesta_services::chromium::{LOOKS, PHONE, Page};
use serde_json::{Value, json};

use super::signing_in::sign_in;
use crate::{
    group_client::{of_stream, settings},
    native::http_client::Api,
    projections::driver::Driver,
    scene::Scene,
    secured::{Secured, basic},
};

/// Looks at screens in all looks.
async fn look(page: &mut Page, state: &str, screens: &[&str]) {
    for (width, theme) in LOOKS.into_iter().chain([PHONE]) {
        page.look(width, theme).await;
        for screen in screens {
            page.show(screen).await;
            let name = screen.trim_start_matches("#/").split('?').next().unwrap_or_default();
            page.assert_readable(&format!("{state}-{name}")).await;
        }
    }
}

/// Looks at the screen that is there in all looks.
async fn look_here(page: &mut Page, name: &str) {
    page.assert_readable_in_all_looks(name).await;
    page.look(PHONE.0, PHONE.1).await;
    page.assert_readable(name).await;
}

#[tokio::test]
async fn an_empty_store_says_on_each_screen_what_could_be_there() {
    let scene = Scene::of_log().await;
    let Some(mut page) = Page::open(&format!("http://{}", scene.address)).await else { return };
    let screens = [
        ("#/start", "No problems"),
        ("#/streams", "The store has no streams yet."),
        ("#/stream?name=order-1", "order-1"),
        ("#/query", "No event matches."),
        ("#/lanes", "Name a conversation"),
        ("#/lanes?stream=order-1", "No event matches."),
        ("#/live", "Waiting for events"),
        ("#/groups", "The store has no consumer groups."),
        ("#/group?source=order-1&name=mail", "There is no group mail of order-1."),
        ("#/projections", "The server has no projections of yours."),
        ("#/projection?name=totals", "There is no projection totals."),
        ("#/event?stream=order-1&revision=0", "order-1"),
        ("#/operations", "Settings"),
        ("#/none", "There is no screen"),
    ];
    for (screen, expected) in screens {
        page.load(screen).await;
        page.until_shown(expected).await;
    }
    let shown: Vec<_> = screens.iter().map(|(screen, _)| *screen).collect();
    let (none, others) = shown.split_last().unwrap();
    look(&mut page, "empty", others).await;
    page.load(none).await;
    look_here(&mut page, "empty-none").await;
    // A stream or an event that does not exist is a refusal with 404.
    assert!(page.errors.iter().all(|error| error.contains("404")), "{:#?}", page.errors);
}

#[tokio::test]
async fn a_caller_without_rights_is_told_what_they_lack_on_each_screen() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let admin = basic("admin", scene.passwords.admin());
    let append = json!({ "streams": [{ "stream": "order-1", "events": [{ "type": "a" }] }] });
    scene.send("POST /v1/append", &admin, &append).await.done();
    let metadata = json!({ "metadata": { "$acl": { "$r": ["$admins"], "$mr": ["$admins"] } } });
    scene.send("PUT /v1/streams/order-1/metadata", &admin, &metadata).await.done();
    let server = format!("https://localhost:{}", scene.address.port());
    let Some(mut page) = Page::open(&server).await else { return };
    page.load("#/start").await;
    page.until_shown("Sign in").await;
    look_here(&mut page, "signed-out").await;
    sign_in(&mut page, "ann", "changeit").await;
    page.until("document.querySelector('main').dataset.state === 'ready'").await;
    let screens = [
        ("#/start", "Your user may not see"),
        ("#/streams", "which has the names of all streams, is denied"),
        ("#/stream?name=order-1", "is denied"),
        ("#/event?stream=order-1&revision=0", "is denied"),
        ("#/query", "which is the whole store, is denied"),
        ("#/lanes?stream=order-1", "is denied"),
        ("#/live", "is denied"),
        ("#/projections", "`ann` may not read statistics of projections"),
        ("#/users", "may not"),
        ("#/operations", "may not"),
        ("#/audit", "is denied"),
        ("#/groups", "The store has no consumer groups."),
    ];
    for (screen, expected) in screens {
        page.show(screen).await;
        page.until_shown(expected).await;
    }
    let shown: Vec<_> = screens.iter().map(|(screen, _)| *screen).collect();
    look(&mut page, "no-rights", &shown).await;
    let is_refusal = |error: &String| ["401", "403"].iter().any(|status| error.contains(status));
    assert!(page.errors.iter().all(is_refusal), "{:#?}", page.errors);
}

/// A name without a place to break it.
fn long(begin: &str) -> String {
    format!("{begin}{}", "abcdefghij".repeat(20))
}

#[tokio::test]
async fn names_of_two_hundred_characters_break_no_screen() {
    let scene = Scene::of_log().await;
    let api = Api::of(&scene);
    let (stream, conversation) = (long("order-"), long("conversation"));
    for (number, event_type) in [long("placed"), long("paid")].into_iter().enumerate() {
        let event = json!({
            "id": format!("7b0a1f0e-51cb-4c1c-9d0c-{number:012}"),
            "type": event_type,
            "data": { long("member"): long("value"), "deep": { long("in"): [long("list")] } },
            "tags": [long("customer:")],
            "correlationId": conversation,
            "causationId": long("cause"),
        });
        let append = json!({ "streams": [{ "stream": stream, "events": [event] }] });
        api.append(&append).await.done();
    }
    let mut groups = scene.groups().await;
    let group = long("group");
    groups.create(of_stream(&stream, &group, settings())).await.unwrap();
    let failing =
        format!("fromAll().when({{ $any: () => {{ throw new Error('{}') }} }})", long("e"));
    let projection = format!("projection{}", "abcdefghi".repeat(10));
    Driver::of(&scene).await.create(&projection, &failing).await;
    let Some(mut page) = Page::open(&format!("http://{}", scene.address)).await else { return };
    page.load("#/start").await;
    page.until_shown("1 problem").await;
    let screens = [
        "#/start".to_owned(),
        "#/streams".to_owned(),
        format!("#/stream?name={stream}"),
        format!("#/event?stream={stream}&revision=0"),
        format!("#/lanes?correlation={conversation}"),
        "#/query".to_owned(),
        "#/groups".to_owned(),
        format!("#/group?source={stream}&name={group}"),
        "#/projections".to_owned(),
        format!("#/projection?name={projection}"),
        format!("#/group-form?source={stream}&name={group}"),
        format!("#/projection-form?name={projection}"),
        format!("#/stream-metadata?name={stream}"),
        format!("#/append?stream={stream}"),
    ];
    let screens: Vec<_> = screens.iter().map(String::as_str).collect();
    look(&mut page, "long", &screens).await;
    page.show(&format!("#/stream?name={stream}")).await;
    page.click("main button.destructive", "Delete").await;
    page.until("document.querySelector('dialog')?.open").await;
    look_here(&mut page, "long-dialog").await;
    page.assert_clean();
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_on_what_was_read_and_on_what_is_asked() {
    let mut scene = Scene::of_memory().await;
    Api::of(&scene).grow("order-1", "placed", &[]).await;
    let Some(mut page) = Page::open(&format!("http://{}", scene.address)).await else { return };
    // A screen that reads again and again.
    page.load("#/operations").await;
    page.until_shown("Only a store in a directory").await;
    scene.stop();
    scene.ended().await;
    page.until("document.querySelector('main .stale')").await;
    look_here(&mut page, "gone-stale").await;
    page.value("location.hash = '#/streams'").await;
    page.until("document.querySelector('main .notice.error:not(.stale)')").await;
    assert_eq!(page.value("document.querySelector('h1').innerText").await, Value::from("Streams"));
    look_here(&mut page, "gone").await;
    // A form keeps what it was given, and the reader may ask again.
    for (screen, name) in [("#/query?category=order", "category"), ("#/lanes?tag=a:b", "tag")] {
        page.value(&format!("location.hash = '{screen}'")).await;
        page.until(&format!("document.querySelector('main [name={name}]')?.value")).await;
        page.click("main button", "Try again").await;
        page.until("document.querySelectorAll('main .notice.error').length === 1").await;
        look_here(&mut page, "gone-form").await;
    }
}
