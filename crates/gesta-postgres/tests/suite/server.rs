//! The server of the tests, and a schema for each of them.

use gesta_postgres::PostgresStore;
use gesta_store::conformance::block_on;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Returns the URL of the server, or `None` after the skip was said aloud.
pub(crate) fn url_or_skip() -> Option<String> {
    gesta_services::url_or_skip("postgres")
}

/// A store in a schema of its own, which is dropped at the end.
#[derive(Debug)]
pub(crate) struct TestStore {
    server: String,
    pub(crate) schema: String,
}

impl TestStore {
    pub(crate) fn create(server: &str) -> Self {
        let schema = format!("gesta_test_{}", Uuid::new_v4().simple());
        Self { server: server.to_owned(), schema }
    }

    pub(crate) fn url(&self) -> String {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}schema={}", self.server, self.schema)
    }

    pub(crate) fn open(&self) -> PostgresStore {
        block_on(PostgresStore::connect(&self.url())).expect("the store opens")
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let drop_schema = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        with_client(&self.server, async |client| {
            // The next run is not disturbed by what is left.
            drop(client.batch_execute(&drop_schema).await);
        });
    }
}

/// Runs statements on a connection of its own.
pub(crate) fn with_client<T>(server: &str, work: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs no resources").block_on(async {
        let (client, connection) =
            tokio_postgres::connect(server, NoTls).await.expect("the server runs");
        let driver = tokio::spawn(connection);
        let result = work(&client).await;
        drop(client);
        drop(driver.await);
        result
    })
}
