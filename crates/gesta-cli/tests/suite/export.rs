//! `gesta export` and `gesta import`: round trips.

use std::{
    fs,
    num::NonZero,
    path::Path,
    process::{Child, Stdio},
    thread,
};

use futures_executor::block_on;
use gesta_log::{LogStore, Options};
use gesta_store::{
    Append, CausationId, ContentType, CorrelationId, DeleteStream, EventId, EventStore as _,
    EventType, ExpectedRevision, NewEvent, Position, SetStreamMetadata, StreamMetadata, StreamName,
    Tag, TombstoneStream,
};
use serde_json::{Value, json};

use crate::scene::{OpenStore, RunOutput, Scene, append, append_event, start};

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
    append_event(&store, "order-2", bytes.metadata(b"not json".to_vec()));
    let all = event(ContentType::new("text/plain").unwrap(), b"hello")
        .schema_version(3)
        .metadata(b"{\"actor\":\"ann\"}".to_vec())
        .tagged(vec![Tag::of("customer", "17850").unwrap(), Tag::new("old").unwrap()])
        .correlation_id(CorrelationId::new("call-1").unwrap())
        .causation_id(CausationId::new("click-2").unwrap());
    append_event(&store, "no_category", all);
    hide_some(&store);
    drop(store);
    scene
}

/// Adds a stream that keeps one event, a deleted and recreated one, and a tombstoned one.
fn hide_some(store: &OpenStore) {
    let name = |text| StreamName::new(text).unwrap();
    let store: &LogStore = store;
    for stream in ["kept-1", "gone-1", "dead-1"] {
        append(store, stream, "noted", "1");
        append(store, stream, "noted", "2");
    }
    block_on(store.set_stream_metadata(SetStreamMetadata::new(
        name("kept-1"),
        ExpectedRevision::NoStream,
        StreamMetadata::default().max_count(NonZero::new(1)),
    )))
    .unwrap();
    let (stream, expected) = (name("gone-1"), ExpectedRevision::StreamExists);
    block_on(store.delete_stream(DeleteStream::new(stream, expected))).unwrap();
    append(store, "gone-1", "noted", "3");
    let stream = name("dead-1");
    block_on(store.tombstone_stream(TombstoneStream::new(stream, expected))).unwrap();
}

/// The events of an export, one by one.
fn events(scene: &Scene) -> Vec<Value> {
    let mut events = Vec::new();
    for mut line in scene.run(&["export"]).objects() {
        match line.get_mut("append") {
            Some(Value::Array(append)) => events.append(append),
            Some(_) | None => events.push(line),
        }
    }
    events.retain(|event| {
        event.get("stream").is_some_and(Value::is_string) && event.get("id").is_some()
    });
    events
}

/// The lines of appends of an export.
fn appends(scene: &Scene, more: &[&str]) -> Vec<Value> {
    let exported = exported(scene, more);
    let lines: Vec<_> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines[1..lines.len() - 1].to_vec()
}

fn exported(scene: &Scene, more: &[&str]) -> String {
    scene.run(&[&["export"], more].concat()).out
}

fn import(scene: &Scene, lines: &str) -> RunOutput {
    scene.run_with_input(&["import", "-"], lines)
}

/// The first lines of an export.
fn first_lines(lines: &str, count: usize) -> String {
    lines.lines().take(count).map(|line| format!("{line}\n")).collect()
}

/// Returns the same events in version 1 of the format.
fn old_format(lines: &str) -> String {
    let mut old = String::new();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        match value.get("append") {
            Some(Value::Array(events)) => {
                for event in events {
                    old.push_str(&format!("{event}\n"));
                }
            }
            _ if value.get("stream").is_some() && value.get("id").is_some() => {
                old.push_str(&format!("{line}\n"));
            }
            _ => {}
        }
    }
    old
}

/// Three events in two streams, appended together.
fn transfer() -> Append {
    let event = |nth| {
        let mut event = event(ContentType::JSON, b"{\"amount\":5}");
        event.id = EventId::derived_from("transfer", nth);
        event
    };
    let name = |text| StreamName::new(text).unwrap();
    Append::to(name("account-1"), ExpectedRevision::Any, [event(0), event(1)]).and(
        name("account-2"),
        ExpectedRevision::Any,
        [event(2)],
    )
}

/// A store whose older events were scavenged, with the transfer after them.
fn scavenged() -> Scene {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    for n in 0..40 {
        append(&store, "session-1", "seen", &format!("{{\"n\":{n}}}"));
        append(&store, "user-1", "changed", &format!("{{\"n\":{n}}}"));
    }
    block_on(store.append(transfer())).unwrap();
    drop(store);
    scene.run(&["truncate", "user-1", "--before", "30", "--yes"]).stdout();
    scene.run(&["delete", "session-1", "--yes"]).stdout();
    assert!(
        scene.run(&["scavenge", "--threshold", "0"]).stdout().starts_with("scavenged 70 events")
    );
    scene
}

#[test]
fn an_export_says_which_store_it_is_and_ends_with_how_much_there_is() {
    let scene = of_all_kinds();
    let lines = scene.run(&["export"]).objects();
    let (first, last) = (&lines[0], lines.last().unwrap());
    assert_eq!((&first["gestaExport"], &first["store"]), (&json!(2), &json!("gesta-log")));
    assert_eq!((&first["head"], &first["whole"]), (&json!(16), &json!(true)));
    let stats = &scene.run(&["stats", "--json"]).objects()[0];
    assert_eq!(
        first["incarnations"].as_array().unwrap().last().unwrap()["incarnation"],
        stats["incarnation"]
    );
    assert_eq!((&last["end"]["events"], &last["end"]["appends"]), (&json!(16), &json!(16)));
    assert_eq!(last["end"]["blake3"].as_str().unwrap().len(), 64);
}

#[test]
fn an_export_comes_back_with_everything() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    let lines = exported(&scene, &[]);
    assert_eq!(import(&copy, &lines).stdout(), "imported 16 events, exactly as exported\n");
    assert_eq!(events(&copy), events(&scene), "recorded times and positions, too");
    for stream in ["order-1", "kept-1", "gone-1"] {
        let read = |scene: &Scene| scene.run(&["read", stream]).stdout().to_owned();
        assert_eq!(read(&copy), read(&scene), "{stream}");
    }
    copy.run(&["append", "dead-1", "--type", "t", "--data", "1"]).fails_with(1, "is tombstoned");
    assert!(copy.run(&["verify"]).stdout().starts_with("sound: "));
}

#[test]
fn a_store_that_never_had_an_event_becomes_the_one_that_was_exported() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    drop(copy.open());
    let lines = exported(&scene, &[]);
    assert_eq!(import(&copy, &lines).stdout(), "imported 16 events, exactly as exported\n");
    assert_eq!(events(&copy), events(&scene));
}

#[test]
fn an_export_says_what_it_cannot_say_in_json_in_base64() {
    let lines = appends(&of_all_kinds(), &[]);
    assert_eq!(lines[0]["data"], json!({ "total": "9.90" }));
    assert_eq!(lines[3]["data"], Value::Null, "white space would be lost");
    assert_eq!(lines[3]["dataBase64"], "eyAicHJpY2UiIDogMS4xMCwKICJwYWlkIjogZmFsc2UgfQ==");
    assert_eq!(lines[4]["dataBase64"], "/wAK");
    assert_eq!(lines[4]["metadataBase64"], "bm90IGpzb24=");
    assert_eq!(lines[5]["metadata"], json!({ "actor": "ann" }));
}

#[test]
fn what_was_appended_together_is_known_as_one_append_after_a_move() {
    for elsewhere in [false, true] {
        let (scene, copy) = (Scene::of_two_orders(), Scene::empty());
        let first = block_on(scene.open().append(transfer())).unwrap();
        let lines = exported(&scene, &[]);
        assert_eq!(appends(&scene, &[])[3]["append"].as_array().unwrap().len(), 3);
        if elsewhere {
            append(&copy.open(), "shelf-1", "noted", "1");
        }
        import(&copy, &lines).stdout();
        let again = block_on(copy.open().append(transfer())).unwrap();
        assert_eq!(again.revisions, first.revisions);
        let moved = if elsewhere { 2 } else { 0 };
        assert_eq!(again.position.number(), first.position.number() + moved);
        let ids: Vec<_> = events(&copy).iter().map(|event| event["id"].to_string()).collect();
        let once: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(once.len(), ids.len(), "no id stands twice");
    }
}

#[test]
fn a_scavenged_store_keeps_positions_revisions_and_repeats_over_a_move() {
    let (scene, copy) = (scavenged(), Scene::empty());
    let lines = exported(&scene, &[]);
    assert!(lines.contains("\"scavenged\":{"));
    assert!(import(&copy, &lines).stdout().ends_with(", exactly as exported\n"));
    assert_eq!(appends(&copy, &[]), appends(&scene, &[]));
    let read = |scene: &Scene| scene.run(&["read", "user-1", "--json"]).objects();
    assert_eq!(read(&copy), read(&scene));
    assert_eq!(read(&copy)[0]["revision"], 30);
    let next = copy.run(&["append", "session-1", "--type", "seen", "--data", "1", "--json"]);
    assert_eq!(next.objects()[0]["revision"], 40, "a stream of which all is gone goes on");
}

#[test]
fn a_scavenged_store_comes_to_one_that_has_events_already() {
    let (scene, copy) = (scavenged(), Scene::empty());
    append(&copy.open(), "shelf-1", "noted", "1");
    let lines = exported(&scene, &[]);
    let ran = copy.run_with_input(&["import", "-", "--accept-truncated"], &lines);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("revisions of 1 stream were lowered"), "{ran:?}");
    let data = |scene: &Scene| {
        let read = scene.run(&["read", "user-1", "--json"]).objects();
        read.iter().map(|event| event["data"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(data(&copy), data(&scene), "what was hidden is, and what was shown is");
    // The old positions are kept.
    let kept = copy.run(&["streams", "--prefix", "imported-positions-"]);
    assert_eq!(kept.stdout().lines().count(), 2, "{kept:?}");
    // A second import skips events that exist, and needs no flag.
    let again = import(&copy, &lines);
    assert!(again.out.starts_with("imported 0 events; "), "{again:?}");
}

#[test]
fn a_stream_without_its_beginning_comes_to_a_store_with_events_only_if_that_is_said() {
    let (scene, copy, files) = (scavenged(), Scene::empty(), Scene::empty());
    append(&copy.open(), "shelf-1", "noted", "1");
    let (lines, part) = (exported(&scene, &[]), exported(&scene, &["--category", "user"]));
    let file = files.path().join("events.jsonl");
    let path = file.to_str().unwrap();
    let before = events(&copy);
    for lines in [&lines, &old_format(&lines), &part] {
        fs::write(&file, lines).unwrap();
        for ran in [import(&copy, lines), copy.run(&["import", path])] {
            ran.fails_with(
                1,
                "the export lacks the beginning of 1 stream: user-1 before revision 30",
            );
            ran.fails_with(1, "nothing was imported");
            ran.fails_with(1, "--accept-truncated");
            ran.fails_with(1, "empty directory");
            assert_eq!(events(&copy), before);
        }
    }
    let error = copy.run(&["import", path, "--json"]).error();
    assert_eq!(error["code"], "streams-truncated");
    let ran = copy.run(&["import", path, "--accept-truncated"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(copy.run(&["read", "user-1"]).stdout().lines().count(), 10);
}

#[test]
fn the_first_few_streams_without_their_beginning_are_named() {
    let (scene, copy) = (Scene::empty(), Scene::of_two_orders());
    let store = scene.open();
    for n in 0..21 {
        append(&store, &format!("user-{:02}", n % 7), "changed", "1");
    }
    drop(store);
    for n in 0..7 {
        let stream = format!("user-{n:02}");
        scene.run(&["truncate", &stream, "--before", "1", "--yes"]).stdout();
    }
    scene.run(&["scavenge", "--threshold", "0"]).stdout();
    let ran = import(&copy, &exported(&scene, &[]));
    ran.fails_with(1, "the beginning of 7 streams: user-00 before revision 1, user-01 before ");
    ran.fails_with(1, "user-04 before revision 1, 2 more. ");
    assert!(ran.err.contains("import into an empty directory"), "{ran:?}");
}

#[test]
fn a_stream_that_began_anew_after_a_deletion_is_whole_wherever_it_is_imported() {
    let (scene, copy) = (Scene::empty(), Scene::of_two_orders());
    for n in 0..3 {
        append(&scene.open(), "user-1", "changed", &n.to_string());
    }
    scene.run(&["delete", "user-1", "--yes"]).stdout();
    append(&scene.open(), "user-1", "changed", "3");
    append(&scene.open(), "user-1", "changed", "4");
    scene.run(&["metadata", "set", "user-1", r#"{"$tb":3,"$maxAge":86400}"#, "--yes"]).stdout();
    scene.run(&["scavenge", "--threshold", "0"]).stdout();
    let ran = import(&copy, &exported(&scene, &[]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let data = |scene: &Scene| {
        let read = scene.run(&["read", "user-1", "--json"]).objects();
        read.iter().map(|event| event["data"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(data(&copy), [json!(3), json!(4)]);
    // A deletion in the source hides no event of the copy.
    copy.run(&["metadata", "set", "user-1", r#"{"$maxCount":9}"#, "--yes"]).stdout();
    assert_eq!(data(&copy), [json!(3), json!(4)]);
}

#[test]
fn the_journal_of_a_process_manager_or_reactor_is_imported_from_its_checkpoint_on() {
    is_imported_from_its_checkpoint_on("processes:journal-welcome", "process-checkpointed");
    is_imported_from_its_checkpoint_on("reactors:journal-welcome-mail", "reactor-checkpointed");
}

fn is_imported_from_its_checkpoint_on(journal: &str, event_type: &str) {
    let (scene, copy) = (Scene::empty(), Scene::of_two_orders());
    for n in 0..3 {
        append(&scene.open(), journal, event_type, &n.to_string());
    }
    let stream = StreamName::new(journal).unwrap();
    let metadata = StreamMetadata::default().truncate_before(gesta_store::Revision::new(2));
    let expected_metadata = ExpectedRevision::Any;
    let change = SetStreamMetadata::new(stream, expected_metadata, metadata);
    block_on(scene.open().set_stream_metadata(change)).unwrap();
    scene.run(&["scavenge", "--threshold", "0"]).stdout();
    let ran = import(&copy, &exported(&scene, &[]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(copy.run(&["read", journal, "--json"]).objects()[0]["data"], 2);
}

#[test]
fn an_import_by_a_pipe_is_looked_through_before_any_of_it_is_appended() {
    let (scene, copy, files) = (of_all_kinds(), Scene::of_two_orders(), Scene::empty());
    let file = files.path().join("events.jsonl");
    let import = || {
        let mut piped = std::process::Command::new("bash");
        piped.args(["-c", "\"$0\" import <(cat \"$1\")", env!("CARGO_BIN_EXE_gesta")]);
        piped.arg(&file).stdin(Stdio::null());
        piped.env("GESTA_STORE", format!("gesta:{}", copy.path().display()));
        crate::scene::run(piped)
    };
    let (lines, before) = (exported(&scene, &[]), events(&copy));
    fs::write(&file, &lines).unwrap();
    import().fails_with(1, "stream order-1 has different events in this store");
    assert_eq!(events(&copy), before);
    fs::write(&file, exported(&scene, &["--category", "kept"])).unwrap();
    assert_eq!(import().stdout(), "imported 3 events\n");
}

#[test]
fn importing_again_adds_nothing_even_where_reads_show_nothing() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    append(&copy.open(), "shelf-1", "noted", "1");
    let lines = exported(&scene, &[]);
    assert_eq!(import(&copy, &lines).stdout(), "imported 16 events\n");
    let there = events(&copy);
    assert_eq!(
        import(&copy, &lines).stdout(),
        "imported 0 events; 16 events already in the store\n"
    );
    assert_eq!(events(&copy), there);
}

#[test]
fn an_import_into_a_store_that_is_there_goes_on_where_another_one_was_cut_off() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    append(&copy.open(), "shelf-1", "noted", "1");
    let lines = exported(&scene, &[]);
    for cut in [2, 5, 12] {
        let part = first_lines(&lines, cut);
        import(&copy, &part).fails_with(1, "nothing was imported: the export is incomplete");
        let ran = copy.run_with_input(&["import", "-", "--accept-cut"], &part);
        assert!(
            ran.err.contains("the export is incomplete; later events may be missing"),
            "{ran:?}"
        );
    }
    assert_eq!(
        import(&copy, &lines).stdout(),
        "imported 5 events; 11 events already in the store\n"
    );
    let ids = |scene: &Scene| {
        let events = events(scene).into_iter();
        let imported = events.filter(|event| {
            let stream = event["stream"].as_str().unwrap();
            stream != "shelf-1" && !stream.starts_with("imported-")
        });
        imported.map(|event| event["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&copy), ids(&scene), "each once, in order");
}

#[test]
fn an_export_that_was_cut_is_no_whole_one() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    let lines = exported(&scene, &[]);
    let cuts =
        [first_lines(&lines, 5), lines[..lines.len() / 2].to_owned(), first_lines(&lines, 17)];
    for cut in &cuts {
        import(&copy, cut).fails_with(1, "the export is incomplete: its last line is missing");
        copy.run(&["read", "--all"])
            .fails_with(2, "a copy or an import into the directory is incomplete");
    }
    let ran = import(&copy, &lines);
    assert_eq!(
        ran.stdout(),
        "imported 0 events; 16 events already in the store, exactly as exported\n"
    );
    assert_eq!(events(&copy), events(&scene));
    // An import of an incomplete file succeeds if that is accepted.
    let part = Scene::empty();
    let ran = part.run_with_input(&["import", "-", "--accept-cut"], &cuts[0]);
    assert!(ran.err.contains("the export is incomplete; the store ends at position 4"), "{ran:?}");
    assert_eq!(events(&part), events(&scene)[..4]);
}

#[test]
fn an_export_that_was_changed_on_its_way_is_not_imported() {
    let scene = of_all_kinds();
    let lines = exported(&scene, &[]);
    for (was, is) in [("9.90", "9.91"), ("\"total\":\"1.10\"", "\"total\":\"1.20\"")] {
        let copy = Scene::empty();
        let changed = lines.replacen(was, is, 1);
        import(&copy, &changed).fails_with(1, "the export was modified: its checksum differs");
        copy.run(&["read", "--all"])
            .fails_with(2, "a copy or an import into the directory is incomplete");
    }
    let without: String = lines
        .lines()
        .enumerate()
        .filter(|(nth, _)| *nth != 4)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    import(&Scene::empty(), &without).fails_with(2, "position 4 was expected");
}

#[test]
fn a_file_that_was_cut_or_changed_leaves_a_store_with_events_as_it_was() {
    let (scene, copy, files) = (of_all_kinds(), Scene::of_two_orders(), Scene::empty());
    let lines = exported(&scene, &[]).replace("order-", "sale-");
    let lines = lines.as_str();
    let before = events(&copy).len();
    let file = files.path().join("events.jsonl");
    let path = file.to_str().unwrap();
    for wrong in [lines.replacen("9.90", "9.91", 1), first_lines(lines, 6)] {
        fs::write(&file, &wrong).unwrap();
        for ran in [copy.run(&["import", path]), import(&copy, &wrong)] {
            ran.fails_with(1, "nothing was imported");
            assert_eq!(events(&copy).len(), before);
        }
    }
}

#[test]
fn a_store_that_was_made_of_a_file_is_left_as_it_is_when_the_file_is_imported_again() {
    let (scene, copy, files) = (of_all_kinds(), Scene::empty(), Scene::empty());
    let file = files.path().join("events.jsonl");
    let path = file.to_str().unwrap();
    scene.run(&["export", "--output", path]).stdout();
    copy.run(&["import", path]).stdout();
    let before = events(&copy);
    let again = copy.run(&["import", path]);
    assert!(again.stdout().starts_with("imported 0 events; "), "{again:?}");
    assert_eq!(events(&copy), before);
}

#[test]
fn an_import_onto_a_full_disk_goes_on_once_there_is_room() {
    let scene = Scene::empty();
    let store = scene.open();
    let long = format!("\"{}\"", "x".repeat(900));
    for n in 0..600 {
        append(&store, &format!("thing-{}", n % 7), "noted", &long);
    }
    drop(store);
    let files = Scene::empty();
    let file = files.path().join("events.jsonl");
    let file = file.to_str().unwrap();
    scene.run(&["export", "--output", file]).stdout();
    let used = Scene::empty();
    append(&used.open(), "shelf-1", "noted", "1");
    for place in [Scene::empty(), used] {
        // Files cannot grow beyond 300 KiB, as if there was no room.
        let mut full = std::process::Command::new("bash");
        full.args(["-c", "trap '' XFSZ; ulimit -f 300; exec \"$@\"", "bash"]);
        full.args([env!("CARGO_BIN_EXE_gesta"), "import", file]).stdin(Stdio::null());
        full.env("GESTA_STORE", format!("gesta:{}", place.path().display()));
        let ran = crate::scene::run(full);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("the import stopped"), "{ran:?}");
        let ran = place.run(&["import", file]);
        assert!(ran.stdout().starts_with("imported "), "{ran:?}");
        let ids = |scene: &Scene| {
            let things = events(scene).into_iter();
            let things =
                things.filter(|event| event["type"] == "noted" && event["stream"] != "shelf-1");
            things.map(|event| event["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&place), ids(&scene), "each once, in order");
    }
}

#[test]
fn a_killed_import_of_a_whole_store_goes_on() {
    let (scene, copy) = (scavenged(), Scene::empty());
    let files = Scene::empty();
    let file = files.path().join("events.jsonl");
    let file = file.to_str().unwrap();
    scene.run(&["export", "--output", file]).stdout();
    for kibibytes in [1, 4, 8] {
        // The system kills a program that writes a larger file.
        let mut killed = std::process::Command::new("bash");
        let limit = format!("ulimit -c 0; ulimit -f {kibibytes}; \"$@\"; exit $?");
        killed.args(["-c", &limit, "bash", env!("CARGO_BIN_EXE_gesta"), "import", file]);
        killed.env("GESTA_STORE", format!("gesta:{}", copy.path().display()));
        let ended = crate::scene::run(killed);
        assert_eq!(ended.code, 128 + 25, "by SIGXFSZ: {ended:?}");
        copy.run(&["read", "--all"])
            .fails_with(2, "a copy or an import into the directory is incomplete");
    }
    assert!(copy.run(&["import", file]).stdout().ends_with(", exactly as exported\n"));
    assert_eq!(appends(&copy, &[]), appends(&scene, &[]));
    assert!(copy.run(&["verify"]).stdout().starts_with("sound: "));
}

/// Returns lines of one event each, in enough streams to have many appends in flight.
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
    const LINES: u64 = 20_000;
    let (copy, files) = (Scene::empty(), Scene::empty());
    drop(copy.open());
    let file = files.path().join("events.jsonl");
    fs::write(&file, many_lines(LINES)).unwrap();
    let import = ["import", file.to_str().unwrap()];
    let mut command = copy.command(&import);
    let mut child: Child = start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let follower = LogStore::open(copy.path(), Options::read_only()).unwrap();
    while block_on(follower.head()).unwrap().position == Position::START {
        thread::yield_now();
        follower.refresh().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let ran = copy.run(&import);
    assert!(ran.stdout().ends_with(" already in the store\n"), "{ran:?}");
    let there = copy.run(&["read", "--all", "--json"]).objects();
    let data: Vec<_> = there.iter().map(|event| event["data"].as_u64().unwrap()).collect();
    assert_eq!(data, (0..LINES).collect::<Vec<_>>(), "each once, in order");
}

#[test]
fn a_file_of_before_that_says_a_line_twice_is_imported_once() {
    let (copy, lines) = (Scene::empty(), many_lines(800));
    let twice = format!("{lines}\n{}", many_lines(5));
    assert_eq!(
        import(&copy, &twice).stdout(),
        "imported 800 events; 5 events already in the store\n"
    );
    let other = twice.replacen("\"data\":3", "\"data\":33", 1);
    let copy = Scene::empty();
    let refused = import(&copy, &other);
    refused.fails_with(1, "line 804");
    refused.fails_with(1, "with 800 events imported and 3 events already in the store");
    refused.fails_with(1, "correct the cause and run it again");
}

#[test]
fn an_export_of_the_version_before_is_imported_with_a_warning_and_doubles_nothing() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    block_on(scene.open().append(transfer())).unwrap();
    let old = old_format(&exported(&scene, &[]));
    let ran = import(&copy, &old);
    assert_eq!((ran.code, ran.out.as_str()), (0, "imported 19 events\n"), "{ran:?}");
    assert!(ran.err.contains("lacks append boundaries"), "{ran:?}");
    assert_eq!(copy.run(&["read", "order-1"]).stdout().lines().count(), 3);
    let store = copy.open();
    assert!(block_on(store.append(transfer())).is_err(), "a repeat is ran, not appended again");
    let id = EventId::derived_from("transfer", 0);
    assert!(block_on(store.find_append(id)).unwrap().is_some());
    drop(store);
    assert_eq!(events(&copy).len(), 19);
    assert!(
        import(&copy, &old).out.starts_with("imported 0 events; 19 events already in the store")
    );
}

/// The file was written on 2026-11-29 by the last version with the format 1.
#[test]
fn a_file_that_the_version_before_wrote_is_imported() {
    let copy = Scene::empty();
    let file = include_str!("../golden/export-1.jsonl");
    let ran = import(&copy, file);
    assert_eq!((ran.code, ran.out.as_str()), (0, "imported 140 events\n"), "{ran:?}");
    assert_eq!(copy.run(&["read", "process:fulfilment-o2"]).stdout().lines().count(), 9);
    assert!(copy.run(&["verify"]).stdout().contains("sound: 140 events"));
}

#[test]
fn an_old_export_of_a_scavenged_store_is_imported() {
    let (scene, copy) = (scavenged(), Scene::empty());
    let old = old_format(&exported(&scene, &[]));
    import(&copy, &old).fails_with(1, "user-1 before revision 30");
    let ran = copy.run_with_input(&["import", "-", "--accept-truncated"], &old);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("revisions of 1 stream were lowered"), "{ran:?}");
    assert_eq!(copy.run(&["read", "user-1"]).stdout().lines().count(), 10);
}

#[test]
fn a_line_that_cannot_be_read_is_named_and_nothing_after_it_is_imported() {
    let copy = Scene::empty();
    let lines = many_lines(3);
    let mut lines: Vec<_> = lines.lines().collect();
    lines.insert(2, "");
    lines.insert(3, "{\"stream\": \"order-1\"}");
    let refused = import(&copy, &lines.join("\n"));
    refused.fails_with(2, "line 4 is invalid: missing field `revision`");
    refused.fails_with(2, "nothing was imported");
    assert_eq!(events(&copy).len(), 0);
    let system = r#"{"stream":"$other","revision":0,"id":"0190a6b4-7c00-7000-8000-000000000001","type":"t","data":1}"#;
    import(&copy, system).fails_with(2, "line 1: rejected: stream $other is reserved");
    import(&copy, "").fails_with(2, "the input has no lines");
    let newer = "{\"gestaExport\":3,\"more\":1}";
    import(&copy, newer).fails_with(2, "the export has format version 3");
}

#[test]
fn a_stream_with_other_events_is_not_mixed_with() {
    let (lines, other) = (exported(&Scene::of_two_orders(), &[]), Scene::empty());
    append(&other.open(), "order-2", "order-placed", "{}");
    let refused = import(&other, &lines);
    refused.fails_with(1, "line 3: stream order-2 has different events in this store");
    refused.fails_with(1, "hint: import into another store");
    assert_eq!(events(&other).len(), 1, "nothing of what came before, either");
}

#[test]
fn a_stream_without_its_beginning_is_not_imported() {
    let scene = Scene::of_two_orders();
    let rest = exported(&scene, &["--from", "3"]);
    assert_eq!(appends(&scene, &["--from", "3"]).len(), 1);
    let refused = import(&Scene::empty(), &rest);
    refused.fails_with(1, "the export lacks the beginning of 1 stream: order-1 before revision 1");
    refused.fails_with(1, "export whole streams");
    // The import succeeds in a store that has the beginning.
    let copy = Scene::empty();
    import(&copy, &old_format(&first_lines(&exported(&scene, &[]), 3)));
    assert_eq!(import(&copy, &rest).stdout(), "imported 1 event\n");
    assert_eq!(copy.run(&["read", "order-1"]).stdout().lines().count(), 2);
}

#[test]
fn a_part_of_a_store_can_be_exported() {
    let scene = of_all_kinds();
    let count = |more: &[&str]| appends(&scene, more).len();
    assert_eq!(count(&["--category", "kept"]), 3, "two events, and the stream's metadata");
    assert_eq!(count(&["--type", "order-placed"]), 2);
    assert_eq!(count(&["--tag", "customer:17850"]), 1);
    assert_eq!(count(&["--category", "order", "--from", "3"]), 3);
    block_on(scene.open().append(transfer())).unwrap();
    let ran = scene.run(&["export", "--category", "account"]);
    assert!(ran.err.is_empty(), "the append is whole in it: {ran:?}");
    assert_eq!(count(&["--from", "18"]), 1);
    let ran = scene.run(&["export", "--from", "18"]);
    assert!(ran.err.contains("1 append exported in part"), "{ran:?}");
}

#[test]
fn a_part_of_a_store_is_not_taken_for_all_of_it() {
    let (scene, copy) = (of_all_kinds(), Scene::empty());
    let ran = import(&copy, &exported(&scene, &["--category", "kept"]));
    assert_eq!(ran.stdout(), "imported 3 events\n");
    let read = |scene: &Scene| scene.run(&["read", "kept-1", "--json"]).objects().len();
    assert_eq!(read(&copy), read(&scene), "hidden events stay hidden");
}

#[test]
fn an_export_into_a_file_is_reported_and_imported_from_it() {
    let (scene, copy, files) = (Scene::of_two_orders(), Scene::empty(), Scene::empty());
    let file = files.path().join("events.jsonl");
    let path = file.to_str().unwrap();
    let ran = scene.run(&["export", "--output", path]);
    assert_eq!(ran.stdout(), format!("exported 3 events up to position 3 to {path}\n"));
    assert_eq!(fs::read_to_string(&file).unwrap(), exported(&scene, &[]));
    let ran = &scene.run(&["export", "--output", path, "--json", "--force"]).objects()[0];
    let expected = json!({ "file": path, "events": 3, "lastPosition": 3, "partialAppends": 0 });
    assert_eq!(*ran, expected);
    assert_eq!(files.files().len(), 1, "nothing is left beside it");

    let ran = &copy.run(&["import", path, "--json"]).objects()[0];
    assert_eq!(
        (&ran["appended"], &ran["known"], &ran["lastPosition"]),
        (&json!(3), &json!(0), &json!(3))
    );
    assert_eq!(ran["exact"], true);
}

#[test]
fn two_exports_do_not_write_one_file() {
    let (scene, files) = (Scene::of_two_orders(), Scene::empty());
    let file = files.path().join("events.jsonl");
    let part = files.path().join("events.jsonl.part");
    // As another export that is writing it.
    fs::write(&part, "of the other one").unwrap();
    let other = fs::File::open(&part).unwrap();
    other.lock().unwrap();
    let words = ["export", "--output", file.to_str().unwrap()];
    scene.run(&words).fails_with(2, "another process is writing");
    assert_eq!(fs::read(&part).unwrap(), b"of the other one");
    // One that was interrupted left its part without a lock.
    drop(other);
    assert_eq!(scene.run(&words).code, 0);
    assert_eq!(files.files().len(), 1);
}

#[test]
fn an_export_writes_over_no_file_unasked() {
    let (scene, files) = (Scene::of_two_orders(), Scene::empty());
    let file = files.path().join("precious.txt");
    fs::write(&file, "dear ann").unwrap();
    let path = file.to_str().unwrap();
    let refused = scene.run(&["export", "--output", path]);
    refused.fails_with(2, "already exists");
    refused.fails_with(2, "--force");
    assert_eq!(fs::read_to_string(&file).unwrap(), "dear ann");
    assert_eq!(scene.run(&["export", "--output", path, "--json"]).error()["code"], "file-exists");
    scene.run(&["export", "--output", path, "--force"]).stdout();
    assert_eq!(fs::read_to_string(&file).unwrap(), exported(&scene, &[]));
    scene.run(&["export", "--output", "gesta:./x"]).fails_with(2, "is a store URL");
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let scene = Scene::of_two_orders();
    scene.run(&["import", "no-such-file"]).fails_with(2, "cannot read no-such-file");
    scene.run(&["import", "."]).fails_with(2, "cannot read .: it is a directory");
    let nowhere = Path::new("no-such-directory").join("events.jsonl");
    let refused = scene.run(&["export", "--output", nowhere.to_str().unwrap()]);
    refused.fails_with(2, "cannot write no-such-directory/events.jsonl");
}
