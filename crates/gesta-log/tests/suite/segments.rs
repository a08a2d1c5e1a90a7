//! Many segments: rolling over, preparing ahead, large appends.

use std::{fs, path::Path};

use gesta_log::{LogStore, Options, Torn};
use gesta_store::{
    Append, Conflict, EventStore as _, ExpectedRevision, Position, StoreError,
    conformance::block_on,
};

use crate::harness::{
    TurnedStore, append_to, as_killed, event, event_texts, flip, name, open, read_all,
    segment_files,
};

fn small() -> Options {
    Options::default().segment_bytes_first(16 << 10).segment_bytes_max(32 << 10)
}

#[test]
fn events_read_back_across_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    let data = "x".repeat(900);
    for number in 0..200 {
        turned.append_together(vec![append_to(&format!("order-{}", number % 7), &data)]);
    }
    let events = read_all(&turned.store).unwrap();
    assert_eq!(events.len(), 200);
    let killed = as_killed(directory.path());
    assert!(segment_files(killed.path()).len() > 5);
    let store = open(killed.path());
    assert_eq!(read_all(&store).unwrap(), events);
    assert!(store.report().damage.is_empty());
}

#[test]
fn a_group_that_does_not_fit_goes_on_in_the_next_segment() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    let data = "y".repeat(1_500);
    let many = (0..64).map(|n| append_to(&format!("order-{n}"), &data)).collect();
    let positions: Vec<_> = turned.append_together(many).iter().map(|a| a.position).collect();
    assert!(positions.is_sorted());
    assert_eq!(positions.last(), Some(&Position::new(64)));
    assert_eq!(event_texts(&open(as_killed(directory.path()).path())).len(), 64);
}

#[test]
fn an_append_larger_than_a_segment_gets_one_of_its_own_size() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    let large = Append::to(name("order-1"), ExpectedRevision::Any, [event(&"z".repeat(200_000))]);
    turned.append_together(vec![append_to("order-1", "small"), large]);
    turned.append_together(vec![append_to("order-1", "again")]);
    let lengths: Vec<_> =
        event_texts(&open(as_killed(directory.path()).path())).iter().map(String::len).collect();
    assert_eq!(lengths, [5, 200_000, 5]);
}

/// Offsets of the frames in the first segment.
fn frames(directory: &Path) -> Vec<usize> {
    let bytes = fs::read(&segment_files(directory)[0]).unwrap();
    (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"GFRM")).collect()
}

fn find(store: &LogStore, append: &Append) -> Option<Position> {
    let id = append.events().next().unwrap().id;
    block_on(store.find_append(id)).unwrap().map(|appended| appended.position)
}

#[test]
fn small_appends_that_are_written_together_share_frames_and_are_known_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    let pair = || [event("first"), event("second")];
    let mut appends: Vec<_> = (0..10).map(|n| append_to(&format!("order-{n}"), "alone")).collect();
    appends.extend((0..5).map(|_| Append::to(name("order-1"), ExpectedRevision::Any, pair())));
    let appended = turned.append_together(appends.clone());
    assert_eq!(frames(directory.path()).len(), 2, "an opening frame and one for all");
    let killed = as_killed(directory.path());
    drop(turned);
    for directory in [directory.path(), killed.path()] {
        let store = open(directory);
        for (append, appended) in appends.iter().zip(&appended) {
            assert_eq!(find(&store, append), Some(appended.position));
            let again = block_on(store.append(append.clone())).unwrap();
            assert_eq!(again, appended.clone().earlier());
        }
        assert_eq!(read_all(&store).unwrap().len(), 20, "nothing was appended again");
        let first = appends[14].events().next().unwrap().clone();
        let shorter = Append::to(name("order-1"), ExpectedRevision::Any, [first.clone()]);
        let refused = block_on(store.append(shorter)).unwrap_err();
        let partial = StoreError::Conflict(Conflict::PartialRepeat { first_event: first.id });
        assert_eq!(refused.to_string(), partial.to_string());
    }
}

#[test]
fn what_is_written_together_is_in_frames_of_about_four_kibibytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), Options::default());
    let data = "x".repeat(500);
    turned.append_together((0..60).map(|n| append_to(&format!("order-{n}"), &data)).collect());
    let begins = frames(directory.path());
    assert!((10..=20).contains(&begins.len()), "{} frames", begins.len());
    assert!(begins.windows(2).all(|pair| pair[1] - pair[0] <= 4_096));
    turned.append_together(vec![append_to("order-1", &"y".repeat(9_000))]);
    assert_eq!(frames(directory.path()).len(), begins.len() + 1, "a large one is alone");
    assert_eq!(event_texts(&open(as_killed(directory.path()).path())).len(), 61);
}

#[test]
fn of_a_torn_frame_no_append_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = TurnedStore::open(directory.path(), small());
    turned.append_together(vec![append_to("order-0", "kept")]);
    turned.append_together((1..9).map(|n| append_to(&format!("order-{n}"), "torn")).collect());
    let killed = as_killed(directory.path());
    let begins = frames(killed.path());
    let torn = *begins.last().unwrap() as u64;
    flip(&segment_files(killed.path())[0], torn + 600); // in one of its records
    let store = open(killed.path());
    assert_eq!(event_texts(&store), ["kept"]);
    assert!(matches!(&store.report().torn, Some(Torn { offset, .. }) if *offset == torn));
    assert!(store.report().damage.is_empty(), "it was never vouched for");
}
