//! Read models, checkpoints and snapshots: the conformance suite.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta_store::conformance::read_models::{ReadModelFixture, clauses};

use crate::server::{connect, fresh_url};

/// Each connection of a clause is a store of its own, as another process has it.
#[test]
fn read_models_pass_every_clause() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let mut failed = Vec::new();
    for clause in clauses() {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let url = fresh_url(&server);
            clause.check(&ReadModelFixture::new(move || connect(&url)));
        }));
        if outcome.is_err() {
            failed.push(clause.name);
        }
    }
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
}
