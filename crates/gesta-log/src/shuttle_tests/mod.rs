//! The pipeline's hand-offs under all sorts of schedules.
//!
//! Owns: scenes with the store's own threads, threads and futures that append, and subscribers, on
//! a disk in memory. Each is played by as many schedules as are asked for; a schedule in which
//! somebody is left asleep fails. Always holds: every append has one answer; an answer comes after
//! the publication of what it says; positions are unique, without gaps, and as they were told. Not
//! here: crashes and what lies on disk (`gesta-sim`).
//!
//! `cargo xtask prove engine-schedules`, or
//! `RUSTFLAGS="--cfg gesta_shuttle" cargo test -p gesta-log --lib shuttle_tests` with a target directory
//! of its own. `GESTA_SCHEDULES` asks for more of them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use gesta_store::{EventStore, StoreError, Subscribe};

use self::{
    disk::Fault,
    scene::{Stage, Told, follow, small},
    schedules::{Scene, asked, play, play_twice},
};
use crate::{options::Options, sync::thread};

mod beside;
mod disk;
#[cfg(gesta_planted)]
mod mutations;
mod races;
mod scene;
mod schedules;

/// Schedules of all scenes together in the short form.
const SCHEDULES: u64 = 8_000;

const SCENES: [(&str, Scene); 14] = [
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
    ("segments are filed", beside::segments_filed),
    ("segments are scavenged", beside::segments_scavenged),
    ("nobody appends any more", beside::quiet),
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

fn all_succeed(told: &Told) {
    assert!(told.iter().all(|(_, answer)| answer.is_ok()), "{told:?}");
}

fn threads_that_wait() {
    let stage = Stage::open(Fault::Nothing, small());
    let clients = ["a", "b", "c"].map(|name| stage.client(name).blocking(2));
    all_succeed(&stage.end(clients.into()));
}

#[test]
fn every_thread_that_waits_for_its_append_gets_its_answer_and_sees_it() {
    play_by_name("threads that wait");
}

fn threads_and_futures() {
    let stage = Stage::open(Fault::Nothing, small());
    let clients = vec![
        stage.client("a").blocking(2),
        stage.client("b").awaiting(2),
        stage.client("c").queueing(3),
        stage.client("d").leaving(1),
    ];
    all_succeed(&stage.end(clients));
}

#[test]
fn futures_among_threads_that_wait_are_answered_though_some_are_dropped() {
    play_by_name("threads and futures");
}

/// So large that groups are written beside the filling of the next one, by a thread of the disk.
fn large_appends() {
    let options = Options { segment_bytes_first: 512 << 10, segment_bytes_max: 1 << 20, ..small() };
    let stage = Stage::open(Fault::Nothing, options);
    let large = |name| stage.client(name).with(70 << 10);
    let clients = vec![
        large("a").blocking(2),
        large("b").queueing(3),
        large("c").awaiting(1),
        stage.client("d").blocking(1),
    ];
    all_succeed(&stage.end(clients));
}

#[test]
fn nobody_waits_in_vain_for_a_group_that_a_thread_of_the_disk_writes() {
    play_by_name("large appends");
}

/// So many that the driver is not woken for each of them.
fn many_at_once() {
    let options = Options { segment_bytes_first: 512 << 10, segment_bytes_max: 1 << 20, ..small() };
    let stage = Stage::open(Fault::Nothing, options);
    let clients = vec![
        stage.client("a").with(4 << 10).queueing(24),
        stage.client("b").blocking(2),
        stage.client("c").awaiting(2),
    ];
    all_succeed(&stage.end(clients));
}

#[test]
fn a_driver_that_is_not_woken_for_each_append_forgets_none() {
    play_by_name("many at once");
}

/// Two threads, and one that queues.
fn three(stage: &Stage) -> Vec<thread::JoinHandle<Told>> {
    let client = |name| stage.client(name);
    vec![client("a").blocking(2), client("b").blocking(2), client("c").queueing(2)]
}

/// Each append was written, refused, or nobody knows.
fn all_end(told: &Told) {
    for (event, answer) in told {
        let expected = matches!(
            answer,
            Ok(_) | Err(StoreError::Stopped { .. } | StoreError::Unavailable { .. })
        );
        assert!(expected, "{event}: {answer:?}");
    }
}

fn engine_stopped() {
    let stage = Stage::open(Fault::Nothing, small());
    let clients = three(&stage);
    stage.queue.stop();
    // In the queue of an engine that has ended: nobody has looked at it, so nobody knows.
    all_end(&stage.end(clients));
}

#[test]
fn an_engine_that_is_stopped_answers_everybody() {
    play_by_name("the engine is stopped");
}

/// Whoever is last closes the store, with appends in its queue that nobody waits for.
fn last_handle_dropped() {
    let stage = Stage::open(Fault::Nothing, small());
    let Stage { store, disk, .. } = stage;
    let client = |name| scene::Client::new(store.clone(), name);
    let clients = [client("a").blocking(1), client("b").leaving(2), client("c").awaiting(1)];
    drop(store);
    let told: Told = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    all_succeed(&told);
    let held = scene::reopened(&disk);
    assert_eq!(held.len(), 4, "what was queued was written: {held:?}");
}

#[test]
fn whichever_thread_drops_the_last_handle_everything_queued_is_written() {
    play_by_name("the last handle is dropped");
}

fn write_fails() {
    let stage = Stage::open(Fault::Write(1), small());
    let clients = three(&stage);
    all_end(&stage.end(clients));
}

#[test]
fn a_write_that_fails_is_told_to_everybody_who_waits() {
    play_by_name("a write fails");
}

fn no_room() {
    let stage = Stage::open(Fault::NoRoom(0), small());
    let clients = vec![stage.client("a").blocking(2), stage.client("b").awaiting(2)];
    for (event, answer) in stage.end(clients) {
        assert!(matches!(answer, Ok(_) | Err(StoreError::Overloaded(_))), "{event}: {answer:?}");
    }
}

#[test]
fn a_full_disk_is_told_to_those_who_wait_and_the_next_append_tries_again() {
    play_by_name("no room");
}

fn subscriber() {
    let stage = Stage::open(Fault::Nothing, small());
    let followers = [(); 2].map(|()| follow(stage.store.subscribe(Subscribe::to_all())));
    let clients = vec![stage.client("a").blocking(2), stage.client("b").awaiting(2)];
    let told = stage.end(clients);
    all_succeed(&told);
    for follower in followers {
        assert!(follower.join().unwrap().into_iter().eq(1..=told.len() as u64));
    }
}

#[test]
fn a_subscriber_sees_every_event_and_the_end() {
    play_by_name("a subscriber");
}
