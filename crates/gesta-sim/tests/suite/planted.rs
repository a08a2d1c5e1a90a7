//! Mutations enabled in a separate build; the simulation must catch each of them.
//!
//! `RUSTFLAGS="--cfg gesta_planted" cargo test -p gesta-sim planted`, with a separate target
//! directory.

use gesta_log::mutations::{Mutation, enable};
use gesta_sim::{Coverage, Failure, Shutdown, SweepOptions, run, sweep};

/// Seeds within which each mutation must be caught.
const SEEDS: u64 = 2_500;

/// Returns the failure of the first seed that catches a mutation. Without the mutation, the same
/// seed must break no promise.
fn caught(bug: Mutation) -> Option<Failure> {
    enable(Some(bug));
    let failure = (0..SEEDS).find_map(|seed| run(seed).err());
    enable(None);
    if let Some(Failure { seed, .. }) = &failure {
        run(*seed).unwrap_or_else(|failure| panic!("fails without {bug:?} too: {failure}"));
    }
    failure
}

#[test]
#[expect(clippy::print_stdout, reason = "which seed caught what is what the test is read for")]
fn each_planted_bug_is_caught() {
    let mut survived = Vec::new();
    for bug in Mutation::DURABILITY.iter().copied() {
        match caught(bug) {
            Some(Failure { seed, violation, .. }) => println!("{bug:?}: seed {seed}: {violation}"),
            None => survived.push(bug),
        }
    }
    assert!(survived.is_empty(), "not caught within {SEEDS} seeds: {survived:?}");
}

/// Mutations that a sweep of a closed store can catch.
const SEEN_BY_A_SWEEP: [Mutation; 5] = [
    Mutation::TruncateAtFirstBadFrame,
    Mutation::AdoptPastHole,
    Mutation::RecordChecksumIgnored,
    Mutation::MarkInSameSector,
    Mutation::TornTailZeroed,
];

#[test]
#[expect(
    clippy::print_stdout,
    reason = "which damage was not reported is what the test is read for"
)]
fn a_sweep_catches_bugs_of_checking_and_recovering() {
    let of = |shutdown| {
        sweep(SweepOptions { store_bytes: 32 << 10, shutdown, coverage: Coverage::Every8th })
    };
    let mut survived = Vec::new();
    for bug in SEEN_BY_A_SWEEP {
        enable(Some(bug));
        let swept = of(Shutdown::Closed).and_then(|_| of(Shutdown::Killed));
        enable(None);
        match swept {
            Ok(_) => survived.push(bug),
            Err(violation) => println!("{bug:?}: {violation}"),
        }
    }
    assert!(survived.is_empty(), "no damage reported of them: {survived:?}");
}
