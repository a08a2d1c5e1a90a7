//! Many segments: rolling over, preparing ahead, large appends.

use gesta_log::Options;
use gesta_store::{Append, ExpectedRevision, Position};

use crate::scene::{
    Turned, append_to, as_killed, event, name, open, read_all, segment_files, told,
};

fn small() -> Options {
    Options { segment_bytes_first: 16 << 10, segment_bytes_max: 32 << 10, ..Options::default() }
}

#[test]
fn events_read_back_across_many_segments() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = Turned::open(directory.path(), small());
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
    let mut turned = Turned::open(directory.path(), small());
    let data = "y".repeat(1_500);
    let many = (0..64).map(|n| append_to(&format!("order-{n}"), &data)).collect();
    let positions: Vec<_> = turned.append_together(many).iter().map(|a| a.position).collect();
    assert!(positions.is_sorted());
    assert_eq!(positions.last(), Some(&Position::new(64)));
    assert_eq!(told(&open(as_killed(directory.path()).path())).len(), 64);
}

#[test]
fn an_append_larger_than_a_segment_gets_one_of_its_own_size() {
    let directory = tempfile::tempdir().unwrap();
    let mut turned = Turned::open(directory.path(), small());
    let large = Append::to(name("order-1"), ExpectedRevision::Any, [event(&"z".repeat(200_000))]);
    turned.append_together(vec![append_to("order-1", "small"), large]);
    turned.append_together(vec![append_to("order-1", "again")]);
    let lengths: Vec<_> =
        told(&open(as_killed(directory.path()).path())).iter().map(String::len).collect();
    assert_eq!(lengths, [5, 200_000, 5]);
}
