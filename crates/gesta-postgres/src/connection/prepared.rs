//! Connections with the prepared statements of read models.

use std::{collections::HashMap, sync::Arc};

use tokio_postgres::Statement;

use super::Connection;

/// Maximum number of prepared statements of a connection.
const PREPARED_MAX: usize = 256;

/// A connection with the statements that were prepared on it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) connection: Arc<Connection>,
    /// By build and text: the tables of builds may have other columns.
    statements: HashMap<u64, HashMap<String, Statement>>,
    count: usize,
}

impl Prepared {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, statements: HashMap::new(), count: 0 }
    }

    pub(crate) fn statement(&self, build: u64, text: &str) -> Option<Statement> {
        self.statements.get(&build)?.get(text).cloned()
    }

    pub(crate) fn keep(&mut self, build: u64, text: &str, statement: Statement) {
        if self.count >= PREPARED_MAX {
            self.forget();
        }
        self.statements.entry(build).or_default().insert(text.to_owned(), statement);
        self.count += 1;
    }

    /// Closes the prepared statements, before the next statement that is sent.
    pub(crate) fn forget(&mut self) {
        self.statements.clear();
        self.count = 0;
    }
}
