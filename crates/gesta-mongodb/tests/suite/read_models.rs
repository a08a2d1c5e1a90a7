//! Read models, checkpoints and snapshots: the conformance suite.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gesta_mongodb::MongoReadModels;
use gesta_store::{
    DatabaseError, ReadModelStore as _, VisitRows,
    conformance::{
        block_on,
        read_models::{ReadModelFixture, clauses},
    },
};

use crate::server::{connect, create, fresh_url, put};

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

/// Keeps the rows that it is given.
#[derive(Debug, Default)]
struct Visited(Vec<String>);

impl VisitRows for Visited {
    fn visit(&mut self, table: &str, row: &str) {
        self.0.push(format!("{table} {row}"));
    }
}

/// A row keeps the value before, and no earlier one.
#[test]
fn a_walk_over_rows_that_have_changed_twice_is_refused_and_never_mixes_moments() {
    let Some(server) = gesta_services::url_or_skip("ferretdb") else { return };
    let store = connect(&fresh_url(&server));
    let walked = async {
        let id = create(&store).await?;
        put(&store, &id, ("1", 1)).await?;
        let mut reader = store.reader(&id).await?;
        put(&store, &id, ("1", 2)).await?;
        let visited = MongoReadModels::visit_rows(&mut reader, Visited::default()).await?;
        assert_eq!(visited.0, [r#"orders {"key":"1","value":1}"#]);
        put(&store, &id, ("1", 3)).await?;
        let refused = MongoReadModels::visit_rows(&mut reader, Visited::default()).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("changed more than once") && text.contains("again"), "{text}");
        let mut reader = store.reader(&id).await?;
        store.drop_read_model(&id).await?;
        let refused = MongoReadModels::visit_rows(&mut reader, Visited::default()).await;
        assert!(matches!(refused, Err(DatabaseError::Missing { .. })), "rows may be gone");
        Ok::<(), DatabaseError>(())
    };
    block_on(walked).unwrap();
}
