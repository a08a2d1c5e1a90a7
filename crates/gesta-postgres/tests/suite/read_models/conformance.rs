//! The whole conformance suite of read models, each clause on schemas of its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use gesta_store::conformance::read_models::{ReadModelFixture, clauses};

use super::TestReadModels;

/// Checks every clause, and reports all that failed together. Each connection of a clause is a
/// store of its own, as another process has it.
fn check_clauses(service: &str) {
    let Some(server) = gesta_services::url_or_skip(service) else { return };
    let mut failed = Vec::new();
    for clause in clauses() {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let schemas = TestReadModels::create(&server);
            let connected = Rc::clone(&schemas);
            let fixture = ReadModelFixture::new(move || connected.open()).keep_alive(schemas);
            clause.check(&fixture);
        }));
        if outcome.is_err() {
            failed.push(clause.name);
        }
    }
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
}

#[test]
fn read_models_pass_every_clause() {
    check_clauses("postgres");
}

#[test]
fn read_models_pass_every_clause_on_the_oldest_server() {
    check_clauses("postgres-15");
}

#[test]
fn read_models_pass_every_clause_through_a_transaction_pooler() {
    check_clauses("pgbouncer");
}
