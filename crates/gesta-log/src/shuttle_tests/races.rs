//! Appends of which not all can succeed, or not all are new.

use std::collections::BTreeSet;

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadStream, Revision,
    StoreError, StreamName,
};
use shuttle::future::block_on;

use super::{
    disk::Fault,
    play_by_name,
    scene::{Harness, small},
};
use crate::{store::LogStore, sync::thread};

const ROUNDS: u64 = 2;

fn stream() -> StreamName {
    StreamName::new("seat-1").unwrap()
}

fn append(expected: ExpectedRevision, event: &str) -> Append {
    let event_type = EventType::new("taken").unwrap();
    Append::to(
        stream(),
        expected,
        [NewEvent::json(EventId::derived_from(event, 0), event_type, "{}")],
    )
}

/// A way to append: blocking, or by a future.
type By = fn(&LogStore, Append) -> Result<gesta_store::Appended, StoreError>;

const WAYS: [By; 3] = [
    LogStore::append_blocking,
    |store, append| block_on(store.append(append)),
    LogStore::append_blocking,
];

/// One client wins each revision, and the others see the winner's event at once.
pub(super) fn revisions() {
    let harness = Harness::open(Fault::Nothing, small());
    let racing: Vec<_> = (0..).zip(WAYS).map(|(number, by)| race(&harness, number, by)).collect();
    let won: Vec<u64> = racing.into_iter().flat_map(|racer| racer.join().unwrap()).collect();
    assert_eq!(won.len() as u64, ROUNDS, "{won:?}");
    assert_eq!(won.into_iter().collect::<BTreeSet<_>>().len() as u64, ROUNDS);
    drop(harness.end(Vec::new()));
}

/// The rounds that one wins.
fn race(harness: &Harness, number: usize, by: By) -> thread::JoinHandle<Vec<u64>> {
    let store = harness.store.clone();
    thread::spawn(move || {
        let wins = |round: &u64| {
            let before = round.checked_sub(1).map(Revision::new);
            let expected = before.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exact);
            let won = match by(&store, append(expected, &format!("{number} in {round}"))) {
                Ok(_) => true,
                Err(StoreError::Conflict(_)) => false,
                Err(error) => panic!("{error}"),
            };
            let read = block_on(store.read_stream(ReadStream::forwards(stream())).collect_events());
            assert!(read.unwrap().len() as u64 > *round, "round {round} is over");
            won
        };
        (0..ROUNDS).filter(wins).collect()
    })
}

#[test]
fn of_those_who_race_for_a_revision_one_wins_and_the_others_see_it() {
    play_by_name("a race for revisions");
}

/// The same append from several sides is one append.
pub(super) fn repeats() {
    let harness = Harness::open(Fault::Nothing, small());
    let one = |by: By| {
        let store = harness.store.clone();
        thread::spawn(move || by(&store, append(ExpectedRevision::Any, "once")).unwrap().position)
    };
    let positions: Vec<_> = WAYS.map(one).into_iter().map(|one| one.join().unwrap()).collect();
    assert!(positions.iter().all(|position| position.number() == 1), "{positions:?}");
    drop(harness.end(Vec::new()));
}

#[test]
fn an_append_that_comes_from_several_sides_happens_once() {
    play_by_name("the same append twice");
}
