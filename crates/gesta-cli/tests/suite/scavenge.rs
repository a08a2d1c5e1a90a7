//! `gesta scavenge`: output, and the removal of hidden events only.

use std::fs;

use futures_executor::block_on;
use gesta_store::{DeleteStream, EventStore as _, ExpectedRevision, StreamName};
use serde_json::json;

use crate::scene::{Scene, append};

/// A store with twenty streams; the odd ones are deleted.
fn half_deleted() -> Scene {
    let scene = Scene::empty();
    let store = scene.open();
    for number in 0..20 {
        append(&store, &format!("session-{number}"), "opened", "{}");
    }
    for number in (1..20).step_by(2) {
        let stream = StreamName::new(format!("session-{number}")).unwrap();
        let delete = DeleteStream::new(stream, ExpectedRevision::Any);
        block_on(store.delete_stream(delete)).unwrap();
    }
    drop(store);
    scene
}

#[test]
fn deleted_streams_are_scavenged_and_the_rest_is_exported_as_before() {
    let scene = half_deleted();
    let events = || {
        let exported = scene.run(&["export"]).stdout().to_owned();
        let lines = exported.lines().filter(|line| line.contains("\"recordedAt\":"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = events();
    let ran = scene.run(&["scavenge"]);
    assert!(
        ran.stdout().starts_with("scavenged 10 events: rewrote 1 of 1 segment, reclaimed "),
        "{ran:?}"
    );
    let deleted =
        |line: &String| (1..20).step_by(2).any(|n| line.contains(&format!("\"session-{n}\"")));
    let left: Vec<_> = before.into_iter().filter(|line| !deleted(line)).collect();
    assert_eq!(events(), left);
    assert_eq!(scene.run(&["verify"]).stdout(), "sound: 20 events in 1 segment\n");
    let again = scene.run(&["scavenge"]);
    assert!(
        again.stdout().starts_with("scavenged 0 events: rewrote 0 of 1 segment, reclaimed 0 of ")
    );
}

#[test]
fn a_threshold_is_kept_and_the_answer_can_be_json() {
    let scene = half_deleted();
    let bytes = |scene: &Scene| {
        let segments = scene.files().into_iter();
        let segments =
            segments.filter(|(file, _)| file.extension().is_some_and(|end| end == "seg"));
        segments.map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    let size = bytes(&scene);
    let none = &scene.run(&["scavenge", "--threshold", "100", "--json"]).objects()[0];
    let expected = json!({
        "events": 0, "segments": 1, "rewrittenSegments": 0, "bytesBefore": size, "bytesAfter": size,
    });
    assert_eq!(none, &expected);
    let some = &scene.run(&["scavenge", "--json"]).objects()[0];
    assert_eq!((&some["events"], &some["rewrittenSegments"]), (&json!(10), &json!(1)));
    assert_eq!(some["bytesAfter"], json!(bytes(&scene)));
    scene.run(&["scavenge", "--threshold", "101"]).fails_with(2, "101");
}

#[test]
fn a_store_in_use_and_a_damaged_one_are_left_alone() {
    let scene = half_deleted();
    let store = scene.open();
    scene.run(&["scavenge"]).fails_with(2, "cannot scavenge: process ");
    drop(store);
    let (file, mut bytes) = scene
        .files()
        .into_iter()
        .find(|(file, _)| file.extension().is_some_and(|end| end == "seg"))
        .unwrap();
    bytes[4_200] ^= 1;
    fs::write(&file, &bytes).unwrap();
    scene.run(&["scavenge"]).fails_with(1, "the store is damaged: ");
    assert_eq!(fs::read(&file).unwrap(), bytes);
}
