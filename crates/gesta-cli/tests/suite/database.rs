//! Fixture of tests with PostgreSQL: a schema of each test.

use std::process::Command;

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::scene::{RunOutput, program, run};

/// A schema that is dropped at the end. It does not exist at the beginning.
pub(crate) struct Database {
    server: String,
    pub(crate) schema: String,
}

impl Database {
    /// Returns a schema on the server of all tests, or says why the test is skipped.
    #[track_caller]
    pub(crate) fn new_or_skip() -> Option<Self> {
        gesta_services::url_or_skip("postgres").map(|server| Self::on(&server))
    }

    pub(crate) fn on(server: &str) -> Self {
        let schema = format!("gesta_cli_{}", Uuid::new_v4().simple());
        Self { server: server.to_owned(), schema }
    }

    /// Returns another schema on the same server.
    pub(crate) fn another(&self) -> Self {
        Self::on(&self.server)
    }

    pub(crate) fn url(&self) -> String {
        self.url_as("postgres")
    }

    /// Returns the URL for a user, with or without a password after a colon.
    pub(crate) fn url_as(&self, login: &str) -> String {
        let (_, address) = self.server.split_once('@').expect("the URL has a user");
        format!("postgres://{login}@{address}?schema={}", self.schema)
    }

    /// The program with these arguments, for this store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("GESTA_STORE", self.url());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> RunOutput {
        run(self.command(arguments))
    }

    /// Runs statements in which `{schema}` is this one.
    pub(crate) fn execute(&self, statements: &str) {
        let statements = statements.replace("{schema}", &self.schema);
        self.with_client(async |client| {
            client.batch_execute(&statements).await.expect("the statements are right");
        });
    }

    /// Returns the number that a query answers, or `None` if its table does not exist.
    pub(crate) fn number(&self, query: &str) -> Option<i64> {
        let query = query.replace("{schema}", &self.schema);
        self.with_client(async |client| {
            let row = client.query_opt(&query, &[]).await.ok()??;
            row.get(0)
        })
    }

    fn with_client<T: Send>(&self, work: impl AsyncFnOnce(&Client) -> T + Send) -> T {
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime needs no resources").block_on(async {
                let (client, connection) =
                    tokio_postgres::connect(&self.server, NoTls).await.expect("the server runs");
                let driver = tokio::spawn(connection);
                let result = work(&client).await;
                drop(client);
                drop(driver.await);
                result
            })
        };
        // A test may run in a runtime of its own, which must not be blocked by another one.
        std::thread::scope(|scope| scope.spawn(work).join().expect("the statements are right"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server of the test itself may be gone, and what is left disturbs no other test.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.execute("DROP SCHEMA IF EXISTS {schema} CASCADE");
        })));
    }
}
