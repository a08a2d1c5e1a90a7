//! Read models: the conformance suite.

use gesta_dynamodb::DynamoReadModels;
use gesta_store::{
    CreateReadModel, DatabaseError, ReadModelId, ReadModelStore as _, ReadModelTx as _, Rows as _,
    Stage, VisitRows,
    conformance::{
        block_on,
        read_models::{ReadModelFixture, clauses},
    },
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

/// Keeps the rows that it is given.
#[derive(Debug, Default)]
struct Visited(Vec<String>);

impl VisitRows for Visited {
    fn visit(&mut self, table: &str, row: &str) {
        self.0.push(format!("{table} {row}"));
    }
}

async fn put(store: &DynamoReadModels, id: &ReadModelId, value: u64) -> Result<(), DatabaseError> {
    let mut tx = store.begin(id).await?;
    tx.put_json("orders", "1", &value.into()).await?;
    tx.commit().await
}

/// A row keeps the value before, and no earlier one.
#[test]
fn a_walk_over_rows_that_have_changed_twice_is_refused_and_never_mixes_moments() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let store = block_on(DynamoReadModels::connect(&fresh_url(&endpoint))).unwrap();
    let walked = async {
        let id = store.create_read_model(CreateReadModel::new("orders", 1, Stage::Live)).await?;
        put(&store, &id, 1).await?;
        let mut reader = store.reader(&id).await?;
        put(&store, &id, 2).await?;
        let visited = DynamoReadModels::visit_rows(&mut reader, Visited::default()).await?;
        assert_eq!(visited.0, [r#"orders {"key":"1","value":1}"#]);
        put(&store, &id, 3).await?;
        let refused = DynamoReadModels::visit_rows(&mut reader, Visited::default()).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("changed more than once") && text.contains("again"), "{text}");
        let mut reader = store.reader(&id).await?;
        store.drop_read_model(&id).await?;
        let refused = DynamoReadModels::visit_rows(&mut reader, Visited::default()).await;
        assert!(matches!(refused, Err(DatabaseError::Missing { .. })), "rows may be gone");
        Ok::<(), DatabaseError>(())
    };
    block_on(walked).unwrap();
}
