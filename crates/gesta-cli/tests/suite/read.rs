//! `gesta read`: selection and output.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use gesta_log::LogStore;
use gesta_store::{
    ContentType, DeleteStream, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent,
    StreamName, Tag, TombstoneStream,
};

use crate::scene::{RunOutput, Scene, append, append_event, start};

/// Returns the positions of the events.
#[track_caller]
fn positions(read: &RunOutput) -> Vec<u64> {
    read.objects().iter().map(|event| event["position"].as_u64().unwrap()).collect()
}

/// Returns a line without its recorded time, which differs in each run.
fn timeless(line: &str) -> String {
    let parts: Vec<_> = line.split("  ").filter(|part| !part.is_empty()).collect();
    assert!(parts[1].ends_with('Z') && parts[1].contains('T'), "{line}");
    [&parts[..1], &parts[2..]].concat().join("  ").trim_start().to_owned()
}

#[test]
fn a_stream_is_read_in_its_order_a_line_an_event() {
    let scene = Scene::of_two_orders();
    let read = scene.run(&["read", "order-1"]);
    let lines: Vec<_> = read.stdout().lines().map(timeless).collect();
    assert_eq!(
        lines,
        [r#"1  order-1@0  order-placed  {"total":"9.90"}"#, "3  order-1@1  order-paid  {}"]
    );
}

#[test]
fn a_place_a_direction_and_a_limit_choose_events() {
    let scene = Scene::of_two_orders();
    for (arguments, expected) in [
        (&["read", "order-1", "--from", "1"][..], &[3][..]),
        (&["read", "order-1", "--backwards"], &[3, 1]),
        (&["read", "order-1", "--backwards", "--from", "0"], &[1]),
        (&["read", "order-1", "--limit", "1"], &[1]),
        (&["read", "--all"], &[1, 2, 3]),
        (&["read", "--all", "--from", "2"], &[2, 3]),
        (&["read", "--all", "--backwards", "--limit", "2"], &[3, 2]),
    ] {
        let read = scene.run(&[arguments, &["--json"]].concat());
        assert_eq!(positions(&read), expected, "{arguments:?}");
    }
}

#[test]
fn filters_choose_events_of_the_whole_store() {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    let tag = |text: &str| Tag::new(text).unwrap();
    let opened = EventType::new("account-opened").unwrap();
    let event = NewEvent::json(EventId::random(), opened, "{}");
    append_event(&store, "account-1", event.tagged([tag("bank:1"), tag("customer:7")]));
    let paid = EventType::new("order-paid").unwrap();
    let event = NewEvent::json(EventId::random(), paid, "{}");
    append_event(&store, "order-2", event.tagged([tag("customer:7")]));
    drop(store);
    for (filter, expected) in [
        (&["--category", "account"][..], &[4][..]),
        (&["--category", "account", "--category", "order"], &[1, 2, 3, 4, 5]),
        (&["--type", "order-paid"], &[3, 5]),
        (&["--type", "order-paid", "--type", "account-opened"], &[3, 4, 5]),
        (&["--tag", "customer:7"], &[4, 5]),
        (&["--tag", "customer:7", "--tag", "bank:1"], &[4]),
        (&["--tag", "customer:7", "--type", "order-paid"], &[5]),
    ] {
        let read = scene.run(&[&["read", "--all", "--json"], filter].concat());
        assert_eq!(positions(&read), expected, "{filter:?}");
    }
    scene.run(&["read", "order-1", "--type", "order-paid"]).fails_with(2, "cannot be used with");
    let two_kinds = ["read", "--all", "--category", "order", "--type", "order-paid"];
    scene.run(&two_kinds).fails_with(2, "cannot be used with");
}

#[test]
fn tags_and_text_are_shown_and_cannot_break_the_line() {
    let scene = Scene::empty();
    let store = scene.open();
    let noted = EventType::new("noted").unwrap();
    let text = ContentType::new("text/plain").unwrap();
    let note = NewEvent::new(EventId::random(), noted.clone(), text, "two\nlines\u{1b}[2J");
    append_event(&store, "note\t-1", note.tagged([Tag::new("by:ann").unwrap()]));
    let pretty = NewEvent::json(EventId::random(), noted.clone(), "{\n  \"a\": \"b  c\"\n}");
    append_event(&store, "note-2", pretty);
    let not_json = NewEvent::json(EventId::random(), noted, "{oops");
    append_event(&store, "note-3", not_json);
    drop(store);
    let read = scene.run(&["read", "--all"]);
    let lines: Vec<_> = read.stdout().lines().map(timeless).collect();
    assert_eq!(
        lines,
        [
            "1  note\\t-1@0  noted  by:ann  two\\nlines\\u{1b}[2J",
            "2  note-2@0  noted  {\"a\":\"b  c\"}",
            "3  note-3@0  noted  {oops",
        ]
    );
    let objects = scene.run(&["read", "note-3", "--json"]).objects();
    assert_eq!((&objects[0]["data"], &objects[0]["dataBase64"]), (&().into(), &"e29vcHM=".into()));
}

#[test]
fn a_stream_that_is_not_there_is_no_empty_one() {
    let scene = Scene::of_two_orders();
    scene.run(&["read", "oder-1"]).fails_with(3, "stream oder-1 does not exist");
    scene.run(&["read", "oder-1", "--json"]).fails_with(3, "stream oder-1 does not exist");
}

#[test]
fn deleted_streams_read_as_what_they_are() {
    let scene = Scene::of_two_orders();
    end_both_orders(&scene.open());
    scene.run(&["read", "order-1"]).fails_with(3, "order-1 is deleted");
    scene.run(&["read", "order-2"]).fails_with(1, "stream order-2 is tombstoned");
}

fn end_both_orders(store: &LogStore) {
    let [deleted, tombstoned] = ["order-1", "order-2"].map(|name| StreamName::new(name).unwrap());
    let delete = DeleteStream::new(deleted, ExpectedRevision::Any);
    futures_executor::block_on(store.delete_stream(delete)).unwrap();
    let tombstone = TombstoneStream::new(tombstoned, ExpectedRevision::Any);
    futures_executor::block_on(store.tombstone_stream(tombstone)).unwrap();
}

#[test]
fn what_another_process_has_open_is_read_all_the_same() {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    assert_eq!(positions(&scene.run(&["read", "--all", "--json"])), [1, 2, 3]);
    drop(store);
}

#[test]
fn reading_changes_no_file() {
    let scene = Scene::of_two_orders();
    let before = scene.files();
    for verb in [
        &["read", "--all"][..],
        &["streams"],
        &["subscribe", "--all", "--until-caught-up"],
        &["verify"],
    ] {
        scene.run(verb).stdout();
        assert_eq!(scene.files(), before, "{verb:?}");
    }
}

#[test]
fn what_a_crash_left_unconfirmed_is_read_too() {
    let killed = Scene::of_two_orders_killed_at_the_last_event();
    assert_eq!(positions(&killed.run(&["read", "--all", "--json"])), [1, 2, 3]);
    let followed = killed.run(&["subscribe", "--all", "--until-caught-up", "--json"]);
    assert_eq!(positions(&followed), [1, 2, 3]);
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() {
    let scene = Scene::empty();
    let store = scene.open();
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(10_000));
    for _ in 0..100 {
        append(&store, "order-1", "order-placed", &long);
    }
    drop(store);
    let mut command = scene.command(&["read", "order-1"]);
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
