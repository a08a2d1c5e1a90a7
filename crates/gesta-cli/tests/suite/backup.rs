//! `gesta backup` and `gesta restore`: output, and the restored store.

use std::fs;

use serde_json::json;

use crate::scene::{RunOutput, Scene, append, program, run};

fn backup(scene: &Scene, target: &Scene) -> RunOutput {
    scene.run(&["backup", target.path().to_str().unwrap()])
}

fn restore(source: &Scene, to: &Scene, more: &[&str]) -> RunOutput {
    let (from, to) = (source.path().to_str().unwrap(), to.path().to_str().unwrap());
    run(program(&[&["restore", from, to], more].concat()))
}

#[test]
fn a_store_in_use_is_backed_up_and_restored() {
    let (scene, copy, again) = (Scene::of_two_orders(), Scene::empty(), Scene::empty());
    let store = scene.open();
    append(&store, "order-2", "order-paid", "{}");
    let ran = backup(&scene, &copy);
    assert!(ran.stdout().starts_with("backed up to position 4: 2 segments, "), "{ran:?}");
    assert!(ran.stdout().contains("; copied 2 ("), "{ran:?}");
    let ran = restore(&copy, &again, &[]);
    let expected = format!("restored up to position 4 to gesta:{}: ", again.path().display());
    assert!(ran.stdout().starts_with(&expected), "{ran:?}");
    assert_eq!(again.run(&["verify"]).stdout(), "sound: 4 events in 2 segments\n");
    let appends = |scene: &Scene| {
        let exported = scene.run(&["export"]).objects();
        exported.last().unwrap()["end"]["appendsBlake3"].clone()
    };
    assert_eq!(appends(&again), appends(&scene));
    drop(store);
}

#[test]
fn a_second_backup_copies_what_is_new_and_says_so_in_json() {
    let (scene, copy, again) = (Scene::of_two_orders(), Scene::empty(), Scene::empty());
    let target = copy.path().to_str().unwrap();
    let first = &scene.run(&["backup", target, "--json"]).objects()[0];
    assert_eq!((&first["segments"], &first["copiedSegments"]), (&json!(1), &json!(1)));
    assert_eq!((&first["position"], &first["unconfirmed"]), (&json!(3), &json!(null)));
    append(&scene.open(), "order-3", "order-placed", "{}");
    let second = &scene.run(&["backup", target, "--json"]).objects()[0];
    assert_eq!((&second["segments"], &second["copiedSegments"]), (&json!(2), &json!(1)));
    assert!(second["copiedBytes"].as_u64() < second["bytes"].as_u64());
    let restored = &restore(&copy, &again, &["--json"]).objects()[0];
    assert_eq!((&restored["position"], &restored["segments"]), (&json!(4), &json!(2)));
    let stats = &again.run(&["stats", "--json"]).objects()[0];
    assert_eq!(stats["incarnation"], restored["incarnation"]);
}

#[test]
fn a_damaged_backup_is_refused_by_name() {
    let (scene, copy, again) = (Scene::of_two_orders(), Scene::empty(), Scene::empty());
    backup(&scene, &copy).stdout();
    let (file, mut bytes) = copy.files().remove(0);
    bytes[4_200] ^= 1;
    fs::write(&file, bytes).unwrap();
    let refused = restore(&copy, &again, &[]);
    let name = file.file_name().unwrap().to_str().unwrap();
    refused.fails_with(1, &format!("the backup is damaged: {name} at offset 0"));
    assert!(again.files().is_empty());
}

#[test]
fn directories_that_are_not_for_it_are_left_alone() {
    let (scene, copy, empty) = (Scene::of_two_orders(), Scene::empty(), Scene::empty());
    backup(&scene, &scene).fails_with(2, "use an empty directory");
    restore(&scene, &empty, &[]).fails_with(2, "there is no finished backup in ");
    backup(&scene, &copy).stdout();
    restore(&copy, &scene, &[]).fails_with(2, "use an empty directory");
    let stranger = Scene::of_two_orders();
    backup(&stranger, &copy).fails_with(2, "the directory holds a backup of another store");
    for verb in [&["verify"][..], &["append", "a-1", "--type", "t", "--data", "1"]] {
        copy.run(verb)
            .fails_with(2, "this is a backup; create a store from it with `gesta restore`");
    }
    assert!(empty.files().is_empty());
}

#[test]
fn a_directory_is_named_by_its_path_or_as_a_stores_url() {
    let (scene, place) = (Scene::of_two_orders(), Scene::empty());
    let run_there = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        command.current_dir(place.path());
        run(command)
    };
    run_there(&["backup", "gesta:./copy"]).stdout();
    run_there(&["restore", "gesta:./copy", "gesta:./again"]).stdout();
    run_there(&["restore", "copy", "third"]).stdout();
    for name in ["copy", "again", "third"] {
        assert!(place.path().join(name).is_dir(), "{name}");
    }
    assert!(!place.path().join("gesta:.").exists() && !place.path().join("gesta:").exists());
    for (wrong, advice) in [
        ("gesta://again", "write gesta:./again"),
        ("memory:", "a memory store has no directory"),
        ("file:///again", "the URL scheme file: is not supported"),
        ("", "the path is empty"),
    ] {
        run_there(&["restore", "copy", wrong]).fails_with(2, advice);
        run_there(&["backup", wrong]).fails_with(2, advice);
    }
}
