//! `gesta verify`: reports of intact and damaged stores.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
};

use gesta_log::EventPlace;
use gesta_store::Position;
use serde_json::{Value, json};

use crate::scene::{Scene, append};

/// A store with a changed byte in its second event, and the place of that byte.
fn damaged() -> (Scene, EventPlace) {
    let scene = Scene::of_two_orders();
    let place = scene.open().locate(Position::new(2)).unwrap();
    change_last_byte(&scene, &place);
    (scene, place)
}

/// Changes the last byte of an event, in a file that a server may have open.
pub(crate) fn change_last_byte(scene: &Scene, place: &EventPlace) {
    let file = fs::OpenOptions::new().read(true).write(true).open(scene.path().join(&place.file));
    let (mut file, last) = (file.unwrap(), SeekFrom::Start(place.offset + place.length - 1));
    let mut byte = [0];
    file.seek(last).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(last).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_sound_store_is_called_sound() {
    let scene = Scene::of_two_orders();
    assert_eq!(scene.run(&["verify"]).stdout(), "sound: 3 events in 1 segment\n");
    let expected = json!({
        "sound": true, "events": 3, "segments": 1, "damage": [], "indexDamage": [],
        "torn": null, "unmarked": null,
    });
    assert_eq!(scene.run(&["verify", "--json"]).objects(), [expected]);
}

#[test]
fn a_flipped_byte_is_reported_with_file_offset_and_positions() {
    let (scene, place) = damaged();
    let verified = scene.run(&["verify", "--json"]);
    assert_eq!((verified.code, verified.err.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(report["sound"], false);
    let damage = &report["damage"][0];
    assert_eq!(damage["file"], place.file);
    assert_eq!(damage["positions"], json!({ "first": 2, "last": 2 }));
    let offset = damage["offset"].as_u64().unwrap();
    assert!(offset > 0 && offset <= place.offset, "the frame of the event begins before it");

    let verified = scene.run(&["verify"]);
    assert_eq!((verified.code, verified.err.as_str()), (1, ""));
    let named = format!("damaged: {} at offset {offset}, positions 2 to 2: ", place.file);
    assert!(verified.out.starts_with(&named), "{verified:?}");
    assert!(verified.out.contains("\nDAMAGED in 1 place: "), "{verified:?}");
}

#[test]
fn a_damaged_store_shows_what_it_has_before_it_complains_and_refuses_appends() {
    let (scene, place) = damaged();
    let read = scene.run(&["read", "--all"]);
    assert_eq!((read.code, read.out.lines().count()), (1, 1), "{read:?}");
    assert!(read.err.contains("corrupt") && read.err.contains(&place.file), "{read:?}");
    assert_eq!(scene.run(&["read", "--all", "--from", "3", "--json"]).objects().len(), 1);
    let refused = scene.run(&["append", "order-1", "--type", "order-paid", "--data", "{}"]);
    refused.fails_with(1, "nothing was appended: corrupt");
}

#[test]
fn a_write_that_a_crash_cut_short_is_reported_and_is_no_damage() {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    append(&store, "order-2", "order-paid", "{}");
    let place = store.locate(Position::new(4)).unwrap();
    let killed = scene.as_killed();
    drop(store);
    // Half of the record is left, and nothing that was written after it.
    let file = killed.path().join(&place.file);
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(place.offset + place.length / 2).unwrap()..].fill(0);
    fs::write(file, bytes).unwrap();

    let verified = killed.run(&["verify"]);
    let ran = verified.stdout();
    assert!(ran.starts_with(&format!("incomplete write: {} at offset ", place.file)), "{ran}");
    assert!(ran.ends_with("sound: 3 events in 2 segments\n"), "{ran}");
    let report = &killed.run(&["verify", "--json"]).objects()[0];
    assert_eq!(report["torn"]["file"], place.file);
    assert!(report["torn"]["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn the_last_events_before_a_kill_are_reported_as_intact() {
    let killed = Scene::of_two_orders_killed_at_the_last_event();
    for _ in 0..2 {
        let verified = killed.run(&["verify"]);
        let ran = verified.stdout();
        assert!(ran.starts_with("intact: 0000000000000001.seg at offset "), "{ran}");
        assert!(ran.contains("positions 3 to 3, the last before a crash, are durable"), "{ran}");
        assert!(ran.ends_with("sound: 3 events in 1 segment\n"), "{ran}");
        let report = &killed.run(&["verify", "--json"]).objects()[0];
        let unmarked = &report["unmarked"];
        assert_eq!(unmarked["positions"], json!({ "first": 3, "last": 3 }));
        assert_eq!((&unmarked["durable"], &report["sound"]), (&json!(true), &json!(true)));
        // Opening the store recovers it, and writes no mark.
        drop(killed.open());
    }
    append(&killed.open(), "order-2", "order-paid", "{}");
    assert_eq!(killed.run(&["verify"]).stdout(), "sound: 4 events in 2 segments\n");
}

#[test]
fn events_that_a_process_may_be_writing_are_unconfirmed_and_no_damage() {
    let killed = Scene::of_two_orders_killed_at_the_last_event();
    let store = killed.open();
    let verified = killed.run(&["verify"]);
    let ran = verified.stdout();
    assert!(ran.starts_with("unconfirmed: 0000000000000001.seg at offset "), "{ran}");
    assert!(ran.ends_with("sound: 2 events in 1 segment\n"), "{ran}");
    let report = &killed.run(&["verify", "--json"]).objects()[0];
    assert_eq!((&report["unmarked"]["durable"], &report["sound"]), (&json!(false), &json!(true)));
    drop(store);
}

#[test]
fn a_store_in_use_can_be_verified() {
    let scene = Scene::of_two_orders();
    let store = scene.open();
    assert_eq!(scene.run(&["verify"]).stdout(), "sound: 3 events in 1 segment\n");
    drop(store);
}
