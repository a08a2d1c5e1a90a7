//! Read-only connections for queries.

use std::{fmt, sync::Arc};

use gesta_store::{DatabaseError, ListRows, ReadRows, Row};
use rusqlite::{Connection, Params};
use serde_json::Value;

use crate::{
    error::classify,
    query::{find, query},
    read_model_file::ReadModelFile,
    rows,
};

/// A read-only connection to one read model.
///
/// All its statements read one snapshot, taken by the first statement.
///
/// ```
/// use gesta_sqlite::Sqlite;
/// use gesta_store::{CreateReadModel, ReadModelStore, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let store = Sqlite::temporary()?;
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Live };
/// let names = store.create_read_model(create).await?;
/// let mut reader = store.reader(&names).await?;
/// assert_eq!(reader.find("select 1 + ?1", [1], |row| row.get(0))?, Some(2));
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a temporary store answers");
/// ```
pub struct Reader {
    /// `None` only while dropping, after the connection is returned to the pool.
    connection: Option<Connection>,
    file: Arc<ReadModelFile>,
}

impl Reader {
    pub(crate) fn open(file: Arc<ReadModelFile>) -> Result<Self, DatabaseError> {
        let connection = file.take_reader().map_err(|error| file.named(error))?;
        // A deferred transaction takes its snapshot with the first statement, not here.
        connection.execute_batch("begin").map_err(|error| file.named(classify(error)))?;
        Ok(Self { connection: Some(connection), file })
    }

    /// Returns the first row of a statement's result, or `None` if the result is empty.
    ///
    /// # Errors
    /// [`DatabaseError::Rejected`] when SQLite refuses the statement or its parameters.
    pub fn find<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, DatabaseError> {
        find(self.connection(), sql, params, read).map_err(|error| self.file.named(error))
    }

    /// Returns all rows of a statement's result.
    ///
    /// # Errors
    /// The same as [`find`](Self::find).
    pub fn query<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DatabaseError> {
        query(self.connection(), sql, params, read).map_err(|error| self.file.named(error))
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a reader owns its connection until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Close a connection that cannot end its transaction: its next user would read the old
        // snapshot.
        if connection.execute_batch("rollback").is_ok() {
            self.file.return_reader(connection);
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sqlite::Reader")
    }
}

impl ReadRows for Reader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        rows::get(self.connection(), table, key).map_err(|error| self.file.named(error))
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        rows::list(self.connection(), list).map_err(|error| self.file.named(error))
    }
}
