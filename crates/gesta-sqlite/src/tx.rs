//! Write transactions of projections.

use std::{fmt, sync::Arc};

use futures_util::lock::OwnedMutexGuard;
use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, ListRows, Position, ReadModelTx, ReadRows, Row,
    Rows,
};
use rusqlite::{Connection, Params};
use serde_json::Value;

use crate::{
    checkpoint, connection, dead_letters,
    error::classify,
    properties,
    query::{find, query},
    read_model_file::ReadModelFile,
    rows,
};

/// A write transaction on one read model's file. Dropping it without a commit rolls it back.
///
/// All tables belong to the projection, except those whose names begin with `gesta_`. Prepared
/// statements are cached by their text, so pass values as parameters.
///
/// ```
/// use gesta_sqlite::{Sqlite, params};
/// use gesta_store::{CreateReadModel, ReadModelStore, ReadModelTx, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let store = Sqlite::temporary()?;
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Live };
/// let names = store.create_read_model(create).await?;
///
/// let mut tx = store.begin(&names).await?;
/// tx.execute_script("create table names (id integer primary key, name text) strict")?;
/// tx.execute("insert into names values (?1, ?2)", params![1, "Ann"])?;
/// tx.commit().await?;
///
/// let mut reader = store.reader(&names).await?;
/// let found = reader.query("select name from names", [], |row| row.get::<_, String>(0))?;
/// assert_eq!(found, ["Ann"]);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a temporary store keeps rows");
/// ```
pub struct Tx {
    // Declared first: fields drop in order, and the connection must be released before the file
    // may be removed.
    connection: OwnedMutexGuard<Connection>,
    file: Arc<ReadModelFile>,
}

impl Tx {
    pub(crate) async fn begin(file: Arc<ReadModelFile>) -> Result<Self, DatabaseError> {
        // Waits for the transactions of this process here, and for those of others in `begin`.
        let connection = file.writer().await;
        connection::begin(&connection).map_err(|error| file.named(error))?;
        Ok(Self { connection, file })
    }

    /// Runs one statement and returns the number of changed rows.
    ///
    /// # Errors
    /// [`DatabaseError::Rejected`] when SQLite refuses the statement or it violates a constraint.
    pub fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, DatabaseError> {
        let executed = self
            .active_connection()?
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params));
        executed.map_err(|error| self.file.named(classify(error)))
    }

    /// Runs several statements without parameters, such as `create table`.
    ///
    /// # Errors
    /// The same as [`execute`](Self::execute).
    pub fn execute_script(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.active_connection()?
            .execute_batch(sql)
            .map_err(|error| self.file.named(classify(error)))
    }

    /// Returns the first row of a statement's result, or `None` if the result is empty.
    ///
    /// # Errors
    /// The same as [`execute`](Self::execute).
    pub fn find<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, DatabaseError> {
        // Reads are allowed after the transaction has ended: they change nothing.
        find(&self.connection, sql, params, read).map_err(|error| self.file.named(error))
    }

    /// Returns all rows of a statement's result.
    ///
    /// # Errors
    /// The same as [`execute`](Self::execute).
    pub fn query<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DatabaseError> {
        query(&self.connection, sql, params, read).map_err(|error| self.file.named(error))
    }

    /// Returns the connection, unless the transaction has ended.
    fn active_connection(&self) -> Result<&Connection, DatabaseError> {
        // A projection's own `commit` or `rollback` ends the transaction, and so does SQLite after
        // some errors. A later write would then commit on its own, without the checkpoint.
        if self.connection.is_autocommit() {
            return Err(DatabaseError::rejected("a statement ended the projection's transaction"));
        }
        Ok(&self.connection)
    }

    fn end(&mut self, statement: &str) -> Result<(), DatabaseError> {
        self.active_connection()?
            .execute_batch(statement)
            .map_err(|error| self.file.named(classify(error)))
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            // A failed rollback needs no report: either SQLite has rolled back already, or the
            // next `begin` on this connection fails.
            let _ = self.connection.execute_batch("rollback");
        }
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sqlite::Tx")
    }
}

impl ReadModelTx for Tx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        checkpoint::get(&self.connection).map_err(|error| self.file.named(error))
    }

    async fn advance(&mut self, advance: Advance) -> Result<(), DatabaseError> {
        // Compare and swap under the write lock: a second process on the same read model loses
        // here, before its rows commit.
        let stored = self.checkpoint().await?;
        if stored != advance.from {
            return Err(DatabaseError::CheckpointConflict { expected: advance.from, stored });
        }
        checkpoint::set(self.active_connection()?, advance.to)
            .map_err(|error| self.file.named(error))
    }

    async fn put_dead_letter(&mut self, dead_letter: DeadLetter) -> Result<(), DatabaseError> {
        dead_letters::put(self.active_connection()?, &dead_letter)
            .map_err(|error| self.file.named(error))
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        dead_letters::delete(self.active_connection()?, position)
            .map_err(|error| self.file.named(error))
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        properties::get(&self.connection, name).map_err(|error| self.file.named(error))
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        properties::set(self.active_connection()?, name, value)
            .map_err(|error| self.file.named(error))
    }

    async fn commit(mut self) -> Result<(), DatabaseError> {
        self.end("commit")
    }

    async fn rollback(mut self) -> Result<(), DatabaseError> {
        self.end("rollback")
    }
}

impl ReadRows for Tx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        rows::get(&self.connection, table, key).map_err(|error| self.file.named(error))
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        rows::list(&self.connection, list).map_err(|error| self.file.named(error))
    }
}

impl Rows for Tx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        rows::put(self.active_connection()?, table, key, value)
            .map_err(|error| self.file.named(error))
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        rows::delete(self.active_connection()?, table, key).map_err(|error| self.file.named(error))
    }
}
