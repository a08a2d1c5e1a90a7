//! Connections with prepared statements.

use std::collections::HashMap;

use tokio_postgres::Statement;

use crate::connection::Connection;

/// Maximum number of prepared statements of a connection.
const PREPARED_MAX: usize = 256;

/// A connection with the statements that were prepared on it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) connection: Connection,
    /// By build and text: the tables of builds may have other columns.
    statements: HashMap<u64, HashMap<String, Statement>>,
    count: usize,
}

impl Prepared {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, statements: HashMap::new(), count: 0 }
    }

    pub(super) fn statement(&self, build: u64, text: &str) -> Option<Statement> {
        self.statements.get(&build)?.get(text).cloned()
    }

    pub(super) fn keep(&mut self, build: u64, text: &str, statement: Statement) {
        if self.count >= PREPARED_MAX {
            self.forget();
        }
        self.statements.entry(build).or_default().insert(text.to_owned(), statement);
        self.count += 1;
    }

    /// Closes the prepared statements, before the next statement that is sent.
    pub(super) fn forget(&mut self) {
        self.statements.clear();
        self.count = 0;
    }
}
