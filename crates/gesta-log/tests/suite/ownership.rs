//! A lock file that is removed or replaced while the store is open: two writers, and no loss.

use std::{fs, path::Path};

use gesta_log::{Access, FileDisk, LockError, LogStore, OpenError, Options};
use gesta_store::{Append, EventStore, ExpectedRevision, StoreError, conformance::block_on};

use crate::harness::{OpenStore, append, append_to, event_texts, name, open, open_with};

fn small(directory: &Path) -> OpenStore {
    let options = Options::default().segment_bytes_first(12 << 10).segment_bytes_max(12 << 10);
    open_with(directory, options)
}

/// Checks that the first writer's next append fails with `Stopped`.
fn is_stopped(first: &LogStore, data: &str) {
    let refused = block_on(first.append(append_to("order-1", data))).unwrap_err();
    let StoreError::Stopped { reason } = &refused else { panic!("{refused}") };
    assert!(reason.contains("LOCK"), "{reason}");
}

#[test]
fn a_writer_whose_lock_file_was_removed_acknowledges_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path());
    append(&first, "order-1", "first");
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    is_stopped(&first, "lost");
    is_stopped(&first, "lost");
    assert_eq!(event_texts(&first), ["first"], "reads go on");
    drop(first);
    assert_eq!(event_texts(&open(directory.path())), ["first"]);
}

#[test]
fn a_second_writer_loses_nothing_to_a_first_one_whose_lock_file_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path());
    append(&first, "order-1", "first");
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    let second = small(directory.path());
    append(&second, "order-1", "second");
    let large = "x".repeat(5_000);
    for _ in 0..6 {
        // Both writers need new segments with the same numbers.
        append(&second, "order-2", &large);
        is_stopped(&first, &large);
    }
    drop(first);
    append(&second, "order-1", "third");
    drop(second);
    let store = open(directory.path());
    assert_eq!(store.report().damage, []);
    let told = event_texts(&store);
    assert_eq!(told.len(), 9);
    assert_eq!(
        (told[0].as_str(), told[1].as_str(), told[8].as_str()),
        ("first", "second", "third")
    );
}

#[test]
fn a_lock_file_that_was_replaced_is_as_good_as_removed() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path());
    append(&first, "order-1", "first");
    let (lock, aside) = (directory.path().join("LOCK"), directory.path().join("LOCK.old"));
    fs::rename(&lock, &aside).unwrap();
    fs::write(&lock, "1").unwrap();
    is_stopped(&first, "lost");
}

#[test]
fn an_append_that_only_checks_learns_that_the_lock_file_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path());
    append(&first, "order-1", "first");
    let probe = || Append::default().expecting(name("order-1"), ExpectedRevision::Any);
    block_on(first.append(probe())).unwrap();
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    let refused = block_on(first.append(probe())).unwrap_err();
    assert!(matches!(refused, StoreError::Stopped { .. }), "{refused}");
}

#[test]
fn a_second_process_is_still_refused_while_the_lock_file_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let first = small(directory.path());
    let refused = LogStore::open(directory.path(), Options::default()).unwrap_err();
    let OpenError::Directory(LockError::InUse { owner, .. }) = &refused else {
        panic!("{refused}")
    };
    assert_eq!(*owner, std::process::id().to_string());
    drop(first);
    FileDisk::open(directory.path(), Access::ReadWrite).unwrap();
}

#[test]
fn a_segment_never_takes_the_name_of_another_one() {
    use gesta_log::{Disk, Operation};
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(directory.path(), Access::ReadWrite).unwrap();
    for file in ["one.new", "two.new"] {
        disk.run(Operation::Create { file: file.to_owned() }).unwrap();
    }
    let name =
        |from: &str| Operation::RenameNoReplace { from: from.to_owned(), to: "7.seg".to_owned() };
    disk.run(name("one.new")).unwrap();
    let refused = disk.run(name("two.new")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(directory.path().join("two.new").exists(), "it is as it was");
}

#[test]
fn a_number_that_another_process_took_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = small(directory.path());
    let large = "x".repeat(5_000);
    append(&store, "order-1", &large);
    fs::write(directory.path().join("0000000000000003.seg"), b"of somebody else").unwrap();
    for _ in 0..5 {
        append(&store, "order-1", &large);
    }
    drop(store);
    let taken = directory.path().join("0000000000000003.seg");
    assert_eq!(fs::read(&taken).unwrap(), b"of somebody else");
    fs::remove_file(&taken).unwrap();
    let store = open(directory.path());
    assert_eq!(store.report().damage, []);
    assert_eq!(event_texts(&store).len(), 6);
}

#[test]
fn segments_that_a_killed_process_did_not_finish_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    append(&small(directory.path()), "order-1", "first");
    let left = ["0000000000000009.new", "0000000000000009-00c0ffee.new"];
    for file in left {
        fs::write(directory.path().join(file), [0; 4_096]).unwrap();
    }
    fs::write(directory.path().join("mine.new"), b"not the store's").unwrap();
    let store = small(directory.path());
    append(&store, "order-1", "second");
    drop(store);
    assert!(left.iter().all(|file| !directory.path().join(file).exists()));
    assert!(directory.path().join("mine.new").exists());
}
