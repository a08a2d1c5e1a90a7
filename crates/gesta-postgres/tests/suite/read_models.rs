//! Read models: the whole conformance suite on each kind of server, SQL, and failures of the
//! server.

mod conformance;
mod failures;
mod partitions;
mod replica;
mod schemas;
mod sql;
mod views;

use std::rc::Rc;

use gesta_postgres::PostgresReadModels;
use gesta_store::{
    Advance, Checkpoint, CreateReadModel, DatabaseError, Incarnation, Position, ReadModelId,
    ReadModelStore, Stage, conformance::block_on,
};
use uuid::Uuid;

use crate::server::with_client;

/// Schemas of a test's own, which go with it.
pub(crate) struct TestReadModels {
    pub(crate) server: String,
    pub(crate) prefix: String,
}

impl TestReadModels {
    pub(crate) fn create(server: &str) -> Rc<Self> {
        // Short: names of schemas begin with it.
        let number = Uuid::new_v4().simple().to_string();
        let prefix = format!("rm_{}", number.get(..16).expect("it has 32 digits"));
        Rc::new(Self { server: server.to_owned(), prefix })
    }

    pub(crate) fn url_on(&self, server: &str) -> String {
        let separator = if server.contains('?') { '&' } else { '?' };
        format!("{server}{separator}schema={}&readers=8", self.prefix)
    }

    pub(crate) fn open(&self) -> PostgresReadModels {
        self.open_on(&self.server)
    }

    pub(crate) fn open_on(&self, server: &str) -> PostgresReadModels {
        block_on(PostgresReadModels::connect(&self.url_on(server))).expect("the catalogue opens")
    }

    /// Returns the schemas of read models, without the catalogue.
    pub(crate) fn schemas(&self) -> Vec<String> {
        let like = format!("{}\\_%", self.prefix);
        let catalogue = format!("{}_read_models", self.prefix);
        with_client(&self.server, async |client| {
            let list = "SELECT nspname::text FROM pg_namespace \
                        WHERE nspname LIKE $1 AND nspname <> $2 ORDER BY 1";
            let rows = client.query(list, &[&like, &catalogue]).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        })
    }

    /// Runs statements in which `{schema}` is the catalogue's.
    pub(crate) fn execute(&self, statements: &str) {
        let statements = statements.replace("{schema}", &format!("{}_read_models", self.prefix));
        with_client(&self.server, async |client| {
            client.batch_execute(&statements).await.expect("the statements are right");
        });
    }
}

impl Drop for TestReadModels {
    fn drop(&mut self) {
        // A server of the test itself may be gone, and what is left disturbs no other test.
        drop(std::panic::catch_unwind(|| {
            let schemas = self.schemas();
            with_client(&self.server, async |client| {
                for schema in schemas.iter().chain([&format!("{}_read_models", self.prefix)]) {
                    let statement = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
                    drop(client.batch_execute(&statement).await);
                }
            });
        }));
    }
}

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: Position::new(position), incarnation: Incarnation::new(Uuid::nil()) }
}

fn first_advance(position: u64) -> Advance {
    Advance { from: None, to: checkpoint(position) }
}

async fn create(store: &PostgresReadModels, stage: Stage) -> Result<ReadModelId, DatabaseError> {
    store.create_read_model(CreateReadModel::new("order-summaries", 1, stage)).await
}
