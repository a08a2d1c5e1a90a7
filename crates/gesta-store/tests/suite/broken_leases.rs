//! Tests of the suite of leases itself: for each clause, leases that break it and little else.

mod faults;
mod faulty;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use gesta_store::conformance::leases::{CLAUSES, LeaseFixture};

use self::faulty::{Faulty, FaultyLeases};
use crate::broken::quietly;

/// Time limit of a clause on faulty leases: one fault makes it wait without end.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Returns the clauses that fail on leases with this fault, if any.
fn failing(fault: Option<Faulty>) -> BTreeSet<&'static str> {
    let fails = |clause: &gesta_store::conformance::leases::LeaseClause| {
        let leases = FaultyLeases::new(fault);
        let nodes = leases.clone();
        let fixture = LeaseFixture::new(
            move || Box::new(nodes.clone()),
            move |duration| leases.pass(duration),
        );
        let fixture = fixture.timeout(TIMEOUT);
        catch_unwind(AssertUnwindSafe(|| clause.check(&fixture))).is_err()
    };
    quietly(|| CLAUSES.iter().filter(|clause| fails(clause)).map(|clause| clause.name).collect())
}

#[test]
fn leases_with_nothing_wrong_pass() {
    assert_eq!(failing(None), BTreeSet::new());
}

#[test]
fn each_clause_of_leases_is_broken_by_a_fault_of_its_own() {
    let broken: BTreeSet<_> = faults::FAULTS.iter().map(|fault| fault.breaks).collect();
    let clauses: BTreeSet<_> = CLAUSES.iter().map(|clause| clause.name).collect();
    assert_eq!(clauses, broken);
}

#[test]
fn each_fault_of_leases_is_noticed_by_its_clause_and_by_no_other_than_listed() {
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
