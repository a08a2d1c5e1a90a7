//! Concurrency tests of the commit pipeline under many thread schedules.
//!
//! Owns scenarios with the store's own threads, appending threads and futures, and subscribers, on
//! an in-memory disk. A schedule fails if a thread is left parked, an append has no answer or more
//! than one, an answer precedes its publication, or positions have gaps or differ from the answers.
//!
//! Elsewhere: crashes and bytes on disk (`gesta-sim`).
//!
//! `cargo xtask prove engine-schedules`, or
//! `RUSTFLAGS="--cfg gesta_shuttle" cargo test -p gesta-log --lib shuttle_tests` with a separate
//! target directory. `GESTA_SCHEDULES` sets the number of schedules.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use gesta_store::{EventStore, StoreError, Subscribe};
use shuttle::future::block_on;

use self::{
    disk::Fault,
    scene::{Answers, Harness, follow, small},
    schedules::{Scene, asked, play, play_twice},
};
use crate::{options::Options, sync::thread};

mod background;
mod disk;
#[cfg(gesta_planted)]
mod mutations;
mod races;
mod scene;
mod schedules;

/// Schedules of all scenes together in the short form.
const SCHEDULES: u64 = 8_000;

const SCENES: [(&str, Scene); 15] = [
    ("threads that wait", threads_that_wait),
    ("threads and futures", threads_and_futures),
    ("large appends", large_appends),
    ("the engine is stopped", engine_stopped),
    ("the last handle is dropped", last_handle_dropped),
    ("a write fails", write_fails),
    ("no room", no_room),
    ("a subscriber", subscriber),
    ("many at once", many_at_once),
    ("a race for revisions", races::revisions),
    ("the same append twice", races::repeats),
    ("segments are filed", background::segments_filed),
    ("reads are cold", background::reads_are_cold),
    ("segments are scavenged", background::segments_scavenged),
    ("no more appends", background::quiet),
];

/// Plays the scene of this name.
#[expect(clippy::print_stdout, reason = "how much was played is what a run is read for")]
fn play_by_name(name: &str) {
    let (_, scene) = SCENES.iter().find(|(known, _)| *known == name).unwrap();
    let schedules = asked("GESTA_SCHEDULES", SCHEDULES).div_ceil(SCENES.len() as u64);
    play(*scene, usize::try_from(schedules).unwrap()).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{name}: {schedules} schedules");
}

#[test]
#[expect(clippy::print_stdout, reason = "which scene it was is what a failure is read for")]
fn a_seed_plays_the_same_schedule_again() {
    for (name, scene) in SCENES {
        println!("twice: {name}");
        play_twice(scene, 20);
    }
}

fn all_succeed(answers: &Answers) {
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
}

fn threads_that_wait() {
    let harness = Harness::open(Fault::Nothing, small());
    let clients = ["a", "b", "c"].map(|name| harness.client(name).blocking(2));
    all_succeed(&harness.end(clients.into()));
}

#[test]
fn every_thread_that_waits_for_its_append_gets_its_answer_and_sees_it() {
    play_by_name("threads that wait");
}

fn threads_and_futures() {
    let harness = Harness::open(Fault::Nothing, small());
    let clients = vec![
        harness.client("a").blocking(2),
        harness.client("b").awaiting(2),
        harness.client("c").queueing(3),
        harness.client("d").leaving(1),
    ];
    all_succeed(&harness.end(clients));
}

#[test]
fn futures_among_threads_that_wait_are_answered_though_some_are_dropped() {
    play_by_name("threads and futures");
}

/// Appends so large that groups are pipelined on a thread of the disk.
fn large_appends() {
    let options = Options { segment_bytes_first: 512 << 10, segment_bytes_max: 1 << 20, ..small() };
    let harness = Harness::open(Fault::Nothing, options);
    let large = |name| harness.client(name).with(70 << 10);
    let clients = vec![
        large("a").blocking(2),
        large("b").queueing(3),
        large("c").awaiting(1),
        harness.client("d").blocking(1),
    ];
    all_succeed(&harness.end(clients));
}

#[test]
fn nobody_waits_in_vain_for_a_group_that_a_thread_of_the_disk_writes() {
    play_by_name("large appends");
}

/// A large number of appends, so that the leader is not woken for each of them.
fn many_at_once() {
    let options = Options { segment_bytes_first: 512 << 10, segment_bytes_max: 1 << 20, ..small() };
    let harness = Harness::open(Fault::Nothing, options);
    let clients = vec![
        harness.client("a").with(4 << 10).queueing(24),
        harness.client("b").blocking(2),
        harness.client("c").awaiting(2),
    ];
    all_succeed(&harness.end(clients));
}

#[test]
fn a_leader_that_is_not_woken_for_each_append_forgets_none() {
    play_by_name("many at once");
}

/// Two threads, and one that queues.
fn three(harness: &Harness) -> Vec<thread::JoinHandle<Answers>> {
    let client = |name| harness.client(name);
    vec![client("a").blocking(2), client("b").blocking(2), client("c").queueing(2)]
}

/// Each append was written, was refused, or has an unknown outcome.
fn all_end(answers: &Answers) {
    for (event, answer) in answers {
        let expected = matches!(
            answer,
            Ok(_) | Err(StoreError::Stopped { .. } | StoreError::Unavailable { .. })
        );
        assert!(expected, "{event}: {answer:?}");
    }
}

fn engine_stopped() {
    let harness = Harness::open(Fault::Nothing, small());
    let clients = three(&harness);
    harness.queue.request_stop();
    // An append in the queue of a stopped engine has an unknown outcome.
    all_end(&harness.end(clients));
}

#[test]
fn an_engine_that_is_stopped_answers_everybody() {
    play_by_name("the engine is stopped");
}

/// The last handle closes the store, while appends without waiters are queued.
fn last_handle_dropped() {
    let harness = Harness::open(Fault::Nothing, small());
    let Harness { store, disk, .. } = harness;
    let client = |name| scene::Client::new(store.clone(), name);
    let clients = [client("a").blocking(1), client("b").leaving(2), client("c").awaiting(1)];
    let closed = store.closed();
    drop(store);
    let answers: Answers = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    all_succeed(&answers);
    // The writer thread closes the store in the background.
    block_on(closed).unwrap_err();
    let held = scene::reopened(&disk);
    assert_eq!(held.len(), 4, "what was queued was written: {held:?}");
}

#[test]
fn whichever_thread_drops_the_last_handle_everything_queued_is_written() {
    play_by_name("the last handle is dropped");
}

fn write_fails() {
    let harness = Harness::open(Fault::Write(1), small());
    let clients = three(&harness);
    all_end(&harness.end(clients));
}

#[test]
fn a_write_that_fails_is_told_to_everybody_who_waits() {
    play_by_name("a write fails");
}

fn no_room() {
    let harness = Harness::open(Fault::NoRoom(0), small());
    let clients = vec![harness.client("a").blocking(2), harness.client("b").awaiting(2)];
    for (event, answer) in harness.end(clients) {
        assert!(matches!(answer, Ok(_) | Err(StoreError::Overloaded(_))), "{event}: {answer:?}");
    }
}

#[test]
fn a_full_disk_is_told_to_those_who_wait_and_the_next_append_tries_again() {
    play_by_name("no room");
}

fn subscriber() {
    let harness = Harness::open(Fault::Nothing, small());
    let followers = [(); 2].map(|()| follow(harness.store.subscribe(Subscribe::to_all().into())));
    let clients = vec![harness.client("a").blocking(2), harness.client("b").awaiting(2)];
    let answers = harness.end(clients);
    all_succeed(&answers);
    for follower in followers {
        assert!(follower.join().unwrap().into_iter().eq(1..=answers.len() as u64));
    }
}

#[test]
fn a_subscriber_sees_every_event_and_the_end() {
    play_by_name("a subscriber");
}
