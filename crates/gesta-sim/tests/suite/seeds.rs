//! Seeds without violations.

use gesta_sim::{CRASHES_MIN, OPERATIONS_MIN, SEEDS_TO_ASSESS_MIN, run, seeds};

const SEEDS: u64 = SEEDS_TO_ASSESS_MIN;

#[test]
#[expect(clippy::print_stdout, reason = "the table is what the test is read for")]
fn a_thousand_seeds_break_no_promise_and_see_every_fault() {
    let summary = seeds(0, SEEDS).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{summary}");
    assert_eq!(summary.shortfalls(), Vec::<String>::new());
    assert!(summary.median(|stats| stats.operations) >= OPERATIONS_MIN);
    assert!(summary.median(|stats| stats.crashes) >= CRASHES_MIN);
    assert!(summary.median(|stats| stats.acknowledged) >= OPERATIONS_MIN / 10);
    let scavenged = summary.scavenged_in();
    assert!(scavenged * 4 >= SEEDS, "something was scavenged in {scavenged} seeds only");
}

/// Runs the seed of a failure: `GESTA_SEED=123 cargo test -p gesta-sim one_seed`.
#[test]
fn one_seed_breaks_no_promise() {
    let seed = std::env::var("GESTA_SEED").map_or(0, |text| text.parse().expect("a number"));
    run(seed).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_seed_runs_the_same_way_every_time() {
    for seed in 0..10 {
        let first = run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(run(seed).unwrap_or_else(|failure| panic!("{failure}")), first);
    }
}

#[test]
fn of_a_few_seeds_nothing_is_demanded() {
    let few = seeds(0, 3).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(few.shortfalls().is_empty());
}
