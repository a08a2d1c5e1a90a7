//! Tests of the suite itself: for each clause, a store that breaks it and little else.
//!
//! A faulty store does not know which test runs. The clause that the fault breaks fails, and so do
//! exactly those others that the fault lists, each with a reason.

mod faults;
mod store;

use std::{
    cell::Cell,
    collections::BTreeSet,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use gesta_store::conformance::{CLAUSES, Fixture};

pub(crate) use self::store::*;
use crate::limited::claiming_less;

/// A store with one fault, and the clauses that fail on it.
pub(crate) struct Fault {
    /// The clause that the fault breaks. It must fail.
    breaks: &'static str,
    build: fn() -> FaultyStore,
    /// Other clauses that must fail, each with the reason.
    also: Vec<(&'static str, &'static str)>,
    /// Other clauses that may fail, depending on the order of threads, each with the reason.
    sometimes: Vec<(&'static str, &'static str)>,
}

impl Fault {
    pub(crate) fn of(breaks: &'static str, build: fn() -> FaultyStore) -> Self {
        Self { breaks, build, also: vec![], sometimes: vec![] }
    }

    pub(crate) fn also(mut self, clause: &'static str, because: &'static str) -> Self {
        self.also.push((clause, because));
        self
    }

    pub(crate) fn sometimes(mut self, clause: &'static str, because: &'static str) -> Self {
        self.sometimes.push((clause, because));
        self
    }

    /// Compares the clauses that fail with the list, and describes the difference, if any.
    fn mismatch(&self) -> Option<String> {
        let failing = failing(self.build);
        let names = |list: &[(&'static str, &'static str)]| -> BTreeSet<&'static str> {
            list.iter().map(|(clause, _)| *clause).collect()
        };
        let mut expected = names(&self.also);
        expected.insert(self.breaks);
        let sometimes = names(&self.sometimes);
        let unnoticed: Vec<_> = expected.difference(&failing).collect();
        let unlisted: Vec<_> =
            failing.difference(&expected).filter(|clause| !sometimes.contains(*clause)).collect();
        if unnoticed.is_empty() && unlisted.is_empty() {
            return None;
        }
        Some(format!("{}: unnoticed by {unnoticed:?}, unlisted {unlisted:?}", self.breaks))
    }
}

/// Time limit of a clause on a faulty store: some faults make it wait without end.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Concurrently tested faults: more than processors, because some only wait.
const WORKERS: usize = 8;

/// Returns the clauses that fail on a store.
fn failing(build: fn() -> FaultyStore) -> BTreeSet<&'static str> {
    let fails = |fixture: &dyn Fn() -> Fixture, clause: &gesta_store::conformance::Clause| {
        catch_unwind(AssertUnwindSafe(|| clause.check(fixture()))).is_err()
    };
    let fixture = || Fixture::new(build()).timeout(TIMEOUT);
    quietly(|| CLAUSES.iter().filter(|clause| fails(&fixture, clause)).map(|c| c.name).collect())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs without printing the panics of this thread, which are expected.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = run();
    QUIET.set(false);
    outcome
}

#[test]
fn a_store_with_nothing_wrong_passes() {
    assert_eq!(failing(FaultyStore::correct), BTreeSet::new());
}

#[test]
fn each_clause_is_broken_by_a_fault_of_its_own() {
    let broken: BTreeSet<_> = faults::all().iter().map(|fault| fault.breaks).collect();
    let clauses: BTreeSet<_> = CLAUSES.iter().map(|clause| clause.name).collect();
    assert_eq!(clauses.difference(&broken).collect::<Vec<_>>(), [&""; 0], "without a fault");
    assert_eq!(broken.difference(&clauses).collect::<Vec<_>>(), [&""; 0], "without a clause");
}

/// Exactly the clauses about optional features insist on a refusal.
#[test]
fn a_store_that_does_what_it_claims_to_lack_is_found_out() {
    let noticed: Vec<_> = failing(claiming_less).into_iter().collect();
    assert_eq!(noticed, MUST_REFUSE);
}

const MUST_REFUSE: &[&str] = &[
    "a_checkpoint_is_never_ahead_of_an_event",
    "a_condition_beyond_the_head_is_rejected",
    "a_condition_does_not_mean_streams_that_ended",
    "a_condition_does_not_mean_the_append_itself",
    "a_condition_does_not_mean_what_metadata_hide",
    "a_condition_holds_together_with_the_expectations",
    "a_condition_means_a_type_and_its_tags_together",
    "a_condition_means_all_of_the_tags",
    "a_condition_means_any_of_its_items",
    "a_condition_means_any_of_the_types",
    "a_condition_means_what_has_revived_a_stream",
    "a_condition_means_what_is_shown_again",
    "a_failing_check_beside_events_appends_nothing",
    "a_filter_picks_categories",
    "a_filter_picks_event_types",
    "a_filter_picks_streams_by_name",
    "a_filter_picks_streams_by_prefix",
    "a_filter_picks_what_a_query_means",
    "a_filtered_read_begins_and_ends_where_it_is_told",
    "a_filtered_subscription_delivers_what_it_asks_for",
    "a_filtered_subscription_says_how_far_it_looked",
    "a_filtered_visible_read_leaves_out_the_same",
    "a_match_after_the_position_is_a_conflict",
    "a_match_at_or_before_the_position_is_none",
    "a_repeat_over_several_streams_gets_the_first_answer",
    "a_repeat_with_a_condition_gets_the_first_answer",
    "an_append_is_found_by_its_first_event_id",
    "an_event_query_is_about_visible_events",
    "events_of_several_streams_are_appended_in_their_order",
    "filters_tell_names_apart_by_their_bytes",
    "one_failing_expectation_appends_nothing_anywhere",
    "only_a_first_event_id_finds_an_append",
    "the_answer_names_each_stream_that_got_events",
];

#[test]
fn each_fault_is_noticed_by_its_clause_and_by_no_other_than_listed() {
    let (faults, next) = (faults::all(), AtomicUsize::new(0));
    let mut wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let take = || faults.get(next.fetch_add(1, Ordering::Relaxed));
            std::iter::from_fn(take).filter_map(Fault::mismatch).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("faults are caught")).collect()
    });
    wrong.sort();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
