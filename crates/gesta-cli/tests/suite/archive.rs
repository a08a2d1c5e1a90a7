//! The archive of a store in PostgreSQL: partitions that move, files that are kept and come back.

use std::fs;

use serde_json::Value;

use crate::{database::Database, scene::Scene};

/// Number of events of a store with two full partitions of 1,000 positions.
const EVENTS: usize = 2_100;

/// A store with partitions of 1,000 positions, and a directory for files.
fn store_or_skip() -> Option<(Database, Scene)> {
    let (database, scene) = begun_or_skip()?;
    import(&database, &scene);
    Some((database, scene))
}

/// The same, with one event.
pub(crate) fn begun_or_skip() -> Option<(Database, Scene)> {
    let (database, scene) = (Database::new_or_skip()?, Scene::empty());
    let first = ["append", "first-1", "--type", "placed", "--data", "1"];
    assert_eq!(database.run(&first).code, 0);
    assert_eq!(database.run(&["archive", "resize", "1000"]).code, 0);
    Some((database, scene))
}

/// Imports orders that fill two partitions.
pub(crate) fn import(database: &Database, scene: &Scene) {
    let line = |nth: usize| {
        let (stream, revision) = (nth % 3, nth / 3);
        format!(
            "{{\"stream\":\"order-{stream}\",\"revision\":{revision},\"type\":\"placed\",\
             \"id\":\"00000000-0000-4000-8000-{nth:012}\",\"data\":{{\"nr\":{nth}}}}}\n"
        )
    };
    let file = scene.path().join("events.jsonl");
    fs::write(&file, (0..EVENTS).map(line).collect::<String>()).unwrap();
    let imported = database.run(&["import", file.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{imported:?}");
    fs::remove_file(file).unwrap();
}

fn places(database: &Database) -> Vec<String> {
    let listed = database.run(&["archive", "list", "--json"]).objects();
    listed.iter().map(|one| one["place"].as_str().unwrap().to_owned()).collect()
}

/// The digest of all appends.
fn digest(database: &Database) -> Value {
    let exported = database.run(&["export"]);
    let end: Value = serde_json::from_str(exported.stdout().lines().last().unwrap()).unwrap();
    end["end"]["appendsBlake3"].clone()
}

#[test]
fn partitions_move_to_a_schema_are_read_there_and_come_back() {
    let Some((database, _)) = store_or_skip() else { return };
    let before = digest(&database);
    let schema = format!("{}_old", database.schema);
    let moved = database.run(&["archive", "move", "--before", "2001", "--schema", &schema]);
    assert_eq!(moved.stdout().lines().count(), 2, "{moved:?}");
    let there = format!("schema {schema}");
    assert_eq!(places(&database), [there.clone(), there, "store".to_owned()]);
    assert_eq!(digest(&database), before);
    database
        .run(&["archive", "move", "--before", "2001", "--schema", &schema])
        .fails_with(3, "each full partition that ends before position 2001 is there already");
    for (before, why) in [
        ("1000", "no partition ends before position 1000; the first one ends at position 1000"),
        ("1", "the first one ends at position 1000"),
    ] {
        let words = ["archive", "move", "--before", before, "--schema", &schema];
        database.run(&words).fails_with(3, why);
    }
    let back = database.run(&["archive", "restore", "--from", "1001"]);
    assert!(back.stdout().contains("restored positions 1001 to 2000"), "{back:?}");
    assert_eq!(database.run(&["archive", "restore"]).code, 0);
    assert_eq!(places(&database), ["store", "store", "store"]);
    assert_eq!(digest(&database), before);
    database.execute(&format!("DROP SCHEMA {schema}"));
}

#[test]
fn payloads_move_to_files_that_were_read_back_and_come_back_from_where_the_files_are() {
    let Some((database, scene)) = store_or_skip() else { return };
    let before = digest(&database);
    let directory = scene.path().to_str().unwrap();
    let words = ["archive", "move", "--before", "2001", "--directory", directory];
    database.run(&words).fails_with(2, "must be confirmed");
    let moved = database.run(&[&words[..], &["--yes"]].concat());
    assert_eq!(moved.stdout().lines().count(), 2, "{moved:?}");
    let refused = database.run(&["read", "--all", "--json"]);
    let error = refused.error();
    assert_eq!((refused.code, &error["code"]), (1, &"archived".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("gesta archive restore"), "{error}");
    let newest = database.run(&["read", "--all", "--backwards", "--limit", "3"]);
    assert_eq!(newest.stdout().lines().count(), 3);
    assert_eq!(database.run(&["append", "order-1", "--type", "t", "--data", "1"]).code, 0);
    // The files are where an operator moved them.
    let elsewhere = Scene::empty();
    for (file, bytes) in scene.files() {
        fs::write(elsewhere.path().join(file.file_name().unwrap()), bytes).unwrap();
        fs::remove_file(file).unwrap();
    }
    database.run(&["archive", "restore"]).fails_with(2, "cannot read");
    let found = ["archive", "restore", "--directory", elsewhere.path().to_str().unwrap()];
    assert_eq!(database.run(&found).stdout().lines().count(), 2);
    assert_eq!(places(&database), ["store", "store", "store"]);
    let exported = database.run(&["export"]);
    assert_eq!(exported.stdout().lines().count(), EVENTS + 4, "with header, end and two appends");
    assert_ne!(digest(&database), before, "it has one more");
}

#[test]
fn a_partition_that_is_open_is_named_with_its_end() {
    let Some(database) = Database::new_or_skip() else { return };
    assert_eq!(database.run(&["append", "order-1", "--type", "t", "--data", "1"]).code, 0);
    let words = ["archive", "move", "--before", "10001", "--schema", "gesta_cli_unused"];
    let open = "the partition from position 1 on is open until position 10000000";
    database.run(&words).fails_with(3, open);
    let too_large = ["archive", "resize", "9999999999999999999"];
    database.run(&too_large).fails_with(2, "a partition has 1000 to 1000000000 positions");
    assert_eq!(database.run(&["append", "order-1", "--type", "t", "--data", "2"]).code, 0);
}

#[test]
fn the_confirmation_names_what_needs_the_data_and_who_has_not_come_as_far() {
    let Some((database, scene)) = store_or_skip() else { return };
    let reached = |position: u64| format!("{{\"place\":{{\"position\":{position}}}}}");
    let checkpointed = |position: u64| format!("{{\"position\":{position},\"pieces\":0}}");
    for (journal, event_type, data) in [
        ("reactors:journal-mail", "reactor-advanced", reached(700)),
        ("reactors:journal-ahead", "reactor-checkpointed", reached(1_000)),
        ("processes:journal-welcome", "process-checkpointed", checkpointed(999)),
        ("processes:journal-ahead", "process-checkpointed", checkpointed(1_500)),
    ] {
        let appended = database.run(&["append", journal, "--type", event_type, "--data", &data]);
        assert_eq!(appended.code, 0, "{appended:?}");
    }
    let directory = scene.path().to_str().unwrap();
    let words = ["archive", "move", "--before", "1001", "--directory", directory];
    let refused = database.run(&words);
    for named in [
        "commands on aggregates whose streams begin in that part",
        "process manager welcome (at position 999), reactor mail (at position 700)",
    ] {
        refused.fails_with(2, named);
    }
    assert!(!format!("{refused:?}").contains("ahead"), "{refused:?}");
    assert_eq!(places(&database), ["store", "store", "store"]);
    assert_eq!(database.run(&[&words[..], &["--yes"]].concat()).code, 0);
}

#[test]
fn two_commands_do_not_write_one_file() {
    let Some((database, scene)) = store_or_skip() else { return };
    let directory = scene.path().to_str().unwrap();
    let words = ["archive", "move", "--before", "1001", "--directory", directory, "--yes"];
    let name = format!("{}-1-1000.jsonl", database.schema);
    // As another command that is writing it.
    let lock = scene.path().join(format!("{name}.lock"));
    let other = fs::File::create(&lock).unwrap();
    other.lock().unwrap();
    database.run(&words).fails_with(2, "another process is writing");
    assert_eq!(scene.files().len(), 1, "nothing was written");
    assert_eq!(places(&database), ["store", "store", "store"]);
    // A command that was interrupted left the file without a lock.
    drop(other);
    assert_eq!(database.run(&words).code, 0);
    let files: Vec<_> = scene.files().into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, [scene.path().join(name)]);
    assert_eq!(database.run(&["archive", "restore"]).code, 0);
}

#[test]
fn a_damaged_file_changes_nothing() {
    let Some((database, scene)) = store_or_skip() else { return };
    let directory = scene.path().to_str().unwrap();
    let words = ["archive", "move", "--before", "1001", "--directory", directory, "--yes"];
    assert_eq!(database.run(&words).code, 0);
    let (file, bytes) = scene.files().remove(0);
    let text = String::from_utf8(bytes).unwrap();
    let cut: String = text.lines().take(500).map(|line| format!("{line}\n")).collect();
    let changed = text.replacen("{\"nr\":700}", "{\"nr\":701}", 1);
    for (damaged, why) in [(cut, "its last line is missing"), (changed, "its checksum differs")] {
        fs::write(&file, damaged).unwrap();
        database.run(&["archive", "restore"]).fails_with(1, why);
        assert!(places(&database)[0].starts_with("file "));
    }
    fs::write(&file, text).unwrap();
    assert_eq!(database.run(&["archive", "restore"]).code, 0);
    assert_eq!(database.run(&["read", "--all"]).code, 0);
}

#[test]
fn a_file_of_another_store_is_not_overwritten() {
    let Some((database, scene)) = store_or_skip() else { return };
    let directory = scene.path().to_str().unwrap();
    let words = ["archive", "move", "--before", "1001", "--directory", directory, "--yes"];
    assert_eq!(database.run(&words).code, 0);
    assert_eq!(database.run(&["archive", "restore"]).code, 0);
    let (file, bytes) = scene.files().remove(0);
    // The same events are written again.
    assert_eq!(database.run(&words).code, 0);
    assert_eq!(database.run(&["archive", "restore"]).code, 0);
    let export = scene.path().join("export.jsonl");
    let other = database.run(&["export", "--output", export.to_str().unwrap()]);
    assert_eq!(other.code, 0, "{other:?}");
    fs::rename(&export, &file).unwrap();
    database.run(&words).fails_with(2, "has other events");
    assert_ne!(fs::read(&file).unwrap(), bytes);
    assert_eq!(places(&database), ["store", "store", "store"]);
}

#[test]
fn a_directory_has_no_partitions() {
    let scene = Scene::of_two_orders();
    scene.run(&["archive", "list"]).fails_with(2, "works on stores in PostgreSQL");
}
