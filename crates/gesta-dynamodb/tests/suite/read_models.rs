//! Read models: the conformance suite.

use gesta_dynamodb::DynamoReadModels;
use gesta_store::conformance::{
    block_on,
    read_models::{ReadModelFixture, clauses},
};

use crate::{parallel, server::fresh_url};

/// Each connection of a clause is a store of its own, as another process has it.
#[test]
fn read_models_pass_every_clause() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let clauses = clauses();
    let outcomes = parallel::each(&clauses, |clause| {
        let url = fresh_url(&endpoint);
        let connect = move || block_on(DynamoReadModels::connect(&url)).unwrap();
        clause.check(&ReadModelFixture::new(connect));
    });
    let failed = clauses.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_none());
    let failed: Vec<_> = failed.map(|(clause, _)| clause.name).collect();
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
}
