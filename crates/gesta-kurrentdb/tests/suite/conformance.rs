//! The whole conformance suite, each clause on a server of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta_store::{
    Capability, CapabilitySet, EventStore,
    conformance::{CLAUSES, ClauseOutcome, Fixture},
};

use crate::server::TestServer;

/// A clause about stores with names that earlier versions of Gesta accepted. A server takes events
/// under the rule for new names, so no client can put such names there.
const ABOUT_THE_STORE_ITSELF: [&str; 1] = ["names_of_earlier_versions_come_back_unchanged"];

/// Checks every clause, and reports all that failed together.
fn check_clauses(serve: fn() -> TestServer) {
    let capabilities = serve().connect().capabilities();
    let (mut passed, mut failed) = (0, Vec::new());
    for clause in CLAUSES.iter().filter(|clause| !ABOUT_THE_STORE_ITSELF.contains(&clause.name)) {
        if clause.skip_reason(&capabilities).is_some() {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let server = serve();
            clause.check(Fixture::new(server.connect()).keep_alive(server))
        }));
        match outcome {
            Ok(ClauseOutcome::Passed) => passed += 1,
            Ok(ClauseOutcome::Skipped(reason)) => failed.push(format!("{}: {reason}", clause.name)),
            Err(_) => failed.push(clause.name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "{} clauses failed: {failed:#?}", failed.len());
    assert!(passed > 150, "only {passed} clauses were checked");
}

#[test]
fn the_store_passes_every_clause_over_a_server_of_a_store_in_memory() {
    check_clauses(TestServer::of_memory);
}

#[test]
fn the_store_passes_every_clause_over_a_server_of_a_log() {
    check_clauses(TestServer::of_log);
}

#[test]
fn a_server_of_gesta_offers_what_the_protocol_has() {
    let supported = TestServer::of_memory().connect().capabilities().supported;
    let missing: Vec<_> = CapabilitySet::ALL.iter().filter(|it| !supported.contains(*it)).collect();
    assert_eq!(
        missing,
        [
            Capability::StreamParts,
            Capability::AppendCondition,
            Capability::DensePositions,
            Capability::QueryFilter,
            Capability::CorrelationFilter,
            Capability::CausationFilter,
            Capability::EventIdFilter,
            Capability::CategoryOrdinals,
            Capability::EventTypeOrdinals,
            Capability::CorrelationOrdinals,
            Capability::StreamOrdinals,
            Capability::TimeStarts,
            Capability::UnconditionalRepeats,
            Capability::StreamListing,
            Capability::CategoryListing,
            Capability::Incarnations,
            Capability::InlineConsumers,
        ]
    );
}
