//! Bugs that are planted in one separate build; the simulation must catch each of them.
//!
//! `RUSTFLAGS="--cfg gesta_planted" cargo test -p gesta-sim planted`, with a target directory of
//! its own.

use gesta_log::planted::{Bug, plant};
use gesta_sim::{Failure, run, seeds};

/// Within so many seeds each bug has to be caught.
const SEEDS: u64 = 2_000;

/// The first seed that catches a bug.
fn caught(bug: Bug) -> Option<Failure> {
    plant(Some(bug));
    let failure = (0..SEEDS).find_map(|seed| run(seed).err());
    plant(None);
    failure
}

#[test]
#[expect(clippy::print_stdout, reason = "which seed caught what is what the test is read for")]
fn each_planted_bug_is_caught() {
    let mut survived = Vec::new();
    for bug in Bug::ALL.iter().copied() {
        match caught(bug) {
            Some(Failure { seed, broken, .. }) => println!("{bug:?}: seed {seed}: {broken}"),
            None => survived.push(bug),
        }
    }
    assert!(survived.is_empty(), "not caught within {SEEDS} seeds: {survived:?}");
}

#[test]
fn without_a_planted_bug_the_same_seeds_break_no_promise() {
    seeds(0, SEEDS).unwrap_or_else(|failure| panic!("{failure}"));
}
