//! Crashes: the contents afterwards, and the report about them.

use std::{collections::BTreeSet, fs};

use gesta_log::{LockError, LogStore, OpenError, Options, verify};
use gesta_store::{Appended, EventStore, ExpectedRevision, Position, Revision, StoreError};

use crate::harness::{
    TurnedStore, append, append_to, as_killed, event, event_texts, name, open, read_all, report,
    run_files, segment_files,
};

#[test]
fn what_was_acknowledged_is_there_after_a_clean_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, "order-1", "1");
    append(&store, "order-1", "2");
    drop(store);
    let report = report(directory.path());
    assert_eq!((report.events, report.unmarked, report.torn), (2, None, None), "it was sealed");
    assert_eq!(event_texts(&open(directory.path())), ["1", "2"]);
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, "order-1", "1");
    append(&store, "order-2", "2");
    let killed = as_killed(directory.path());
    assert_eq!(event_texts(&open(killed.path())), ["1", "2"]);
}

#[test]
fn an_index_that_was_made_after_a_kill_is_found_sound() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, "order-1", "1");
    append(&store, "order-2", "2");
    let killed = as_killed(directory.path());
    drop(open(killed.path()));
    let runs = fs::read_dir(killed.path()).unwrap();
    let is_run = |entry: fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".run");
    assert!(runs.map(Result::unwrap).any(is_run), "closing puts the index into a file");
    let report = verify(killed.path(), &mut |_| {}).unwrap();
    assert!(report.unmarked.is_some(), "no mark covers the last event");
    assert_eq!((report.damage, report.index_damage), (vec![], Vec::<String>::new()));
}

#[test]
fn an_index_that_was_made_after_a_kill_of_an_idle_store_is_found_sound() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.idle();
    let killed = as_killed(directory.path());
    // Once with the index of the recovery, once with one that is made anew.
    for _ in 0..2 {
        drop(open(killed.path()));
        assert_eq!(run_files(killed.path()).len(), 1, "closing puts the index into a file");
        let report = verify(killed.path(), &mut |_| {}).unwrap();
        assert_eq!((report.events, report.unmarked), (1, None), "the close frame is a mark");
        assert_eq!((report.damage, report.index_damage), (vec![], Vec::<String>::new()));
        for file in run_files(killed.path()) {
            fs::remove_file(file).unwrap();
        }
        fs::remove_file(killed.path().join("INDEX")).unwrap();
    }
}

#[test]
fn an_opening_says_which_events_no_durable_mark_covers() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2"), append_to("order-2", "3")]);
    let unmarked = report(as_killed(directory.path()).path()).unmarked.unwrap();
    assert_eq!(unmarked.positions, Position::new(2)..=Position::new(3));
    turned.idle();
    assert_eq!(report(as_killed(directory.path()).path()).unmarked, None, "a close frame did");
}

#[test]
fn a_torn_group_opens_keeps_what_was_acknowledged_and_says_what_it_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "kept")]);
    let before = turned.store.locate(Position::new(1)).unwrap();
    let group = (0..50).map(|n| append_to(&format!("order-{n}"), "in flight")).collect();
    turned.append_together(group);
    let third = turned.store.locate(Position::new(3)).unwrap();

    // A power cut during the write of the group: the sector with the third event is lost.
    let torn = as_killed(directory.path());
    let file = &segment_files(torn.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let sector = usize::try_from(third.offset).unwrap().next_multiple_of(512);
    bytes[sector..sector + 512].fill(0);
    fs::write(file, bytes).unwrap();

    let store = open(torn.path());
    let cut = store.report().torn.clone().expect("the cut is reported");
    assert!(store.report().damage.is_empty(), "a torn group is no damage");
    assert_eq!(event_texts(&store).first().unwrap(), "kept");
    assert!(read_all(&store).unwrap().len() < 51, "what came after the hole is not adopted");
    assert!(cut.offset > before.offset && cut.bytes > 0, "{cut}");

    append(&store, "order-1", "after");
    let events = read_all(&store).unwrap();
    drop(store);
    let reopened = open(torn.path());
    assert_eq!(read_all(&reopened).unwrap(), events, "the cut is permanent");
    assert!(reopened.report().damage.is_empty());
}

#[test]
fn a_crash_amid_an_append_with_several_parts_of_one_stream_leaves_all_of_it_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    let before = turned.append_together(vec![append_to("order-1", "kept")]);
    let parts = append_to("order-1", "1")
        .and(name("order-2"), ExpectedRevision::Any, [event("2")])
        .and(name("order-1"), ExpectedRevision::Any, [event("3")]);
    let after = turned.append_together(vec![parts]);
    let end_of = |appended: &Appended| {
        let place = turned.store.locate(appended.position).unwrap();
        usize::try_from(place.offset + place.length).unwrap()
    };
    let cuts = end_of(&before[0])..end_of(&after[0]) + 64;

    let killed = as_killed(directory.path());
    let segment = segment_files(killed.path()).remove(0);
    let written = fs::read(&segment).unwrap();
    let mut seen = BTreeSet::new();
    for cut in cuts {
        // Zeros follow, because a segment is allocated before it is written.
        let mut bytes = written.clone();
        bytes[cut..].fill(0);
        fs::write(&segment, bytes).unwrap();
        let torn = as_killed(killed.path());
        let store = open(torn.path());
        assert_eq!(store.report().damage, [], "cut at byte {cut}");
        seen.insert(event_texts(&store));
    }
    let all = ["kept", "1", "2", "3"].map(str::to_owned);
    assert_eq!(seen, BTreeSet::from([all[..1].to_vec(), all.to_vec()]));
}

#[test]
fn a_crash_of_an_empty_store_leaves_an_empty_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(segment_files(directory.path()).is_empty(), "opening creates no segment");
    drop(store);
    assert_eq!(report(directory.path()).events, 0);
}

#[test]
fn revisions_and_positions_go_on_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let store = open(directory.path());
        let appended = append(&store, "order-1", "{}");
        assert_eq!(appended.position, Position::new(round + 1));
        assert_eq!(appended.revisions, [(name("order-1"), Revision::new(round))]);
    }
    assert_eq!(segment_files(directory.path()).len(), 5, "one opening for each segment");
}

#[test]
fn a_repeat_is_recognized_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let mut append = append_to("order-1", "{}");
    append.streams[0].expected = ExpectedRevision::NoStream;
    let any = append_to("order-2", "{}");
    let store = open(directory.path());
    let first = gesta_store::conformance::block_on(store.append(append.clone())).unwrap();
    let second = gesta_store::conformance::block_on(store.append(any.clone())).unwrap();
    drop(store);
    let store = open(directory.path());
    let again = |append| gesta_store::conformance::block_on(store.append(append)).unwrap();
    assert_eq!(again(append), first.earlier());
    assert_eq!(again(any), second.earlier());
    assert_eq!(event_texts(&store).len(), 2);
}

#[test]
fn a_second_opening_of_a_directory_is_refused_with_the_owner() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let refused = LogStore::open(directory.path(), Options::default()).unwrap_err();
    let OpenError::Directory(LockError::InUse { owner, .. }) = refused else {
        panic!("{refused}");
    };
    assert_eq!(owner, std::process::id().to_string());
}

#[test]
fn a_subscription_that_outlives_its_store_does_not_keep_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, "order-1", "1");
    let subscription = store.subscribe(gesta_store::Subscribe::to_all().into());
    drop(store);
    assert_eq!(event_texts(&open(directory.path())), ["1"]);
    drop(subscription);
}

#[test]
fn a_reader_next_to_a_writer_sees_what_is_surely_durable() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "1")]);
    turned.append_together(vec![append_to("order-1", "2")]);
    let open_reader = || LogStore::open(directory.path(), Options::read_only()).unwrap();
    assert_eq!(
        event_texts(&open_reader()),
        ["1"],
        "the second append is not covered by a mark yet"
    );
    turned.idle();
    let reader = open_reader();
    assert_eq!(event_texts(&reader), ["1", "2"]);
    let refused = gesta_store::conformance::block_on(reader.append(append_to("order-1", "3")));
    assert!(matches!(refused, Err(StoreError::Stopped { .. })));
}

#[test]
fn a_reader_next_to_a_writer_learns_of_what_came_since() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::default().segment_bytes_first(16 << 10).segment_bytes_max(32 << 10);
    let mut turned = TurnedStore::open(directory.path(), options());
    turned.append_together(vec![append_to("order-1", "first")]);
    turned.idle();
    let reader = LogStore::open(directory.path(), Options::read_only()).unwrap();
    assert_eq!(event_texts(&reader), ["first"]);
    // Across several segments.
    let data = "x".repeat(3_000);
    for round in 0..40 {
        turned.append_together(vec![append_to("order-2", &data)]);
        turned.idle();
        reader.refresh().unwrap();
        assert_eq!(read_all(&reader).unwrap().len(), round + 2);
    }
    assert!(segment_files(directory.path()).len() > 3);
}
