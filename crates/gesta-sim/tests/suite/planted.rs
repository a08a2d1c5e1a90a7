//! Bugs that are planted in one separate build; the simulation must catch each of them.
//!
//! `RUSTFLAGS="--cfg gesta_planted" cargo test -p gesta-sim planted`, with a target directory of
//! its own.

use gesta_log::planted::{Bug, plant};
use gesta_sim::{Ending, Extent, Failure, Sweep, run, seeds, sweep};

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
    for bug in Bug::DURABILITY.iter().copied() {
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

/// Bugs that show in a store that lies still.
const SEEN_BY_A_SWEEP: [Bug; 5] = [
    Bug::TruncateAtFirstBadFrame,
    Bug::AdoptPastAHole,
    Bug::NoChecksumOfARecord,
    Bug::MarkInTheSectorBefore,
    Bug::ZerosOverTheTornTail,
];

#[test]
#[expect(clippy::print_stdout, reason = "which damage was not told is what the test is read for")]
fn a_sweep_catches_bugs_of_checking_and_recovering() {
    let of = |ending| sweep(Sweep { store_bytes: 48 << 10, ending, extent: Extent::Every8th });
    let mut survived = Vec::new();
    for bug in SEEN_BY_A_SWEEP {
        plant(Some(bug));
        let swept = of(Ending::Closed).and_then(|_| of(Ending::Killed));
        plant(None);
        match swept {
            Ok(_) => survived.push(bug),
            Err(broken) => println!("{bug:?}: {broken}"),
        }
    }
    assert!(survived.is_empty(), "no damage told of them: {survived:?}");
}
