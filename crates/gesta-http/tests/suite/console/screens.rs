//! Every screen on real data: what it shows, in both themes and two widths, without an error on the
//! console, without a request to another place, and without a violation of accessibility.

use gesta::testing::drain;
use gesta_http::{Access, AccessRole, AccessRules, ApiKeys, NewApiKey, Right};
use gesta_services::chromium::{LOOKS, Page};

use super::Operated;

/// An application with a dead letter, a stuck process, a timer and a retried effect.
async fn troubled() -> Operated {
    let doors = Operated::open().await;
    // Longer than a test of all screens.
    doors.set(|faults| &faults.timers_are_long, true);
    doors.open_door(7).await;
    drain(&doors.gesta).await;
    doors.set(|faults| &faults.effects_fail, true);
    doors.set(|faults| &faults.reactions_panic, true);
    doors.open_door(8).await;
    drain(&doors.gesta).await;
    doors
}

/// Each screen with texts that it shows.
const SCREENS: &[(&str, &str, &[&str])] = &[
    ("start", "#/start", &["problems", "openings", "porter", "bell", "Doors", "Last append"]),
    ("projections", "#/projections", &["openings", "strict-openings", "running"]),
    ("projection", "#/projection?name=openings", &["Rebuild", "One build", "running"]),
    ("dead-letters", "#/dead-letters", &["bell", "door-8", "the bell is broken", "None is marked"]),
    ("processes", "#/processes", &["porter", "the porter fell asleep"]),
    ("process", "#/process?name=porter&show=all", &["Pause", "door-7", "troubled 1"]),
    ("timers", "#/process?name=porter&show=timers", &["door-7", "Fire now"]),
    ("set-aside", "#/process?name=porter&show=set-aside", &["door-8", "Skip", "fell asleep"]),
    ("instance", "#/instance?process=porter&id=door-7", &["process:porter-door-7", "Fire now"]),
    ("reactors", "#/reactors", &["bell", "running"]),
    ("reactor", "#/reactor?name=bell", &["Pause", "the bell is broken"]),
    ("streams", "#/streams", &["door-7", "process:porter-door-7"]),
    ("stream", "#/stream?name=door-7", &["door-opened"]),
    ("event", "#/event?stream=door-7&revision=0", &["door-opened", "open-door", "Causes"]),
    ("aggregates", "#/aggregates", &["Streams of door"]),
    ("aggregate", "#/aggregate?category=door&id=7", &["Revision 0 of 0", "opened", "State"]),
    ("query", "#/query?category=door", &["2 events", "door-opened"]),
    ("lanes", "#/lanes?stream=door-7&stream=door-8", &["2 events in 2 streams"]),
    ("live", "#/live", &["Waiting for events"]),
    ("schemas", "#/schemas", &["door-opened"]),
    ("schema", "#/schema?type=door-opened", &["Version 1", "written now"]),
    ("audit", "#/audit", &["No operator has done anything yet"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_shows_its_data_in_both_themes_and_widths() {
    let doors = troubled().await;
    let Some(mut page) = doors.page().await else { return };
    for (width, theme) in LOOKS {
        page.look(width, theme).await;
        for (name, address, texts) in SCREENS {
            page.load(address).await;
            for expected in *texts {
                page.until_shown(expected).await;
            }
            page.assert_readable(name).await;
        }
    }
    assert_eq!(page.value("document.querySelector('.badge').innerText").await, "staging");
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_command_has_the_process_the_timer_and_the_dead_letter() {
    let doors = troubled().await;
    let events = gesta::store::ReadAll::forwards();
    let events = doors.gesta.store().read_all(events).collect_events().await.unwrap();
    let of = |stream: &str| {
        let event = events.iter().find(|event| event.stream.as_str() == stream).unwrap();
        event.correlation_id.as_ref().unwrap().to_string()
    };
    let Some(mut page) = doors.page().await else { return };
    page.load(&format!("#/story?correlation={}", of("door-7"))).await;
    let kinds = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[2].innerText)";
    let told = page.value(kinds).await;
    assert_eq!(told, serde_json::json!(["command", "event", "process", "timer"]));
    page.load(&format!("#/story?correlation={}", of("door-8"))).await;
    let text = page.text().await;
    assert!(text.contains("set aside") && text.contains("fell asleep"), "{text}");
    page.assert_clean();
}

async fn sign_in(page: &mut Page, key: &str) {
    page.until("document.querySelector('main').dataset.state === 'sign-in'").await;
    page.write("[name=key]", key).await;
    page.click("button", "Sign in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_by_an_api_key_and_sees_what_it_permits() {
    let [watcher, operator] = [NewApiKey::random(), NewApiKey::random()];
    let file = [watcher.line("wanda", &["watcher"]), operator.line("olga", &["operator"])];
    let rules = AccessRules::new([
        AccessRole::named("watcher").has([Right::Status]),
        AccessRole::named("operator").has(Right::ALL),
    ]);
    let access = Access::new(rules).by(ApiKeys::parse(&file.join("\n")).unwrap());
    let doors = Operated::with(Some(access)).await;
    doors.set(|faults| &faults.effects_fail, true);
    doors.open_door(7).await;
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/projections").await;
    // No header can have it.
    sign_in(&mut page, "clé").await;
    let is_refused = "document.querySelector('[name=key]').validity.patternMismatch";
    assert_eq!(page.value(is_refused).await, true);
    sign_in(&mut page, &format!(" {}\n", watcher.secret())).await;
    page.until("document.querySelector('main').innerText.includes('openings')").await;
    let places =
        "[...document.querySelectorAll('nav[aria-label=Screens] a')].map((a) => a.innerText)";
    let places = page.value(places).await.to_string();
    assert!(places.contains("Processes") && !places.contains("Streams"), "{places}");
    page.click("tbody a", "openings").await;
    page.until("document.querySelector('h1')?.innerText === 'openings'").await;
    page.until("document.querySelector('main').dataset.state === 'ready'").await;
    assert_eq!(page.value("document.querySelectorAll('button.act').length").await, 0);
    page.show("#/dead-letters").await;
    page.until_shown("the bell is broken").await;
    let marks = "document.querySelectorAll('td.mark, main .acts button').length";
    assert_eq!(page.value(marks).await, 0, "nothing to be done with a mark");
    page.show("#/projection?name=openings").await;
    page.click("button", "Sign out").await;
    page.until("document.querySelectorAll('nav[aria-label=Screens] a').length === 0").await;
    sign_in(&mut page, operator.secret()).await;
    page.until("[...document.querySelectorAll('button.act')].length === 3").await;
    assert!(
        page.value("document.querySelector('.user').innerText").await.to_string().contains("olga")
    );
    // No credential is kept.
    let kept = page.value("JSON.stringify({ ...localStorage, ...sessionStorage })").await;
    assert!(!kept.to_string().contains(operator.secret()), "{kept}");
    page.assert_clean();
}
