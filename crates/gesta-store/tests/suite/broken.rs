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

use gesta_store::{
    Capability, CapabilitySet, EventStore as _, Limits,
    conformance::{CLAUSES, Clause, Fixture},
};

pub(crate) use self::store::*;
use crate::limited::refusing;

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

    /// Adds the clauses that share a call with the one that the fault breaks.
    pub(crate) fn with_shared(mut self) -> Self {
        for (breaks, others, because) in faults::SHARED {
            if self.breaks == *breaks {
                self.also.extend(others.iter().map(|other| (*other, *because)));
            }
        }
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
pub(crate) fn quietly<T>(run: impl FnOnce() -> T) -> T {
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

/// A clause that needs a feature fails on a store that refuses it, and no other clause does.
#[test]
fn each_clause_names_exactly_the_features_that_it_needs() {
    let (clauses, next) = (CLAUSES, AtomicUsize::new(0));
    let mut wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let take = || clauses.get(next.fetch_add(1, Ordering::Relaxed));
            std::iter::from_fn(take).flat_map(wrong_needs).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("failures are caught")).collect()
    });
    wrong.sort();
    assert!(wrong.is_empty(), "{} needs:\n{}", wrong.len(), wrong.join("\n"));
}

/// Features whose absence no call shows.
const NOT_REFUSED: [Capability; 5] = [
    Capability::DensePositions,
    Capability::UnconditionalRepeats,
    Capability::StreamScopedIds,
    Capability::Incarnations,
    Capability::Close,
];

/// Limits that are met quickly.
fn few() -> Limits {
    let mut limits = Limits::DEFAULT;
    limits.event_bytes_max = 64 << 10;
    limits.append_bytes_max = 256 << 10;
    limits.events_per_append_max = 100;
    limits.streams_per_append_max = 8;
    limits
}

/// Compares the features that a clause states with those without which it fails.
fn wrong_needs(clause: &Clause) -> Vec<String> {
    // A store that lacks such a feature is not made by refusals.
    if clause.refuses.is_some_and(|refused| NOT_REFUSED.contains(&refused)) {
        return Vec::new();
    }
    let optional = Capability::ALL.iter().copied();
    let optional = optional.filter(|one| !NOT_REFUSED.contains(one));
    // A refusal is what a clause about a missing feature expects.
    let optional = optional.filter(|one| clause.refuses.is_none_or(|refused| refused != *one));
    let mut wrong = Vec::new();
    for missing in optional {
        let without = || {
            let supported = CapabilitySet::ALL.without(missing);
            let supported = clause.refuses.map_or(supported, |refused| supported.without(refused));
            FaultyStore {
                capabilities: Box::new(move |store, ()| {
                    let mut can = store.capabilities();
                    can.supported = supported;
                    can.limits = few();
                    can
                }),
                ..refusing(supported, few())
            }
        };
        let run = || clause.check_ungated(Fixture::new(without()).timeout(TIMEOUT));
        let fails = quietly(|| catch_unwind(AssertUnwindSafe(run)).is_err());
        if fails != clause.needs.contains(missing) {
            let outcome = if fails { "fails" } else { "passes" };
            wrong.push(format!("{} {outcome} without {missing:?}", clause.name));
        }
    }
    wrong
}

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
