//! What is exported, and that it comes back whole.

use std::{
    fs,
    io::Write as _,
    num::NonZero,
    path::Path,
    process::{Child, Stdio},
    thread,
};

use futures_executor::block_on;
use gesta_log::{LogStore, Options};
use gesta_store::{
    CausationId, ContentType, CorrelationId, DeleteStream, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, Position, SetStreamMetadata, StreamMetadata, StreamName, Tag,
    TombstoneStream,
};
use serde_json::{Value, json};

use crate::scene::{Opened, Ran, Scene, append, append_event, start};

fn event(content_type: ContentType, data: &[u8]) -> NewEvent {
    NewEvent::new(EventId::random(), EventType::new("noted").unwrap(), content_type, data.to_vec())
}

/// A store with everything that an export could lose.
fn of_all_kinds() -> Scene {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    let spaced = event(ContentType::JSON, b"{ \"price\" : 1.10,\n \"paid\": false }");
    append_event(&store, "order-1", spaced);
    let bytes = event(ContentType::OCTET_STREAM, b"\xff\0\n");
    append_event(&store, "order-2", NewEvent { metadata: b"not json".to_vec().into(), ..bytes });
    let all = NewEvent {
        schema_version: 3,
        metadata: b"{\"actor\":\"ann\"}".to_vec().into(),
        tags: vec![Tag::of("customer", "17850").unwrap(), Tag::new("old").unwrap()],
        correlation_id: Some(CorrelationId::new("call-1").unwrap()),
        causation_id: Some(CausationId::new("click-2").unwrap()),
        ..event(ContentType::new("text/plain").unwrap(), b"hello")
    };
    append_event(&store, "no_category", all);
    hide_some(&store);
    drop(store);
    scene
}

/// A stream that keeps one event, one that was deleted and came back, and one that is no more.
fn hide_some(store: &Opened) {
    let name = |text| StreamName::new(text).unwrap();
    let store: &LogStore = store;
    for stream in ["kept-1", "gone-1", "dead-1"] {
        append(store, stream, "noted", "1");
        append(store, stream, "noted", "2");
    }
    block_on(store.set_stream_metadata(SetStreamMetadata {
        stream: name("kept-1"),
        expected_metadata: ExpectedRevision::NoStream,
        metadata: StreamMetadata { max_count: NonZero::new(1), ..StreamMetadata::default() },
    }))
    .unwrap();
    let (stream, expected) = (name("gone-1"), ExpectedRevision::StreamExists);
    block_on(store.delete_stream(DeleteStream { stream, expected })).unwrap();
    append(store, "gone-1", "noted", "3");
    let stream = name("dead-1");
    block_on(store.tombstone_stream(TombstoneStream { stream, expected })).unwrap();
}

/// All events of a store but for the time, which is the store's own.
fn events(scene: &Scene) -> Vec<Value> {
    let mut events = scene.run(&["export"]).objects();
    for event in &mut events {
        event.as_object_mut().unwrap().remove("recordedAt").unwrap();
    }
    events
}

fn exported(scene: &Scene, more: &[&str]) -> String {
    scene.run(&[&["export"], more].concat()).said().to_owned()
}

fn import(scene: &Scene, lines: &str) -> Ran {
    scene.run_with_input(&["import", "-"], lines)
}

#[test]
fn an_export_comes_back_with_everything() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    let lines = exported(&scene, &[]);
    assert_eq!(import(&copy, &lines).said(), "imported 16 events\n");
    assert_eq!(events(&copy), events(&scene));
    for stream in ["order-1", "kept-1", "gone-1"] {
        let read = |scene: &Scene| scene.run(&["read", stream]).said().lines().count();
        assert_eq!(read(&copy), read(&scene), "{stream}");
    }
    copy.run(&["append", "dead-1", "--type", "t", "--data", "1"]).fails_with(1, "for ever");
}

#[test]
fn an_export_says_what_it_cannot_say_in_json_in_base64() {
    let lines = of_all_kinds().run(&["export"]).objects();
    assert_eq!(lines[0]["data"], json!({ "total": "9.90" }));
    assert_eq!(lines[3]["data"], Value::Null, "white space would be lost");
    assert_eq!(lines[3]["dataBase64"], "eyAicHJpY2UiIDogMS4xMCwKICJwYWlkIjogZmFsc2UgfQ==");
    assert_eq!(lines[4]["dataBase64"], "/wAK");
    assert_eq!(lines[4]["metadataBase64"], "bm90IGpzb24=");
    assert_eq!(lines[5]["metadata"], json!({ "actor": "ann" }));
}

#[test]
fn importing_again_adds_nothing_even_where_reads_show_nothing() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    let lines = exported(&scene, &[]);
    import(&copy, &lines).said();
    assert_eq!(import(&copy, &lines).said(), "imported 0 events; 16 events there already\n");
    // Out of the store's own order, so that every event is looked for.
    let mut shuffled: Vec<_> = lines.lines().collect();
    shuffled.reverse();
    let again = import(&copy, &shuffled.join("\n"));
    assert_eq!(again.said(), "imported 0 events; 16 events there already\n");
    assert_eq!(events(&copy), events(&scene));
}

#[test]
fn an_import_goes_on_where_another_one_was_cut_off() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    let lines = exported(&scene, &[]);
    for cut in [1, 4, 11] {
        let part: Vec<_> = lines.lines().take(cut).collect();
        import(&copy, &part.join("\n")).said();
    }
    assert_eq!(import(&copy, &lines).said(), "imported 5 events; 11 events there already\n");
    assert_eq!(events(&copy), events(&scene));
}

/// Lines of one event each, for so many streams that many appends are on their way at once.
fn many_lines(count: u64) -> String {
    let line = |n: u64| {
        let (stream, revision) = (format!("thing-{}", n % 700), n / 700);
        let id = EventId::derived_from("many", n).to_string();
        json!({ "stream": stream, "revision": revision, "id": id, "type": "noted", "data": n })
            .to_string()
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_killed_import_goes_on() {
    let (copy, lines) = (Scene::empty(), many_lines(5_000));
    let mut command = copy.command(&["import", "-"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child: Child = start(piped);
    let mut stdin = child.stdin.take().unwrap();
    // It does not end by itself, since its input does not.
    stdin.write_all(&lines.as_bytes()[..lines.len() / 2]).unwrap();
    let follower = LogStore::open(copy.path(), Options::read_only()).unwrap();
    while block_on(follower.head()).unwrap().position == Position::START {
        thread::yield_now();
        follower.refresh().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let told = import(&copy, &lines);
    assert!(told.said().ends_with(" there already\n"), "{told:?}");
    let there = copy.run(&["read", "--all", "--json"]).objects();
    let data: Vec<_> = there.iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(data, (0..5_000).collect::<Vec<_>>(), "each once, in order");
}

#[test]
fn a_line_that_cannot_be_read_is_named_and_nothing_after_it_is_imported() {
    let copy = Scene::empty();
    let lines = exported(&Scene::of_two_orders(), &[]);
    let mut lines: Vec<_> = lines.lines().collect();
    lines.insert(2, "");
    lines.insert(3, "{\"stream\": \"order-1\"}");
    let refused = import(&copy, &lines.join("\n"));
    refused.fails_with(2, "line 4 cannot be read: missing field `revision`");
    refused.fails_with(2, "2 events appended and 0 events there already");
    assert_eq!(events(&copy).len(), 2);
    let system = r#"{"stream":"$other","revision":0,"id":"0190a6b4-7c00-7000-8000-000000000001","type":"t","data":1}"#;
    import(&copy, system).fails_with(2, "line 1: rejected: stream $other is the system's");
}

#[test]
fn a_stream_with_other_events_is_not_mixed_with() {
    let (lines, other) = (exported(&Scene::of_two_orders(), &[]), Scene::empty());
    append(&other.open(), "order-2", "order-placed", "{}");
    let refused = import(&other, &lines);
    refused.fails_with(1, "line 2: order-2 has other events in this store: at revision 0 is event");
    assert_eq!(events(&other).len(), 2, "what was there, and what came before the refusal");
}

#[test]
fn a_stream_without_its_beginning_is_not_imported() {
    let scene = Scene::of_two_orders();
    let rest = exported(&scene, &["--from", "3"]);
    assert_eq!(rest.lines().count(), 1);
    let refused = import(&Scene::empty(), &rest);
    refused
        .fails_with(2, "line 1: it is revision 1 of order-1, and the next one there can only be 0");
    // Where its beginning is there, it goes on.
    let copy = Scene::empty();
    let lines = exported(&scene, &[]);
    import(&copy, &lines.lines().take(2).collect::<Vec<_>>().join("\n")).said();
    assert_eq!(import(&copy, &rest).said(), "imported 1 event\n");
    assert_eq!(events(&copy), events(&scene));
}

#[test]
fn a_part_of_a_store_can_be_exported() {
    let scene = of_all_kinds();
    assert_eq!(exported(&scene, &["--category", "kept"]).lines().count(), 2);
    assert_eq!(exported(&scene, &["--type", "order-placed"]).lines().count(), 2);
    assert_eq!(exported(&scene, &["--tag", "customer:17850"]).lines().count(), 1);
    assert_eq!(exported(&scene, &["--category", "order", "--from", "3"]).lines().count(), 3);
}

#[test]
fn an_export_into_a_file_is_told_and_imported_from_it() {
    let (scene, copy, files) = (Scene::of_two_orders(), Scene::empty(), Scene::empty());
    let file = files.path().join("events.jsonl");
    let path = file.to_str().unwrap();
    let told = scene.run(&["export", "--output", path]);
    assert_eq!(told.said(), format!("exported 3 events up to position 3 to {path}\n"));
    assert_eq!(fs::read_to_string(&file).unwrap(), exported(&scene, &[]));
    let told = &scene.run(&["export", "--output", path, "--json"]).objects()[0];
    assert_eq!(*told, json!({ "file": path, "events": 3, "lastPosition": 3 }));
    assert_eq!(files.files().len(), 1, "nothing is left beside it");

    let told = &copy.run(&["import", path, "--json"]).objects()[0];
    assert_eq!(*told, json!({ "appended": 3, "known": 0, "lastPosition": 3 }));
    let told = &copy.run(&["import", path, "--json"]).objects()[0];
    assert_eq!(*told, json!({ "appended": 0, "known": 3, "lastPosition": null }));
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let scene = Scene::of_two_orders();
    scene.run(&["import", "no-such-file"]).fails_with(2, "cannot read no-such-file");
    let nowhere = Path::new("no-such-directory").join("events.jsonl");
    let refused = scene.run(&["export", "--output", nowhere.to_str().unwrap()]);
    refused.fails_with(2, "cannot write no-such-directory/events.jsonl");
}
