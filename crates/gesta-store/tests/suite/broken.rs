//! Whether the suite can fail: for each clause a store that breaks it, and little else.
//!
//! Always holds: a broken store does not know which test runs; the clause meant for its fault
//! fails, and of the others exactly those fail that are listed with the fault, with a reason.

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

use gesta_store::conformance::{CLAUSES, Fresh};

pub(crate) use self::store::*;
use crate::limited::claiming_less;

/// A store with one thing wrong, and what notices.
pub(crate) struct Fault {
    /// The clause that is broken, and has to notice.
    breaks: &'static str,
    build: fn() -> Broken,
    /// Other clauses that notice, and why they cannot help it.
    also: Vec<(&'static str, &'static str)>,
    /// Other clauses that notice on some runs, for what they see depends on threads.
    sometimes: Vec<(&'static str, &'static str)>,
}

impl Fault {
    pub(crate) fn of(breaks: &'static str, build: fn() -> Broken) -> Self {
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

    /// What is wrong with the fault's account of itself; nothing when it is right.
    fn judge(&self) -> Option<String> {
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

/// How long a clause may take on a broken store: those that wait for ever are given up then.
const PATIENCE: Duration = Duration::from_secs(3);

/// Faults that are tried at the same time: more than processors, for some only wait.
const WORKERS: usize = 8;

/// The clauses that fail on a store.
fn failing(build: fn() -> Broken) -> BTreeSet<&'static str> {
    let fails = |fresh: &dyn Fn() -> Fresh, clause: &gesta_store::conformance::Clause| {
        catch_unwind(AssertUnwindSafe(|| clause.check(fresh()))).is_err()
    };
    let fresh = || Fresh::new(build()).patient_for(PATIENCE);
    quietly(|| CLAUSES.iter().filter(|clause| fails(&fresh, clause)).map(|c| c.name).collect())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics of this thread are expected meanwhile and are not printed; those of others are.
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
    assert_eq!(failing(Broken::sound), BTreeSet::new());
}

#[test]
fn each_clause_is_broken_by_a_fault_of_its_own() {
    let broken: BTreeSet<_> = faults::all().iter().map(|fault| fault.breaks).collect();
    let clauses: BTreeSet<_> = CLAUSES.iter().map(|clause| clause.name).collect();
    assert_eq!(clauses.difference(&broken).collect::<Vec<_>>(), [&""; 0], "without a fault");
    assert_eq!(broken.difference(&clauses).collect::<Vec<_>>(), [&""; 0], "without a clause");
}

/// The clauses about what a store may lack, and no others, insist on a refusal.
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
            std::iter::from_fn(take).filter_map(Fault::judge).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("faults are caught")).collect()
    });
    wrong.sort();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
