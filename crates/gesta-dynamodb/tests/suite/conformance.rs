//! The event store: the whole conformance suite, each clause on tables of its own.

use gesta_dynamodb::DynamoStore;
use gesta_store::{
    EventStore as _,
    conformance::{CLAUSES, ClauseOutcome, Fixture, block_on, skipped},
};

use crate::{parallel, server::fresh_url};

#[test]
fn the_store_passes_every_clause_of_what_it_supports() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let outcomes = parallel::each(CLAUSES, |clause| {
        let store = block_on(DynamoStore::connect(&fresh_url(&endpoint))).unwrap();
        clause.check(Fixture::new(store))
    });
    let (mut failed, mut left_out) = (Vec::new(), Vec::new());
    for (clause, outcome) in CLAUSES.iter().zip(outcomes) {
        match outcome {
            Some(ClauseOutcome::Passed) => {}
            Some(ClauseOutcome::Skipped(_)) if clause.refuses.is_some() => {}
            Some(ClauseOutcome::Skipped(reason)) => {
                left_out.push(format!("{}: {reason}", clause.name));
            }
            None => failed.push(clause.name),
        }
    }
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
    let store = block_on(DynamoStore::connect(&fresh_url(&endpoint))).unwrap();
    assert_eq!(left_out, skipped(&store.capabilities()), "nothing else is left out");
}
