//! Scenarios with background work: flushes, compactions, scavenges and deadlines.

use std::{sync::Arc, time::Duration};

use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, Revision,
    StreamMetadata, StreamName, Subscribe,
};
use shuttle::future::block_on;

use super::{
    all_succeed,
    disk::Fault,
    play_by_name,
    scene::{self, Harness, everything, follow, reopened, small},
    schedules::is_patient,
};
use crate::{
    maintenance::scavenge::{ScavengeError, ScavengeOptions},
    options::Options,
    store::LogStore,
    sync::{Condvar, Mutex, thread, timed},
};

/// Two of them fill a segment.
const EVENT_BYTES: usize = 3 << 10;

/// Segments that two events fill.
fn smallest() -> Options {
    Options { segment_bytes_first: 12 << 10, segment_bytes_max: 12 << 10, ..small() }
}

/// Two events fill a segment, whose index is put into a file while others append and read.
pub(super) fn segments_filed() {
    fill_segments(Harness::open(Fault::Nothing, smallest()));
}

/// The same with appends, reads and a subscriber for which nothing is in memory.
pub(super) fn reads_are_cold() {
    fill_segments(Harness::cold(smallest()));
}

fn fill_segments(harness: Harness) {
    let large = |name| harness.client(name).with(EVENT_BYTES);
    let follower = follow(harness.store.subscribe(Subscribe::to_all().into()));
    let clients = vec![large("a").blocking(3), large("b").awaiting(3)];
    let disk = Arc::clone(&harness.disk);
    let answers = harness.end(clients);
    all_succeed(&answers);
    assert!(follower.join().unwrap().into_iter().eq(1..=answers.len() as u64));
    assert!(scene::runs(&disk) > 1, "segments end and are filed");
}

#[test]
fn appends_and_readers_go_on_while_segments_are_filed() {
    play_by_name("segments are filed");
}

#[test]
fn io_threads_and_the_threads_that_poll_lose_no_event_and_no_answer() {
    play_by_name("reads are cold");
}

/// Scavenges a few times and returns the number of removed events.
fn scavenge(store: &LogStore, times: usize) -> u64 {
    let once = |_| match store.scavenge(ScavengeOptions::default(), &mut |_| {}) {
        Ok(report) => report.events,
        Err(ScavengeError::UnderWay) => 0,
        Err(error) => panic!("{error}"),
    };
    (0..times).map(once).sum()
}

/// Reads the whole store `times` times.
fn read(store: LogStore, times: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for _ in 0..times {
            let all = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
            assert!(all.is_sorted_by(|one, next| one.position < next.position));
        }
    })
}

/// As `delete_stream` appends it, but with an id that is the same in every schedule.
fn deletion(stream: &str, before: Revision) -> Append {
    let stream = StreamName::new(stream).unwrap().metadata_stream().unwrap();
    let metadata = StreamMetadata::default().truncate_before(before).to_json();
    let event_type = EventType::new(StreamMetadata::EVENT_TYPE).unwrap();
    let event = NewEvent::json(EventId::derived_from("deletion", 0), event_type, metadata);
    Append::to(stream, ExpectedRevision::NoStream, [event])
}

/// One stream is deleted and scavenged while another one grows and all is read.
pub(super) fn segments_scavenged() {
    // Readers get next to nothing from memory.
    let options = Options { tail_bytes_max: 1, ..smallest() };
    let Harness { store, disk, .. } = Harness::open(Fault::Nothing, options);
    let client = |name| scene::Client::new(store.clone(), name).with(EVENT_BYTES);
    all_succeed(&client("a").blocking(3).join().unwrap());
    let growing = client("b").blocking(3);
    let [deleting, scavenging] = [(); 2].map(|()| store.clone());
    let reading = [(); 2].map(|()| read(store.clone(), 4));
    let deleting = thread::spawn(move || {
        block_on(deleting.append(deletion("client-a", Revision::new(3)))).unwrap();
    });
    let scavenging = thread::spawn(move || scavenge(&scavenging, 2));
    all_succeed(&growing.join().unwrap());
    deleting.join().unwrap();
    reading.into_iter().for_each(|reading| reading.join().unwrap());
    let won = scavenging.join().unwrap() + scavenge(&store, 1);
    assert!(won > 1, "a segment of the deleted stream has ended, and {won} events were won");
    let held = everything(&store);
    assert!((0..3).all(|number| held.values().any(|event| *event == format!("b{number}"))));
    block_on(store.close()).unwrap();
    assert_eq!(reopened(&disk), held);
}

#[test]
fn readers_and_appends_go_on_while_segments_are_scavenged() {
    play_by_name("segments are scavenged");
}

/// The writer thread writes the close frame, though no append wakes it.
pub(super) fn quiet() {
    let due = Duration::from_millis(20);
    let harness = Harness::open(Fault::Nothing, Options { close_after: due, ..small() });
    let answers = harness.client("a").blocking(1).join().unwrap();
    all_succeed(&answers);
    let (begun, nobody, never) = (timed::look(), Mutex::new(()), Condvar::default());
    while harness.disk.groups_written() < 2 {
        let waited = timed::look().saturating_sub(begun);
        assert!(!is_patient() || waited < due * 2, "the delay has no effect");
        drop(never.wait_timeout(nobody.lock().unwrap(), due / 10));
    }
    drop(harness.end(Vec::new()));
}

#[test]
fn what_is_due_is_done_though_nobody_appends_any_more() {
    play_by_name("no more appends");
}
