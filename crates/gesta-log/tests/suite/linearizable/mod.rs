//! Linearizability of concurrent appends.
//!
//! Threads race appends with exact revisions and event queries on few streams and tags, and record
//! on one logical clock the submission and the answer of each. An append's position is a witness of
//! its place in the order, so no search is needed: [`check`](check::check) replays the appends in
//! that order.
//!
//! `GESTA_LINEARIZABLE_ROUNDS` sets the number of histories.

mod check;
mod history;

use gesta_log::Options;
use gesta_store::{Append, EventStore, ExpectedRevision, ReadAll, conformance::block_on};

use self::{
    check::{CheckReport, check},
    history::{Load, record},
};
use crate::harness::{append, event, name, open, open_with};

const ROUNDS: u64 = 6;

fn rounds() -> u64 {
    let asked = std::env::var("GESTA_LINEARIZABLE_ROUNDS").ok();
    asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// Histories are added until they hold enough of what a test is about. How threads meet decides how
/// many that takes; the first [`rounds`] nearly always suffice.
const MOST_ROUNDS: u64 = 60;

#[test]
fn racing_appends_are_as_if_one_came_after_the_other() {
    race(false, |all| all.acknowledged > 100 && all.refused > 50 && all.reads > 100);
}

#[test]
fn conditions_race_with_metadata_that_hide_and_show_what_they_mean() {
    race(true, |all| all.acknowledged > 100 && all.refused > 50 && all.passed_over > 10);
}

fn race(hiding: bool, is_enough: impl Fn(&CheckReport) -> bool) {
    let mut all = CheckReport::default();
    for seed in 0.. {
        if seed >= rounds() && is_enough(&all) {
            break;
        }
        assert!(seed < rounds().max(MOST_ROUNDS), "too little raced: {all:?}");
        let directory = tempfile::tempdir().unwrap();
        let small = Options::default().segment_bytes_first(32 << 10);
        let store = open_with(directory.path(), small.clone());
        let load = Load { seed, threads: 2 + seed % 7, operations_each: 150, hiding };
        let mut history = record(&*store, &load);
        // A second opening reads the heads from index files.
        if seed % 2 == 1 {
            drop(store);
            let store = open_with(directory.path(), small);
            history.extend(record(&*store, &Load { seed: !seed, ..load }));
        }
        let checked = check(&history).unwrap_or_else(|found| panic!("seed {seed}: {found}"));
        all.add(&checked);
    }
}

#[test]
fn a_read_of_everything_ends_where_the_store_did_when_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..300 {
        append(&store, "order-1", &format!("{number}"));
    }
    let mut pages = store.read_all(ReadAll::forwards());
    let first = block_on(pages.next()).unwrap().unwrap().len();
    // The last page has space for only a part of this append.
    let events = (0..400).map(|number| event(&format!("{number}")));
    let late = Append::to(name("order-2"), ExpectedRevision::Any, events);
    block_on(store.append(late)).unwrap();
    let rest = block_on(pages.collect_events()).unwrap();
    assert_eq!(first + rest.len(), 300);
}
