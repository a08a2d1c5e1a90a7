//! The whole conformance suite, each clause on a store in a schema of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta_store::{
    Capability,
    conformance::{CLAUSES, ClauseOutcome, Fixture},
};

use crate::server::TestStore;

/// Checks every clause, and reports all that failed together.
fn check_clauses(service: &str) {
    let Some(server) = gesta_services::url_or_skip(service) else { return };
    let lacks_streams = Capability::StreamOrdinals.to_string();
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
            // Its tables have no index of first events, so it refuses them by name.
            Ok(ClauseOutcome::Skipped(reason)) if reason.ends_with(&lacks_streams) => {}
            Ok(ClauseOutcome::Skipped(reason)) => failed.push(format!("{}: {reason}", clause.name)),
            Err(_) => failed.push(clause.name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
}

#[test]
fn the_store_passes_every_clause() {
    check_clauses("postgres");
}

#[test]
fn the_store_passes_every_clause_on_the_oldest_server() {
    check_clauses("postgres-15");
}

#[test]
fn the_store_passes_every_clause_through_a_transaction_pooler() {
    check_clauses("pgbouncer");
}
