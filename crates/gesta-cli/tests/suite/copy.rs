//! `gesta copy`: from a directory to PostgreSQL, back, and to another directory.

use std::{process::Stdio, thread};

use gesta_log::ScavengeOptions;
use gesta_store::{
    Append, ContentType, DeleteStream, EventId, EventStore as _, EventType, ExpectedRevision,
    NewEvent, SetStreamMetadata, StreamAppend, StreamMetadata, StreamName, Tag, TombstoneStream,
};
use serde_json::Value;

use crate::{
    database::Database,
    scene::{OpenStore, RunOutput, Scene, append, program, run, start},
};

fn url(scene: &Scene) -> String {
    format!("gesta:{}", scene.path().display())
}

fn copy(source: &str, target: &str, more: &[&str]) -> RunOutput {
    run(program(&[&["copy", source, target], more].concat()))
}

/// The digest of all appends, as an export has it.
fn digest(store: &str) -> Value {
    let exported = run(program(&["export", "--store", store]));
    let end: Value = serde_json::from_str(exported.stdout().lines().last().unwrap()).unwrap();
    end["end"]["appendsBlake3"].clone()
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn event(nth: u64) -> NewEvent {
    let event_type = EventType::new(if nth.is_multiple_of(3) { "paid" } else { "placed" }).unwrap();
    NewEvent::json(EventId::derived_from("event", nth), event_type, format!("{{\"nth\":{nth}}}"))
}

/// A store with everything that a store can have.
fn varied() -> Scene {
    let scene = Scene::empty();
    let store = scene.open();
    let wait = |append| futures_executor::block_on(store.append(append)).unwrap();
    for nth in 0..40 {
        let stream = name(&format!("order-{}", nth % 5));
        wait(Append::to(stream, ExpectedRevision::Any, [event(nth)]));
    }
    // Appends to several streams, with tags given twice, other encodings, and ids of
    // conversations.
    let octets = NewEvent::new(
        EventId::derived_from("octets", 0),
        EventType::new("scanned").unwrap(),
        ContentType::OCTET_STREAM,
        vec![0, 159, 146, 150],
    );
    let tag = || Tag::of("customer", "7").unwrap();
    let octets = octets.tagged([tag(), tag()]).metadata("{\"actor\":\"ann\"}").schema_version(3);
    let parts = vec![
        StreamAppend::new(name("scan-1"), ExpectedRevision::NoStream, vec![octets, event(50)]),
        StreamAppend::new(name("order-1"), ExpectedRevision::Any, vec![event(51)]),
    ];
    wait(Append::of(parts));
    let large = NewEvent::json(
        EventId::derived_from("large", 0),
        EventType::new("drawn").unwrap(),
        format!("\"{}\"", "x".repeat(5 << 20)),
    );
    wait(Append::to(name("picture-1"), ExpectedRevision::Any, [large]));
    hide_some(&store);
    drop(store);
    scene
}

fn hide_some(store: &OpenStore) {
    let any = ExpectedRevision::Any;
    let metadata = StreamMetadata::default().max_count(std::num::NonZeroU64::new(3).unwrap());
    let set = SetStreamMetadata::new(name("order-2"), any, metadata);
    futures_executor::block_on(store.set_stream_metadata(set)).unwrap();
    futures_executor::block_on(store.delete_stream(DeleteStream::new(name("order-3"), any)))
        .unwrap();
    let tombstone = TombstoneStream::new(name("order-4"), any);
    futures_executor::block_on(store.tombstone_stream(tombstone)).unwrap();
}

fn equal(output: &RunOutput) -> &Value {
    let line = output.out.lines().last().unwrap_or_default();
    let object = serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(output.code == 0 && object["equal"] == true, "{output:?}");
    Box::leak(Box::new(object))
}

#[test]
fn a_store_is_copied_to_postgresql_and_back_without_loss() {
    let Some(database) = Database::new_or_skip() else { return };
    let (there, back) = (varied(), Scene::empty());
    let wanted = digest(&url(&there));
    let copied = copy(&url(&there), &database.url(), &["--json"]);
    let report = equal(&copied);
    assert_eq!((&report["events"], &report["blake3"]), (&47.into(), &wanted), "{report}");
    // Five streams that are not deleted, and three with metadata.
    assert_eq!(report["streams"], 8, "{report}");
    assert_eq!(digest(&database.url()), wanted);
    let again = copy(&database.url(), &url(&back), &["--json"]);
    assert_eq!(equal(&again)["copied"], 47, "{again:?}");
    assert_eq!(digest(&url(&back)), wanted);
    // Both are stores that continue.
    for store in [database.url(), url(&back)] {
        let more = ["append", "order-1", "--type", "t", "--data", "1", "--store", &store, "--json"];
        assert_eq!(run(program(&more)).objects()[0]["position"], 48);
        let tombstoned = ["append", "order-4", "--type", "t", "--data", "1", "--store", &store];
        run(program(&tombstoned)).fails_with(1, "order-4");
    }
}

#[test]
fn places_of_scavenged_events_are_kept_on_the_way_to_postgresql_and_back() {
    let Some(database) = Database::new_or_skip() else { return };
    let (there, back) = (varied(), Scene::empty());
    let store = there.open();
    append(&store, "order-3", "placed", "{}");
    let gone = DeleteStream::new(name("order-3"), ExpectedRevision::StreamExists);
    futures_executor::block_on(store.delete_stream(gone)).unwrap();
    drop(store);
    let store = there.open();
    let options = ScavengeOptions::default().threshold_percent(0);
    assert!(store.scavenge(options, &mut |_| {}).unwrap().events > 0);
    drop(store);
    let wanted = digest(&url(&there));
    equal(&copy(&url(&there), &database.url(), &["--json"]));
    equal(&copy(&database.url(), &url(&back), &["--json"]));
    assert_eq!(digest(&url(&back)), wanted);
    // Revisions continue after the events that are gone.
    let more = ["append", "order-3", "--type", "t", "--data", "1", "--json"];
    let revision = |output: RunOutput| output.objects()[0]["revision"].clone();
    assert_eq!(revision(database.run(&more)), revision(back.run(&more)));
}

#[test]
fn positions_of_scavenged_events_at_the_end_are_not_taken_again() {
    let Some(database) = Database::new_or_skip() else { return };
    let scene = Scene::of_two_orders();
    let store = scene.open();
    // The last event is scavenged, and its deletion with it.
    let any = ExpectedRevision::Any;
    append(&store, "gone-1", "placed", "{}");
    futures_executor::block_on(store.delete_stream(DeleteStream::new(name("gone-1"), any)))
        .unwrap();
    append(&store, "gone-2", "placed", "{}");
    let metadata = StreamMetadata::default().max_age(std::time::Duration::from_micros(1));
    futures_executor::block_on(store.set_stream_metadata(SetStreamMetadata::new(
        name("gone-2"),
        any,
        metadata,
    )))
    .unwrap();
    append(&store, "gone-2", "placed", "{}");
    drop(store);
    let store = scene.open();
    let options = ScavengeOptions::default().threshold_percent(0);
    store.scavenge(options, &mut |_| {}).unwrap();
    let head = futures_executor::block_on(store.head()).unwrap().position.number();
    let last = futures_executor::block_on(
        store.read_all(gesta_store::ReadAll::backwards().limit(1)).collect_events(),
    );
    assert!(last.unwrap()[0].position.number() < head, "the last position is empty");
    drop(store);
    equal(&copy(&url(&scene), &database.url(), &["--json"]));
    let more = ["append", "order-1", "--type", "t", "--data", "1", "--json"];
    let position = database.run(&more).objects()[0]["position"].as_u64().unwrap();
    assert!(position > head + 1, "{position} follows {head} and the event after it");
}

#[test]
fn a_store_is_copied_to_another_directory() {
    let (there, other) = (varied(), Scene::empty());
    let report = copy(&url(&there), &url(&other), &["--json"]);
    assert_eq!(equal(&report)["events"], 47, "{report:?}");
    assert_eq!(digest(&url(&there)), digest(&url(&other)));
    // A second run has nothing to do, and compares.
    let again = copy(&url(&there), &url(&other), &["--json"]);
    assert_eq!(equal(&again)["copied"], 0, "{again:?}");
}

#[test]
fn a_copy_is_brought_up_to_date_until_it_has_events_of_its_own() {
    let Some(database) = Database::new_or_skip() else { return };
    let scene = Scene::of_two_orders();
    equal(&copy(&url(&scene), &database.url(), &["--json"]));
    append(&scene.open(), "order-3", "order-placed", "{}");
    let more = copy(&url(&scene), &database.url(), &["--json"]);
    assert_eq!((&equal(&more)["copied"], &equal(&more)["events"]), (&1.into(), &4.into()));
    let own = ["append", "order-9", "--type", "t", "--data", "1"];
    assert_eq!(database.run(&own).code, 0);
    let compared = copy(&url(&scene), &database.url(), &["--verify-only", "--json"]);
    assert_eq!(equal(&compared)["eventsOfTargetAfter"], 1, "{compared:?}");
    append(&scene.open(), "order-4", "order-placed", "{}");
    let refused = copy(&url(&scene), &database.url(), &["--json"]);
    assert_eq!((refused.code, &refused.error()["code"]), (1, &"target-occupied".into()));
}

#[test]
fn a_difference_is_found_and_named() {
    let Some(database) = Database::new_or_skip() else { return };
    let scene = Scene::of_two_orders();
    equal(&copy(&url(&scene), &database.url(), &["--json"]));
    let verify = || copy(&url(&scene), &database.url(), &["--verify-only", "--json"]);
    for (change, undo, what) in [
        (
            "UPDATE {schema}.events SET data = '{}' WHERE position = 2",
            "UPDATE {schema}.events SET data = '{\"total\":\"1.10\"}' WHERE position = 2",
            "the append at position 2 differs in the target, first in event",
        ),
        (
            "UPDATE {schema}.events SET recorded_at = recorded_at + 1 WHERE position = 3",
            "UPDATE {schema}.events SET recorded_at = recorded_at - 1 WHERE position = 3",
            "the append at position 3 differs",
        ),
        (
            "UPDATE {schema}.streams SET tombstoned = true WHERE name = 'order-2'",
            "UPDATE {schema}.streams SET tombstoned = false WHERE name = 'order-2'",
            "order-2",
        ),
    ] {
        database.execute(change);
        let found = verify();
        let error = found.error();
        assert_eq!((found.code, &error["code"]), (1, &"not-equal".into()), "{error}");
        assert!(error["message"].as_str().unwrap().contains(what), "{error}");
        database.execute(undo);
        equal(&verify());
    }
}

#[test]
fn a_target_that_cannot_be_used_says_what_to_do() {
    let Some(database) = Database::new_or_skip() else { return };
    let (scene, other) = (Scene::of_two_orders(), Scene::of_two_orders());
    let (from, to) = (url(&scene), database.url());
    let refused_with =
        |how: &[&str], source: &str, target: &str, exit: i32, code: &str, text: &str| {
            let failed = copy(source, target, how);
            let error = failed.error();
            assert_eq!((failed.code, &error["code"]), (exit, &code.into()), "{error}");
            assert!(error["message"].as_str().unwrap().contains(text), "{error}");
        };
    let refused = |source: &str, target: &str, exit: i32, code: &str, text: &str| {
        refused_with(&["--json"], source, target, exit, code, text);
    };
    refused(&from, &format!("{from}/."), 2, "same-store", "the same store");
    refused(&to, &to, 2, "same-store", "the same store");
    let compare = ["--json", "--verify-only"];
    refused_with(&compare, &from, "gesta:./no-such", 2, "no-store", "no store at gesta:./no-such");
    refused("gesta:./no-such", &to, 2, "no-store", "no store at gesta:./no-such");
    refused(&to, &url(&Scene::empty()), 2, "no-store", &database.schema);
    refused(&from, &url(&other), 1, "target-occupied", "not of the source");
    refused(&from, "postgres://ann@127.0.0.1:1/shop", 2, "unreachable", "127.0.0.1:1");
    refused(&from, "memory:", 2, "no-store", "memory");
    // Events that are not of the source.
    assert_eq!(database.run(&["append", "a-1", "--type", "t", "--data", "1"]).code, 0);
    refused(&from, &to, 1, "target-occupied", "not of the source");
    // Tables of a later version.
    database.execute("UPDATE {schema}.store SET version = 99");
    refused(&from, &to, 2, "store-not-opened", "version 99");
}

#[test]
fn a_user_without_rights_is_told_which() {
    let Some(database) = Database::new_or_skip() else { return };
    let scene = Scene::of_two_orders();
    let role = format!("{}_reader", database.schema);
    database.execute(&format!("CREATE ROLE {role} LOGIN"));
    let failed = copy(&url(&scene), &database.url_as(&role), &["--json"]);
    let error = failed.error();
    assert_eq!((failed.code, &error["code"]), (2, &"denied".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("permission denied"), "{error}");
    database.execute(&format!("DROP ROLE {role}"));
}

/// Statements that let the server refuse rows as it does on a full disk.
const FULL: &str = "
CREATE FUNCTION {schema}.full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.position > 5000 THEN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON {schema}.events FOR EACH ROW
    EXECUTE FUNCTION {schema}.full()";

#[test]
fn a_copy_that_a_full_disk_ended_continues() {
    let Some(database) = Database::new_or_skip() else { return };
    let scene = of_many_events(12_000);
    // Creates the tables.
    let empty = Scene::empty();
    drop(empty.open());
    equal(&copy(&url(&empty), &database.url(), &["--json"]));
    database.execute("DELETE FROM {schema}.copied; DELETE FROM {schema}.incarnations");
    database.execute(FULL);
    let failed = copy(&url(&scene), &database.url(), &["--json"]);
    let error = failed.error();
    assert_eq!((failed.code, &error["code"]), (2, &"overloaded".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("run the same command again"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("free disk space"), "{error}");
    // No command takes the unfinished copy for a store.
    for verb in [&["read", "--all"][..], &["append", "a-1", "--type", "t", "--data", "1"]] {
        let refused = database.run(&[verb, &["--json"]].concat());
        assert_eq!(refused.error()["code"], "copy-unfinished", "{refused:?}");
    }
    database.execute("DROP TRIGGER full_disk ON {schema}.events");
    let continued = copy(&url(&scene), &database.url(), &["--json"]);
    let copied = equal(&continued)["copied"].as_u64().unwrap();
    assert!((1..12_000).contains(&copied), "it went on: {continued:?}");
}

/// A store with appends of one to four events.
fn of_many_events(events: u64) -> Scene {
    let scene = Scene::empty();
    let store = scene.open();
    let mut appends = Vec::new();
    let mut nth = 0;
    while nth < events {
        let size = (1 + nth % 4).min(events - nth);
        let stream = name(&format!("order-{}", nth % 97));
        let all = (nth..nth + size).map(event);
        appends.push(store.append(Append::to(stream, ExpectedRevision::Any, all)));
        nth += size;
        if appends.len() == 500 || nth == events {
            for append in appends.drain(..) {
                futures_executor::block_on(append).unwrap();
            }
        }
    }
    drop(appends);
    drop(store);
    scene
}

/// Number of kills: ten in the full form.
fn kills() -> u64 {
    if gesta_services::e2e::is_full() { 10 } else { 3 }
}

/// More than two transactions of a copy.
const EVENTS_PER_KILL: u64 = 9_000;

#[test]
fn a_copy_that_is_killed_again_and_again_ends_up_equal() {
    let Some(database) = Database::new_or_skip() else { return };
    let kills = kills();
    let events = kills * EVENTS_PER_KILL;
    let scene = of_many_events(events);
    let (from, to) = (url(&scene), database.url());
    // Within each part of the store, at a place that the seed says.
    let mut seed = 7_u64;
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let place = kill * EVENTS_PER_KILL + (seed >> 33) % 4_000;
        let mut child =
            start(program(&["copy", &from, &to]).stdout(Stdio::null()).stderr(Stdio::null()));
        let query = "SELECT next_position FROM {schema}.copied";
        while database.number(query).unwrap_or(0) <= i64::try_from(place).unwrap() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before position {place}");
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = copy(&from, &to, &["--json"]);
    let report = equal(&last);
    assert_eq!(report["events"].as_u64(), Some(events), "{report}");
}

#[test]
fn a_copy_into_a_directory_that_is_killed_again_and_again_ends_up_equal() {
    let scene = of_many_events(8_000);
    let target = Scene::empty();
    for kill in 0..kills() {
        let arguments = ["copy", &url(&scene), &url(&target)];
        let mut child = start(program(&arguments).stdout(Stdio::null()).stderr(Stdio::null()));
        // As soon as it has begun, and a little later each time.
        while !target.path().join("IMPORTING").exists() && child.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        thread::park_timeout(std::time::Duration::from_millis(kill * 9));
        drop(child.kill());
        child.wait().unwrap();
    }
    let report = copy(&url(&scene), &url(&target), &["--json"]);
    assert_eq!(equal(&report)["events"], 8_000, "{report:?}");
}
