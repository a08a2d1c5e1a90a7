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
    threads::{Bound, Threads},
};

/// A write transaction on one read model's file. Dropping it without a commit rolls it back.
///
/// All tables belong to the projection, except those whose names begin with `gesta_`. Prepared
/// statements are cached by their text, so pass values as parameters.
///
/// # Blocking
///
/// [`execute`](Self::execute), [`execute_script`](Self::execute_script), [`find`](Self::find) and
/// [`query`](Self::query) run on the calling thread. While a projection applies events, and in
/// [`ReadModelStore::run_write`](gesta_store::ReadModelStore::run_write), that is a thread of the
/// store; elsewhere they block the caller. The methods of the traits never block. Dropping a
/// transaction rolls it back without waiting.
///
/// ```
/// use gesta_sqlite::{Sqlite, params};
/// use gesta_store::{CreateReadModel, ReadModelStore, ReadModelTx, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let store = Sqlite::temporary().await?;
/// let create = CreateReadModel::new("names", 1, Stage::Live);
/// let names = store.create_read_model(create).await?;
///
/// let mut tx = store.begin(&names).await?;
/// let write = async move {
///     tx.execute_script("create table names (id integer primary key, name text) strict")?;
///     tx.execute("insert into names values (?1, ?2)", params![1, "Ann"])?;
///     tx.commit().await
/// };
/// store.run_write(&names, write).await??;
///
/// let mut reader = store.reader(&names).await?;
/// let read =
///     async move { reader.query("select name from names", [], |row| row.get::<_, String>(0)) };
/// assert_eq!(store.run_read(read).await??, ["Ann"]);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a temporary store keeps rows");
/// ```
pub struct Tx {
    /// `None` while a statement runs on another thread, and after one was abandoned.
    open: Option<Bound<OpenTx>>,
}

/// The connection of a transaction. Dropping it rolls back. Used and dropped on database threads.
pub(crate) struct OpenTx {
    // Declared first: fields drop in order, and the connection must be released before the file
    // may be removed.
    connection: OwnedMutexGuard<Connection>,
    file: Arc<ReadModelFile>,
}

impl OpenTx {
    pub(crate) async fn begin(file: Arc<ReadModelFile>) -> Result<Self, DatabaseError> {
        // Waits for the transactions of this process here, and for those of others in `begin`.
        let connection = file.writer().await;
        connection::begin(&connection).map_err(|error| file.named(error))?;
        Ok(Self { connection, file })
    }

    /// Adds the read model and its path to an error.
    fn named<T>(&self, outcome: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        outcome.map_err(|error| self.file.named(error))
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

    fn end(&self, statement: &str) -> Result<(), DatabaseError> {
        let ended = self.active_connection()?.execute_batch(statement);
        self.named(ended.map_err(classify))
    }

    fn advance(&self, advance: Advance) -> Result<(), DatabaseError> {
        // Compare and swap under the write lock: a second process on the same read model loses
        // here, before its rows commit.
        let stored = checkpoint::get(&self.connection)?;
        if stored != advance.from {
            return Err(DatabaseError::CheckpointConflict { expected: advance.from, stored });
        }
        checkpoint::set(self.active_connection()?, advance.to)
    }
}

impl Drop for OpenTx {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            // A failed rollback needs no report: either SQLite has rolled back already, or the
            // next `begin` on this connection fails.
            let _ = self.connection.execute_batch("rollback");
        }
    }
}

impl Tx {
    pub(crate) fn new(open: OpenTx, thread: Arc<Threads>) -> Self {
        Self { open: Some(Bound::new(open, thread)) }
    }

    /// Runs one statement and returns the number of changed rows.
    ///
    /// # Errors
    /// [`DatabaseError::Rejected`] when SQLite refuses the statement or it violates a constraint.
    pub fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, DatabaseError> {
        let open = self.open()?;
        let prepared = open.active_connection()?.prepare_cached(sql);
        let executed = prepared.and_then(|mut statement| statement.execute(params));
        open.named(executed.map_err(classify))
    }

    /// Runs several statements without parameters, such as `create table`.
    ///
    /// # Errors
    /// The same as [`execute`](Self::execute).
    pub fn execute_script(&mut self, sql: &str) -> Result<(), DatabaseError> {
        let open = self.open()?;
        open.named(open.active_connection()?.execute_batch(sql).map_err(classify))
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
        let open = self.open()?;
        open.named(find(&open.connection, sql, params, read))
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
        let open = self.open()?;
        open.named(query(&open.connection, sql, params, read))
    }

    fn open(&self) -> Result<&OpenTx, DatabaseError> {
        self.open.as_ref().map(Bound::get).ok_or_else(abandoned)
    }

    /// Runs a statement on a database thread.
    async fn on_thread<T: Send + 'static>(
        &mut self,
        statement: impl FnOnce(&OpenTx) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let open = self.open.take().ok_or_else(abandoned)?;
        let (open, outcome) = open.run(|open| open.named(statement(open))).await?;
        self.open = Some(open);
        outcome
    }

    async fn end(mut self, statement: &'static str) -> Result<(), DatabaseError> {
        let open = self.open.take().ok_or_else(abandoned)?;
        open.finish(move |open| open.end(statement)).await?
    }
}

fn abandoned() -> DatabaseError {
    DatabaseError::rejected(
        "the transaction's last statement was abandoned before it ended; begin another transaction",
    )
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sqlite::Tx")
    }
}

impl ReadModelTx for Tx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        self.on_thread(|tx| checkpoint::get(&tx.connection)).await
    }

    async fn advance(&mut self, advance: Advance) -> Result<(), DatabaseError> {
        self.on_thread(move |tx| tx.advance(advance)).await
    }

    async fn put_dead_letter(&mut self, dead_letter: DeadLetter) -> Result<(), DatabaseError> {
        self.on_thread(move |tx| dead_letters::put(tx.active_connection()?, &dead_letter)).await
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        self.on_thread(move |tx| dead_letters::delete(tx.active_connection()?, position)).await
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        let name = name.to_owned();
        self.on_thread(move |tx| properties::get(&tx.connection, &name)).await
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.on_thread(move |tx| properties::set(tx.active_connection()?, &name, &value)).await
    }

    async fn commit(self) -> Result<(), DatabaseError> {
        self.end("commit").await
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        self.end("rollback").await
    }
}

impl ReadRows for Tx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        self.on_thread(move |tx| rows::get(&tx.connection, &table, &key)).await
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        let list = rows::OwnedList::of(list);
        self.on_thread(move |tx| rows::list(&tx.connection, list.borrowed())).await
    }
}

impl Rows for Tx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        let (table, key, value) = (table.to_owned(), key.to_owned(), value.to_string());
        self.on_thread(move |tx| rows::put(tx.active_connection()?, &table, &key, &value)).await
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        self.on_thread(move |tx| rows::delete(tx.active_connection()?, &table, &key)).await
    }
}
