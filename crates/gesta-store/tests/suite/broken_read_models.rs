//! Tests of the suite of read models itself: for each clause, a store that breaks it and little
//! else.

mod faults;
mod faulty;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use gesta_store::conformance::read_models::{ReadModelFixture, clauses, names};

use self::faulty::{BrokenReadModel, FaultyReadModels};
use crate::broken::quietly;

/// Time limit of a clause on a faulty store: one fault makes it wait without end.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Returns the clauses that fail on a store with this fault, if any.
fn failing(fault: Option<BrokenReadModel>) -> BTreeSet<&'static str> {
    let failed = clauses().into_iter().filter(|clause| {
        let store = FaultyReadModels::new(fault);
        let fixture = ReadModelFixture::new(move || store.clone()).timeout(TIMEOUT);
        catch_unwind(AssertUnwindSafe(|| clause.check(&fixture))).is_err()
    });
    quietly(|| failed.map(|clause| clause.name).collect())
}

#[test]
fn read_models_with_nothing_wrong_pass() {
    assert_eq!(failing(None), BTreeSet::new());
}

#[test]
fn each_clause_of_read_models_is_broken_by_a_fault_of_its_own() {
    let broken: BTreeSet<_> = faults::FAULTS.iter().map(|fault| fault.breaks).collect();
    assert_eq!(names().iter().copied().collect::<BTreeSet<_>>(), broken);
}

#[test]
fn each_fault_of_read_models_is_noticed_by_its_clause_and_by_no_other_than_listed() {
    let wrong = faults::FAULTS.iter().filter_map(|fault| {
        let expected: BTreeSet<_> = fault.also.iter().copied().chain([fault.breaks]).collect();
        let failing = failing(Some(fault.fault));
        let unnoticed: Vec<_> = expected.difference(&failing).collect();
        let unlisted: Vec<_> = failing.difference(&expected).collect();
        let is_right = unnoticed.is_empty() && unlisted.is_empty();
        (!is_right).then(|| {
            format!("{:?}: unnoticed by {unnoticed:?}, unlisted {unlisted:?}", fault.fault)
        })
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
