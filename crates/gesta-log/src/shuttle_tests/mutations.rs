//! Mutations between threads: at least one scenario must fail for each of them.

use super::{
    SCENES,
    schedules::{FailedSchedule, Scene, play},
};
use crate::mutations::{Mutation, enable};

/// Schedules of each scenario within which a mutation must be caught, tried in this order.
const SCHEDULES: [usize; 3] = [40, 400, 2_000];

/// The first scene that fails, and how.
fn caught(bug: Option<Mutation>, schedules: &[usize]) -> Option<String> {
    let tries = schedules.iter().flat_map(|many| SCENES.iter().map(move |scene| (*many, scene)));
    tries.into_iter().find_map(|(many, (name, scene))| {
        let failure = play_apart(bug, *scene, many).err()?;
        Some(format!("{name}, within {many} schedules: {failure}"))
    })
}

/// Plays on a thread of the system's that is not used again: a panic in one of its schedule's
/// threads may stay there half unwound.
fn play_apart(bug: Option<Mutation>, scene: Scene, schedules: usize) -> Result<(), FailedSchedule> {
    let playing = std::thread::spawn(move || {
        enable(bug);
        play(scene, schedules)
    });
    playing.join().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "what caught what is what the test is read for")]
fn each_planted_bug_between_threads_is_caught() {
    let mut survived = Vec::new();
    for bug in Mutation::CONCURRENCY.iter().copied() {
        match caught(Some(bug), &SCHEDULES) {
            Some(how) => println!("caught {bug:?}: {how}"),
            None => survived.push(bug),
        }
    }
    let without = caught(None, &SCHEDULES[..1]);
    assert!(without.is_none(), "without a bug, after all of them: {without:?}");
    assert!(survived.is_empty(), "not caught: {survived:?}");
}
