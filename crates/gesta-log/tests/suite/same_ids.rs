//! The same event id in several streams: each stream has its own repeats, wherever the appends are
//! in the index.

use std::path::Path;

use gesta_log::{LogStore, Options, ScavengeOptions, verify};
use gesta_store::{
    Append, Appended, Capability, Conflict, DeleteStream, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, RecordedWhen, StoreError, conformance::block_on,
};

use crate::harness::{
    OpenStore, TurnedStore, append, as_killed, event, name, open, read_all, run_files,
};

/// Sessions of a store, more than are merged at once.
const SESSIONS: u64 = 9;

/// An append of one to three events, of which the first has this id.
fn append_of(id: EventId, stream: &str, events: usize) -> Append {
    let first = NewEvent::json(id, EventType::new("happened").unwrap(), "{}");
    let rest = (1..events).map(|_| event("more"));
    Append::to(name(stream), ExpectedRevision::Any, std::iter::once(first).chain(rest))
}

fn shared_id() -> EventId {
    EventId::derived_from("shared", 0)
}

/// Appends the same first id to new streams.
fn append_shared(store: &LogStore, session: u64) -> Vec<(Append, Appended)> {
    let appended = (0..3).map(|nth| {
        let stream = format!("order-{session}-{nth}");
        let append = append_of(shared_id(), &stream, 1 + (nth + session as usize) % 3);
        let appended = block_on(store.append(append.clone())).unwrap();
        assert_eq!(appended.recorded, RecordedWhen::Now, "{stream}");
        (append, appended)
    });
    appended.collect()
}

/// Checks that each append is a repeat, that a longer one is a conflict, and that another stream
/// takes the id.
fn check_repeats(store: &LogStore, known: &[(Append, Appended)], what: &str) {
    let before = read_all(store).unwrap().len();
    for (append, appended) in known {
        let again = block_on(store.append(append.clone())).unwrap();
        assert_eq!(again, appended.clone().earlier(), "{what}");
        let mut longer = append.clone();
        longer.streams[0].events.push(event("one more"));
        let refused = block_on(store.append(longer)).unwrap_err();
        let partial = Conflict::PartialRepeat { first_event: shared_id() };
        assert_eq!(refused.to_string(), StoreError::Conflict(partial).to_string(), "{what}");
    }
    assert_eq!(read_all(store).unwrap().len(), before, "{what}: nothing was appended");
    let found = block_on(store.find_append(shared_id())).unwrap().unwrap();
    assert!(known.iter().any(|(_, appended)| appended.clone().earlier() == found), "{what}");
}

/// Sessions that each append the shared id to three new streams.
fn sessions(directory: &Path) -> Vec<(Append, Appended)> {
    let mut known = Vec::new();
    for session in 0..SESSIONS {
        let store = open(directory);
        known.extend(append_shared(&store, session));
        append(&store, "account-1", "something else");
    }
    known
}

fn forget_index(directory: &Path) {
    std::fs::remove_file(directory.join("INDEX")).unwrap();
}

#[test]
fn a_store_takes_the_same_id_in_several_streams() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(store.capabilities().has(Capability::StreamScopedIds));
    let known = append_shared(&store, 0);
    check_repeats(&store, &known, "in memory");
}

#[test]
fn appends_of_one_group_with_the_same_id_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    let appends: Vec<_> = (0..4)
        .flat_map(|nth| vec![append_of(shared_id(), &format!("order-{nth}"), 1 + nth % 3); 2])
        .collect();
    let appended = turned.append_together(appends);
    for (nth, pair) in appended.chunks(2).enumerate() {
        assert_eq!(pair[0].recorded, RecordedWhen::Now, "order-{nth}");
        assert_eq!(pair[1], pair[0].clone().earlier(), "order-{nth}");
    }
    let events: usize = (0..4).map(|nth| 1 + nth % 3).sum();
    let killed = as_killed(directory.path());
    assert_eq!(read_all(&open(killed.path())).unwrap().len(), events);
}

#[test]
fn each_stream_has_its_repeats_in_merged_files_of_the_index_and_after_it_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let known = sessions(directory.path());
    let files = run_files(directory.path()).len();
    assert!(files < SESSIONS as usize, "files are merged: {files}");
    check_repeats(&open(directory.path()), &known, "merged");
    forget_index(directory.path());
    check_repeats(&open(directory.path()), &known, "made anew");
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!((report.damage, report.index_damage), (vec![], vec![]));
}

#[test]
fn repeats_of_scavenged_appends_with_the_same_id_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let known = sessions(directory.path());
    let store = open(directory.path());
    // The first append of a segment, and a further one.
    for stream in ["order-1-0", "order-1-2", "order-3-1"] {
        let delete = DeleteStream::new(name(stream), ExpectedRevision::Any);
        block_on(store.delete_stream(delete)).unwrap();
    }
    drop(store);
    let store = open(directory.path());
    let options = ScavengeOptions::default().threshold_percent(0);
    assert!(store.scavenge(options, &mut |_| {}).unwrap().events > 0);
    check_scavenged(&store, &known, "scavenged");
    drop(store);
    check_scavenged(&open(directory.path()), &known, "opened");
    forget_index(directory.path());
    check_scavenged(&open(directory.path()), &known, "made anew");
}

fn check_scavenged(store: &OpenStore, known: &[(Append, Appended)], what: &str) {
    let before = read_all(store).unwrap().len();
    for (append, appended) in known {
        let again = block_on(store.append(append.clone())).unwrap();
        assert_eq!(again, appended.clone().earlier(), "{what}: {}", append.streams[0].stream);
    }
    assert_eq!(read_all(store).unwrap().len(), before, "{what}: nothing was appended");
}
