//! Acts of an operator in a browser: each asks for a reason, and is in the audit stream.

use gesta::{audit::Operator, testing::drain};
use gesta_http::GestaState;
use gesta_services::chromium::{LOOKS, Page};
use serde_json::{Value, json};

use super::Operated;
use crate::{asked, send};

/// Returns the acts that the console lists, from the last one on: who, what, on what, why, and the
/// kind of error of one that has failed.
async fn audited(page: &mut Page) -> Value {
    acts_of(page, "#/audit").await
}

/// Returns the acts that a page of the audit lists.
async fn acts_of(page: &mut Page, address: &str) -> Value {
    page.load(address).await;
    let cells = "[...row.cells].slice(1).map((cell) => cell.innerText)";
    page.value(&format!("[...document.querySelectorAll('tbody tr')].map((row) => {cells})")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_found_from_the_start_page_and_retried_once_its_cause_is_mended() {
    let doors = Operated::open().await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/start").await;
    page.until_shown("No problems").await;
    doors.set(|faults| &faults.projections_fail, true);
    doors.open_door(7).await;
    // The page looks again by itself.
    page.click("main .notice a", "Projection openings").await;
    page.until_shown("Rebuild").await;
    page.load("#/dead-letters?of=openings").await;
    page.until_shown("the wall is full").await;
    let is_off = "document.querySelector('button.act').disabled";
    assert_eq!(page.value(is_off).await, true, "nothing is marked");
    page.value("document.querySelector('td.mark input').click()").await;
    page.click("button.act", "Retry").await;
    page.write("dialog textarea", "perhaps it passes").await;
    page.click("dialog button", "Retry").await;
    page.until("document.querySelector('dialog .notice.error')?.innerText.includes('still fails')")
        .await;
    page.click("dialog button", "Close").await;
    page.until("document.querySelector('td.mark input')").await;
    page.value("document.querySelector('td.mark input').click()").await;
    doors.set(|faults| &faults.projections_fail, false);
    page.act("Retry", "the wall has room again").await;
    page.until_shown("There are no dead letters").await;
    let acts = audited(&mut page).await;
    let target = acts[0][2].as_str().unwrap();
    assert!(target.starts_with("openings@"), "{acts}");
    let (ann, retry) = ("anonymous", "retry-dead-letter");
    let expected = json!([
        [ann, retry, target, "the wall has room again", ""],
        [ann, retry, target, "perhaps it passes", "still-fails"],
    ]);
    assert_eq!(acts, expected);
    // A page that ends between an act and its failure has both.
    let all = gesta::store::ReadAll::forwards();
    let all = doors.gesta.store().read_all(all).collect_events().await.unwrap();
    let failed = all.iter().find(|event| event.event_type.as_str() == "operation-failed").unwrap();
    let acts = acts_of(&mut page, &format!("#/audit?before={}", failed.position)).await;
    assert_eq!(acts, json!([expected[1]]));
    // The other projection halts, so the application is not ready, and the first retry fails: both
    // are error statuses.
    page.errors.retain(|error| !error.contains("503") && !error.contains("422"));
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_tried_with_other_data_and_stays_as_it_is() {
    let doors = Operated::open().await;
    doors.set(|faults| &faults.projections_fail, true);
    for _ in 0..2 {
        doors.open_door(7).await;
    }
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    for (width, theme) in LOOKS {
        page.look(width, theme).await;
        doors.set(|faults| &faults.projections_fail, true);
        page.load("#/dead-letters?of=openings").await;
        page.click("td.try button", "Edit and try").await;
        page.until("document.querySelector('dialog textarea')?.value === 'null'").await;
        page.write("dialog textarea", "null ").await;
        page.click("dialog button", "Try").await;
        let says = async |page: &mut Page, text: &str| {
            let text = json!(text);
            let said = format!("document.querySelector('dialog').innerText.includes({text})");
            page.until(&said).await;
        };
        says(&mut page, "It still fails: the wall is full").await;
        doors.set(|faults| &faults.projections_fail, false);
        page.write("dialog textarea", "{").await;
        page.click("dialog button", "Try").await;
        says(&mut page, "The data must be JSON").await;
        page.write("dialog textarea", "[1]").await;
        page.click("dialog button", "Try").await;
        says(&mut page, "It still fails: the event at revision 0 of door-7 cannot be read").await;
        page.assert_readable("try-fails").await;
        page.write("dialog textarea", "null").await;
        page.click("dialog button", "Try").await;
        says(&mut page, "It applies with these data. 1 event behind it would follow.").await;
        page.assert_readable("try-applies").await;
        page.click("dialog button", "Close").await;
        page.until("document.querySelectorAll('td.mark').length === 2").await;
    }
    page.load("#/audit").await;
    page.until_shown("No operator has done anything yet").await;
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dead_letters_are_discarded_at_once_and_an_act_that_fails_says_so() {
    let doors = Operated::open().await;
    doors.set(|faults| &faults.effects_fail, true);
    for door in 1..=3 {
        doors.open_door(door).await;
    }
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/dead-letters?of=bell").await;
    page.until("document.querySelectorAll('td.mark').length === 3").await;
    page.value("document.querySelector('td.mark input').click()").await;
    page.click("button.act", "Retry").await;
    page.write("dialog textarea", "once more").await;
    page.click("dialog button", "Retry").await;
    page.until("document.querySelector('dialog .notice.error')?.innerText.includes('broken')")
        .await;
    page.click("dialog button", "Close").await;
    page.until("document.querySelectorAll('td.mark').length === 3").await;
    page.click("button", "Mark all").await;
    // What a filter hides is no longer marked.
    page.write("[type=search]", "door-2").await;
    page.until_shown("1 letter marked").await;
    page.write("[type=search]", "").await;
    page.until_shown("1 letter marked").await;
    page.click("button", "Mark all").await;
    page.until_shown("3 letters marked").await;
    page.act("Discard and go on", "the guests are gone").await;
    page.until_shown("There are no dead letters").await;
    let acts = audited(&mut page).await;
    let discards = acts.as_array().unwrap().iter().filter(|act| act[1] == "discard-effect");
    assert_eq!(discards.count(), 3, "{acts}");
    // The refusal of the retry is an answer with an error status, which browsers report.
    page.errors.retain(|error| !error.contains("422"));
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_process_goes_on_after_its_input_is_skipped() {
    let doors = Operated::open().await;
    doors.set(|faults| &faults.reactions_panic, true);
    doors.open_door(7).await;
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/processes").await;
    page.click("tbody a", "1").await;
    page.until_shown("door-7").await;
    page.load("#/process?name=porter&show=set-aside").await;
    page.until_shown("the porter fell asleep").await;
    page.act("Skip", "the door is guarded by hand").await;
    page.until_shown("No input is set aside").await;
    assert!(doors.gesta.process_set_aside("porter").await.unwrap().is_empty());
    page.act("Pause", "night").await;
    page.until_shown("paused").await;
    page.act("Resume", "morning").await;
    page.until_shown("running").await;
    let acts = audited(&mut page).await;
    let acts: Vec<_> = acts.as_array().unwrap().iter().map(|act| act[1].clone()).collect();
    assert_eq!(acts, ["resume-process", "pause-process", "skip-process-input"]);
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outstanding_commands_of_all_instances_are_one_list() {
    let doors = Operated::open().await;
    let operator = Operator::new("olga");
    doors.gesta.pause_process("porter", &operator).await.unwrap();
    doors.set(|faults| &faults.opens_side_door, true);
    for door in [7, 8] {
        doors.open_door(door).await;
    }
    doors.set(|faults| &faults.refuses_appends, true);
    doors.gesta.resume_process("porter", &operator).await.unwrap();
    let router = super::with_console().router(GestaState::new(doors.gesta.clone()));
    let listed = async |query: &str| {
        let path = format!("/v1/processes/porter/commands{query}");
        send(router.clone(), asked("GET", &path)).await
    };
    let Some(mut page) = doors.page().await else { return };
    page.load("#/processes").await;
    page.until(
        "document.querySelectorAll('[aria-label=\"commands to send\"] tbody a').length === 4",
    )
    .await;
    let rows = "[...document.querySelectorAll('[aria-label=\"commands to send\"] tbody tr')]\
                .map((row) => [...row.cells].map((cell) => cell.innerText))";
    let waits = "is sent, or waits for its next try";
    let expected = json!([
        ["porter", "door-7", "open-door", "0.0", waits],
        ["porter", "door-8", "open-door", "0.0", waits],
    ]);
    assert_eq!(page.value(rows).await, expected);
    page.assert_readable_in_all_looks("commands").await;
    let (status, _, first) = listed("?limit=1").await;
    let one = json!({ "instance": "door-7", "id": "0.0", "name": "open-door", "troubled": false });
    assert_eq!((status, first), (200, json!({ "items": [one] })));
    doors.set(|faults| &faults.opens_side_door, false);
    doors.set(|faults| &faults.refuses_appends, false);
    page.until_shown("No command is outstanding").await;
    let (_, _, none) = listed("").await;
    assert_eq!(none, json!({ "items": [] }));
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_is_fired_before_its_time_and_an_instance_cancelled() {
    let doors = Operated::open().await;
    doors.set(|faults| &faults.timers_are_long, true);
    for door in [7, 8] {
        doors.open_door(door).await;
    }
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/instance?process=porter&id=door-7").await;
    page.until_shown("no data").await;
    page.act("Fire now", "the porter is early").await;
    page.until_shown("No timer is pending").await;
    page.until_shown("ended").await;
    page.load("#/instance?process=porter&id=door-8").await;
    page.act("Cancel the instance", "the door is gone").await;
    page.until_shown("cancelled").await;
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_is_paused_and_a_rebuild_is_held_until_it_is_accepted() {
    let doors = Operated::open().await;
    doors.open_door(7).await;
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/projection?name=openings").await;
    page.act("Pause", "the wall is painted").await;
    page.until_shown("paused").await;
    page.assert_readable_in_all_looks("paused").await;
    page.act("Resume", "it is dry").await;
    page.until(
        "[...document.querySelectorAll('button.act')].some((it) => it.innerText === 'Pause')",
    )
    .await;
    page.act("Rebuild and hold", "another wall").await;
    page.until_shown("it is held, and it has no dead letters").await;
    page.assert_readable_in_all_looks("held").await;
    page.click("button", "Compare").await;
    let equal = "document.querySelector('dialog')?.innerText.includes('have the same rows')";
    page.until(equal).await;
    page.assert_readable_in_all_looks("compared").await;
    page.click("dialog button", "Close").await;
    page.act("Switch over", "the other wall is fine").await;
    page.until_shown("Roll back").await;
    let acts = audited(&mut page).await;
    let acts: Vec<_> = acts.as_array().unwrap().iter().map(|act| act[1].clone()).collect();
    let expected =
        ["confirm-switch", "rebuild-projection-and-hold", "resume-projection", "pause-projection"];
    assert_eq!(acts, expected);
    page.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_is_rebuilt_and_its_switch_over_rolled_back() {
    let doors = Operated::open().await;
    doors.open_door(7).await;
    drain(&doors.gesta).await;
    let Some(mut page) = doors.page().await else { return };
    page.load("#/projection?name=openings").await;
    page.act("Rebuild", "another wall").await;
    page.until("[...document.querySelectorAll('button.act')].length === 5").await;
    let kept = "document.querySelector('main').innerText.match(/Build (\\d+) by/)?.[1]";
    let before = page.value(kept).await;
    page.act("Roll back", "the old wall was better").await;
    let before = before.as_str().unwrap();
    page.until(&format!("{kept} && {kept} !== '{before}'")).await;
    page.act("Drop old rows", "it is good now").await;
    page.until_shown("One build").await;
    let acts = audited(&mut page).await;
    let expected = json!([
        ["anonymous", "drop-old-rows", "openings", "it is good now", ""],
        ["anonymous", "roll-back-projection", "openings", "the old wall was better", ""],
        ["anonymous", "rebuild-projection", "openings", "another wall", ""],
    ]);
    assert_eq!(acts, expected);
    page.assert_clean();
}
