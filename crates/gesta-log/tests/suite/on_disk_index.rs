//! Queries of index files: a store whose earlier sessions were flushed into runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gesta_log::{LogStore, Options, verify};
use gesta_store::{
    Append, EventId, EventStore, ExpectedRevision, Filter, ListStreams, ReadAll, StreamName,
    conformance::block_on,
};

use crate::harness::{
    OpenStore, TurnedStore, append, append_to, as_killed, event, event_texts, flip, name, open,
    open_with, read_all, run_files, segment_files,
};

const STREAMS: u32 = 70;

/// Creates a store of two sessions, each flushed at its end: every order twice, with other events
/// in between.
fn filed(directory: &Path) -> OpenStore {
    for life in ["first", "second"] {
        let store = open(directory);
        for number in 0..STREAMS {
            append(&store, &format!("order-{number:03}"), life);
            append(&store, &format!("account-{number:03}"), life);
        }
    }
    assert!(!run_files(directory).is_empty(), "there are files of the index to ask");
    open(directory)
}

fn list(store: &LogStore, after: Option<StreamName>, limit: usize) -> Vec<StreamName> {
    let list = ListStreams::all().prefix("order-".to_owned()).after(after).limit(limit);
    block_on(store.list_streams(list)).unwrap()
}

#[test]
fn streams_of_earlier_lives_are_listed_once_and_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let store = filed(directory.path());
    append(&store, "order-069", "third");
    append(&store, "order-new", "third");
    let all = list(&store, None, 1_000);
    assert_eq!(all.len(), STREAMS as usize + 1);
    assert!(all.is_sorted_by(|one, next| one < next), "each once, in order");
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = list(&store, after, 16);
        after = page.last().cloned();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

#[test]
fn a_prefix_lets_nothing_else_through_however_many_streams_begin_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = filed(directory.path());
    for (prefix, streams) in [("order-", STREAMS), ("order-00", 10), ("order-000", 1)] {
        let filter = Filter::StreamPrefixes(vec![prefix.to_owned()]);
        let read = ReadAll::forwards().filter(filter);
        let events = block_on(store.read_all(read).collect_events()).unwrap();
        assert!(events.iter().all(|event| event.stream.as_str().starts_with(prefix)), "{prefix}");
        assert_eq!(events.len(), 2 * streams as usize, "{prefix}");
    }
}

#[test]
fn a_list_of_streams_goes_on_after_any_of_many_names() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut names = Vec::new();
    for _ in 0..40 {
        let hundred: Vec<_> = (0..100)
            .map(|_| name(&format!("order-{}-{}", EventId::random(), EventId::random())))
            .collect();
        let first = Append::to(hundred[0].clone(), ExpectedRevision::NoStream, [event("new")]);
        let append = hundred[1..].iter().fold(first, |append, name| {
            append.and(name.clone(), ExpectedRevision::NoStream, [event("new")])
        });
        block_on(store.append(append)).unwrap();
        names.extend(hundred);
    }
    names.sort();
    drop(store);
    let store = open(directory.path());
    for (at, after) in names.iter().enumerate().step_by(37) {
        let expected = names[at + 1..].iter().take(3).cloned().collect::<Vec<_>>();
        assert_eq!(list(&store, Some(after.clone()), 3), expected);
    }
}

#[test]
fn the_last_segment_is_checked_whole_however_large() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::default().segment_bytes_first(16 << 20);
    let store = open_with(directory.path(), options);
    let data = "x".repeat(1 << 20);
    for number in 0..10 {
        append(&store, &format!("order-{number}"), &data);
    }
    drop(store);
    let segments = segment_files(directory.path());
    flip(segments.last().unwrap(), 5_000);
    let store = open(directory.path());
    let damage = &store.report().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
}

/// Zeros a segment after its opening frame, as a crash before the first event leaves it.
fn lose_events(segment: &Path) {
    let mut bytes = fs::read(segment).unwrap();
    let opening_end = 4_096 + 72 + 32;
    bytes[opening_end..].fill(0);
    fs::write(segment, bytes).unwrap();
}

#[test]
fn segments_without_events_are_merged_with_their_neighbours_and_gone_then() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    turned.append_together(vec![append_to("order-1", "lost")]);
    let store = as_killed(directory.path());
    lose_events(&segment_files(store.path())[0]);
    for _ in 0..10 {
        append(&open(store.path()), "order-1", "there");
    }
    let small = Options::default().segment_bytes_first(8 << 10).segment_bytes_max(8 << 10);
    let mut turned = TurnedStore::open(store.path(), small);
    while turned.engine.compact_some() {}
    for _ in 0..3 {
        turned.append_together(vec![append_to("order-1", &"x".repeat(3_000))]);
        while turned.engine.compact_some() {}
    }
    drop(turned);
    let files = run_files(store.path());
    let named: Vec<_> =
        files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    assert!(named.len() < 8, "they were merged: {named:?}");
    for (run, next) in named.iter().zip(named.iter().skip(1)) {
        assert!(run.split('-').nth(1) < next.split('-').next(), "{run} and {next}");
    }
    let report = verify(store.path(), &mut |_| {}).unwrap();
    assert_eq!((report.damage, report.index_damage), (vec![], vec![]));
    assert_eq!(event_texts(&open(store.path())).len(), 13);
}

#[test]
fn processes_that_append_once_and_end_leave_few_files_of_the_index_and_little_space() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..80 {
        append(&open(directory.path()), "order-1", &number.to_string());
    }
    let runs = run_files(directory.path()).len();
    assert!(runs <= 16, "{runs} files of the index");
    let bytes = |file: &PathBuf| fs::metadata(file).unwrap().len();
    let segments: u64 = segment_files(directory.path()).iter().map(bytes).sum();
    assert!(segments <= 80 * (128 << 10), "{segments} bytes of segments");
    let events = read_all(&open(directory.path())).unwrap();
    assert!(events.iter().map(|event| event.revision.number()).eq(0..80));
}
