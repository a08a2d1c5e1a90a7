//! The whole conformance suite, each clause on a store in a schema of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta_store::conformance::{CLAUSES, ClauseOutcome, Fixture};

use crate::server::{TestStore, url_or_skip};

#[test]
fn the_store_passes_every_clause() {
    let Some(server) = url_or_skip() else { return };
    let mut failed = Vec::new();
    for clause in CLAUSES {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let store = TestStore::create(&server);
            clause.check(Fixture::new(store.open()).keep_alive(store))
        }));
        match outcome {
            Ok(ClauseOutcome::Passed) => {}
            // Nothing is refused by a store that has everything.
            Ok(ClauseOutcome::Skipped(_)) if clause.refuses.is_some() => {}
            Ok(ClauseOutcome::Skipped(reason)) => failed.push(format!("{}: {reason}", clause.name)),
            Err(_) => failed.push(clause.name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
}
