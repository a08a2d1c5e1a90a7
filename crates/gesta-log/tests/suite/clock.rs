//! A clock that was wrong, and recovery from it.

use std::{path::Path, sync::Arc, time::Duration};

use gesta_log::{Access, Engine, FileDisk, LogStore, Options, RecordedTime, SystemRng, verify};
use gesta_store::{EventStore, RecordedAt, StreamMetadata, conformance::block_on};

use crate::harness::{ManualClock, TurnedStore, append_to, name, read_all};

const DAY: Duration = Duration::from_secs(86_400);

/// Opens a store at a given day.
fn at_day(directory: &Path, day: u32, recorded_time: RecordedTime) -> TurnedStore {
    let disk = Arc::new(FileDisk::open(directory, Access::ReadWrite).unwrap());
    let clock = Arc::new(ManualClock::default());
    clock.pass(DAY * day);
    let options = Options::default().recorded_time(recorded_time);
    let (engine, store) = Engine::open(disk, clock.clone(), Box::new(SystemRng), options).unwrap();
    TurnedStore { engine, store, clock }
}

fn days(store: &LogStore) -> Vec<u64> {
    let events = read_all(store).unwrap();
    let day = DAY.as_micros() as u64;
    events.iter().map(|event| event.recorded_at.micros() / day).collect()
}

fn ahead_in_days(turned: &TurnedStore) -> u64 {
    let now = RecordedAt::from_micros(turned.clock_micros());
    block_on(turned.store.recorded_ahead(now)).unwrap().as_secs() / DAY.as_secs()
}

#[test]
fn recorded_time_stands_still_after_a_clock_from_the_future_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    at_day(directory.path(), 900, RecordedTime::Continues)
        .append_together(vec![append_to("order-1", "future")]);
    let mut now = at_day(directory.path(), 100, RecordedTime::Continues);
    assert_eq!(ahead_in_days(&now), 800);
    now.append_together(vec![append_to("order-1", "now")]);
    assert_eq!(days(&now.store), [900, 900]);
    assert_eq!(ahead_in_days(&now), 800);
}

#[test]
fn recorded_time_begins_anew_where_an_operator_says_so_and_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    at_day(directory.path(), 900, RecordedTime::Continues)
        .append_together(vec![append_to("order-1", "future")]);
    let mut anew = at_day(directory.path(), 100, RecordedTime::Restarts);
    anew.append_together(vec![append_to("order-1", "anew")]);
    assert_eq!(ahead_in_days(&anew), 0);
    while anew.engine.compact_some() {}
    drop(anew);
    // Later openings continue from the last time, whether it is read from a segment or from an
    // index file.
    for (day, expected) in [(101, vec![900, 100, 101]), (99, vec![900, 100, 101, 101])] {
        let mut later = at_day(directory.path(), day, RecordedTime::Continues);
        later.append_together(vec![append_to("order-1", "later")]);
        assert_eq!(days(&later.store), expected);
        while later.engine.compact_some() {}
    }
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert_eq!((report.damage, report.index_damage), (vec![], vec![]));
}

#[test]
fn an_opening_that_lets_recorded_time_begin_anew_and_appends_nothing_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    at_day(directory.path(), 900, RecordedTime::Continues)
        .append_together(vec![append_to("order-1", "future")]);
    drop(at_day(directory.path(), 100, RecordedTime::Restarts));
    assert_eq!(ahead_in_days(&at_day(directory.path(), 100, RecordedTime::Continues)), 800);
}

/// An event recorded in the future by a wrong clock is shown for longer, never shorter; one
/// recorded correctly expires in time although an earlier one does not.
#[test]
fn max_age_counts_from_what_was_recorded_of_each_event() {
    let directory = tempfile::tempdir().unwrap();
    at_day(directory.path(), 900, RecordedTime::Continues)
        .append_together(vec![append_to("order-1", "future")]);
    let mut anew = at_day(directory.path(), 100, RecordedTime::Restarts);
    anew.append_together(vec![append_to("order-1", "anew")]);
    let change = gesta_store::SetStreamMetadata::new(
        name("order-1"),
        gesta_store::ExpectedRevision::Any,
        StreamMetadata::default().max_age(DAY * 5),
    );
    let store = anew.store.clone();
    anew.turn_until(store.set_stream_metadata(change)).unwrap();
    let shown = |turned: &TurnedStore| {
        let read = gesta_store::ReadStream::forwards(name("order-1"));
        let events = block_on(turned.store.read_stream(read).collect_events()).unwrap();
        events.iter().map(|event| event.revision.number()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&anew), [0, 1]);
    anew.clock.pass(DAY * 6);
    assert_eq!(shown(&anew), [0]);
    anew.clock.pass(DAY * 800);
    assert_eq!(shown(&anew), Vec::<u64>::new());
}
