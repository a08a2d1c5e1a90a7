//! Read-only connections for queries.

use std::{fmt, sync::Arc};

use gesta_store::{DatabaseError, ListRows, ReadRows, Row, VisitRows};
use rusqlite::{Connection, Params};
use serde_json::Value;

use crate::{
    error::classify,
    query::{find, query},
    read_model_file::ReadModelFile,
    rows,
    threads::{Bound, Threads},
    walk,
};

/// A read-only connection to one read model.
///
/// All its statements read one snapshot, taken when the reader is opened.
///
/// # Blocking
///
/// [`find`](Self::find) and [`query`](Self::query) run on the calling thread. In a query's answer
/// and in [`ReadModelStore::run_read`](gesta_store::ReadModelStore::run_read) that is a thread of
/// the store; elsewhere they block the caller. The methods of [`ReadRows`] never block.
///
/// ```
/// use gesta_sqlite::Sqlite;
/// use gesta_store::{CreateReadModel, ReadModelStore, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let store = Sqlite::temporary().await?;
/// let create = CreateReadModel::new("names", 1, Stage::Live);
/// let names = store.create_read_model(create).await?;
/// let mut reader = store.reader(&names).await?;
/// let sum = store.run_read(async move { reader.find("select 1 + ?1", [1], |row| row.get(0)) });
/// assert_eq!(sum.await??, Some(2));
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a temporary store answers");
/// ```
pub struct Reader {
    /// `None` while a statement runs on another thread, and after one was abandoned.
    open: Option<Bound<OpenReader>>,
}

/// A connection in a read transaction. Used and dropped on database threads.
pub(crate) struct OpenReader {
    /// `None` only while dropping, after the connection is returned to the pool.
    connection: Option<Connection>,
    file: Arc<ReadModelFile>,
}

impl OpenReader {
    pub(crate) fn open(file: Arc<ReadModelFile>) -> Result<Self, DatabaseError> {
        let connection = file.take_reader().map_err(|error| file.named(error))?;
        begin_at_once(&connection).map_err(|error| file.named(classify(error)))?;
        Ok(Self { connection: Some(connection), file })
    }

    /// Adds the read model and its path to an error.
    pub(crate) fn named<T>(&self, outcome: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        outcome.map_err(|error| self.file.named(error))
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("a reader owns its connection until it is dropped")
    }
}

/// Begins a transaction and takes its snapshot. The first statement that reads would take it
/// otherwise.
fn begin_at_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("begin")?;
    connection.prepare_cached("select 1 from sqlite_schema limit 1")?.query([])?.next()?;
    Ok(())
}

impl Drop for OpenReader {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Close a connection that cannot end its transaction: its next user would read the old
        // snapshot.
        if connection.execute_batch("rollback").is_ok() {
            self.file.return_reader(connection);
        }
    }
}

impl Reader {
    pub(crate) fn new(open: OpenReader, threads: Arc<Threads>) -> Self {
        Self { open: Some(Bound::new(open, threads)) }
    }

    fn open(&self) -> Result<&OpenReader, DatabaseError> {
        self.open.as_ref().map(Bound::get).ok_or_else(abandoned)
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
        let open = self.open()?;
        open.named(find(open.connection(), sql, params, read))
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
        let open = self.open()?;
        open.named(query(open.connection(), sql, params, read))
    }

    /// Hands all rows to a visitor, on a database thread.
    pub(crate) async fn visit_rows<V: VisitRows>(
        &mut self,
        mut visitor: V,
    ) -> Result<V, DatabaseError> {
        self.on_thread(move |connection| {
            walk::visit_rows(connection, &mut visitor)?;
            Ok(visitor)
        })
        .await
    }

    /// Runs a statement on a database thread.
    async fn on_thread<T: Send + 'static>(
        &mut self,
        statement: impl FnOnce(&Connection) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let open = self.open.take().ok_or_else(abandoned)?;
        let run = open.run(|open| open.named(statement(open.connection())));
        let (open, outcome) = run.await?;
        self.open = Some(open);
        outcome
    }
}

fn abandoned() -> DatabaseError {
    DatabaseError::rejected(
        "the reader's last statement was abandoned before it ended; open another reader",
    )
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sqlite::Reader")
    }
}

impl ReadRows for Reader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        let (table, key) = (table.to_owned(), key.to_owned());
        self.on_thread(move |connection| rows::get(connection, &table, &key)).await
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        let list = rows::OwnedList::of(list);
        self.on_thread(move |connection| rows::list(connection, list.borrowed())).await
    }
}
