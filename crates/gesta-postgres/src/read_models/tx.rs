//! Transactions on a read model.

use std::{collections::BTreeMap, fmt};

use gesta_store::{
    Advance, Checkpoint, DatabaseError, DeadLetter, ListRows, Partition, Position, ReadModelTx,
    ReadRows, Row, Rows,
};
use serde_json::Value;
use tokio_postgres::types::Type;

use super::{
    catalogue::{checkpoint_of, column},
    copy::CopyRows,
    core::Purpose,
    dead_letters, partitions,
    rows::RowBuffer,
    session::{Parameter, Session},
    views::{self, View},
};
use crate::number::to_sql;

const CHECKPOINT: &str = "
SELECT h.position, h.incarnation FROM {schema}.handled h WHERE h.build = $1";

/// Sets the properties $7 to $8, and moves the checkpoint if it is the expected one and the
/// transaction has the mark $6. Returns the checkpoint before, whether it moved, and the mark.
const ADVANCE: &str = "
WITH stored AS (
    SELECT c.position, c.incarnation FROM {schema}.checkpoints c WHERE c.build = $1
), set AS (
    INSERT INTO {schema}.properties AS p (build, name, value)
    SELECT $1, u.name, u.value FROM unnest($7::text[], $8::text[]) u(name, value)
    ON CONFLICT (build, name) DO UPDATE SET value = excluded.value
), moved AS (
    INSERT INTO {schema}.checkpoints AS c (build, position, incarnation)
    SELECT $1, $2, $3
     WHERE current_setting('gesta.transaction', true) = $6
       AND (($4::bigint IS NULL AND NOT EXISTS (SELECT 1 FROM stored))
            OR EXISTS (SELECT 1 FROM stored s WHERE s.position = $4 AND s.incarnation = $5))
    ON CONFLICT (build) DO UPDATE
       SET position = excluded.position, incarnation = excluded.incarnation
    RETURNING 1
)
SELECT s.position, s.incarnation, EXISTS (SELECT 1 FROM moved),
       coalesce(current_setting('gesta.transaction', true), '')
  FROM (SELECT 1) one LEFT JOIN stored s ON true";

const PROPERTY: &str = "
SELECT p.value FROM {schema}.properties p WHERE p.build = $1 AND p.name = $2";

/// The same for a transaction at the same time as others: refused if the value has changed since it
/// began, and kept from changing until its end.
const PROPERTY_KEPT: &str = "
SELECT p.value FROM {schema}.properties p WHERE p.build = $1 AND p.name = $2 FOR SHARE";

const SET_PROPERTIES: &str = "
INSERT INTO {schema}.properties AS p (build, name, value)
SELECT $1, u.name, u.value FROM unnest($2::text[], $3::text[]) u(name, value)
ON CONFLICT (build, name) DO UPDATE SET value = excluded.value";

/// A transaction on one read model, with SQL on its tables.
///
/// Names without a schema are those of the read model: `create table orders …` makes a table that
/// this build alone has. Extensions and functions of other schemas need their schema's name. After
/// a statement has failed, the server refuses all others, unless a savepoint is rolled back to.
///
/// The server ends a transaction in which nothing happens for 5 s, and cancels a statement after
/// 30 s.
///
/// ```no_run
/// use gesta_postgres::PostgresReadModels;
/// use gesta_store::{CreateReadModel, ReadModelStore, ReadModelTx, Stage, conformance::block_on};
///
/// # block_on(async {
/// let store = PostgresReadModels::connect("postgres://ann:secret@localhost/shop").await?;
/// let names = store.create_read_model(CreateReadModel::new("names", 1, Stage::Live)).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.batch_execute("create table names (id bigint primary key, name text not null)").await?;
/// tx.execute("insert into names values ($1, $2)", &[&1_i64, &"Ann"]).await?;
/// tx.commit().await?;
///
/// let mut reader = store.reader(&names).await?;
/// let read = reader.query("select name from names", &[], |row| row.try_get::<_, String>(0));
/// assert_eq!(read.await?, ["Ann"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
pub struct Tx {
    session: Session,
    rows: RowBuffer,
    purpose: Purpose,
    /// The checkpoint, as the transaction found it, until it is asked for.
    found: Option<Option<Checkpoint>>,
    /// Properties that were set and are not written yet: they go with the checkpoint.
    properties: BTreeMap<String, String>,
    /// Something was written, so views of the rows may be out of date.
    has_written: bool,
    /// A view was created by this transaction.
    has_new_views: bool,
}

impl Tx {
    pub(super) fn new(session: Session, purpose: Purpose) -> Self {
        let rows = RowBuffer::default();
        let (properties, found) = (BTreeMap::new(), None);
        let (has_written, has_new_views) = (false, false);
        Self { session, rows, purpose, found, properties, has_written, has_new_views }
    }

    /// A transaction that has found the checkpoint when it began.
    pub(super) fn joined((session, found): (Session, Option<Checkpoint>)) -> Self {
        Self { found: Some(found), ..Self::new(session, Purpose::Write) }
    }

    /// Runs one statement and returns the number of changed rows.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the server refuses the statement or a value, or if a
    /// constraint is violated.
    pub async fn execute(
        &mut self,
        sql: &str,
        values: &[Parameter<'_>],
    ) -> Result<u64, DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        self.has_written = true;
        self.session.execute(sql, values).await
    }

    /// Runs one statement for each set of values, and returns the number of changed rows.
    ///
    /// All are sent at once, so they cost one round trip together.
    ///
    /// ```no_run
    /// use gesta_postgres::Parameter;
    ///
    /// # async fn load(tx: &mut gesta_postgres::Tx) -> Result<(), gesta_store::DatabaseError> {
    /// let names = [(1_i64, "Ann"), (2, "Ben")];
    /// let sets: Vec<[Parameter<'_>; 2]> =
    ///     names.iter().map(|(id, name)| [id as _, name as _]).collect();
    /// let update = "insert into names values ($1, $2) on conflict (id) do update set name = $2";
    /// assert_eq!(tx.execute_each(update, &sets).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`execute`](Self::execute), of the first statement that failed.
    pub async fn execute_each<'p>(
        &mut self,
        sql: &str,
        sets: &[impl AsRef<[Parameter<'p>]>],
    ) -> Result<u64, DatabaseError> {
        let sets: Vec<&[Parameter<'p>]> = sets.iter().map(AsRef::as_ref).collect();
        self.rows.settle(&mut self.session).await?;
        self.has_written = true;
        self.session.execute_each(sql, &sets).await
    }

    /// Runs several statements without values, such as `create table`.
    ///
    /// # Errors
    ///
    /// The same as [`execute`](Self::execute).
    pub async fn batch_execute(&mut self, sql: &str) -> Result<(), DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        self.has_written = true;
        self.session.batch_execute(sql).await
    }

    /// Returns the first row of a statement's result, or `None` if the result is empty.
    ///
    /// # Errors
    ///
    /// The same as [`execute`](Self::execute).
    pub async fn find<T>(
        &mut self,
        sql: &str,
        values: &[Parameter<'_>],
        read: impl FnMut(&tokio_postgres::Row) -> Result<T, tokio_postgres::Error> + Send,
    ) -> Result<Option<T>, DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        // A query may change rows, too.
        self.has_written = true;
        self.session.find(sql, values, read).await
    }

    /// Returns all rows of a statement's result.
    ///
    /// # Errors
    ///
    /// The same as [`execute`](Self::execute).
    pub async fn query<T>(
        &mut self,
        sql: &str,
        values: &[Parameter<'_>],
        read: impl FnMut(&tokio_postgres::Row) -> Result<T, tokio_postgres::Error> + Send,
    ) -> Result<Vec<T>, DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        self.has_written = true;
        self.session.read(sql, values, read).await
    }

    /// Adds many rows to a table by `COPY`, which is the fastest way.
    ///
    /// ```no_run
    /// # async fn load(tx: &mut gesta_postgres::Tx) -> Result<(), gesta_store::DatabaseError> {
    /// let mut rows = tx.copy_in("names", &["id", "name"]).await?;
    /// for (id, name) in [(1_i64, "Ann"), (2, "Ben")] {
    ///     rows.write(&[&id, &name]).await?;
    /// }
    /// assert_eq!(rows.finish().await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the table or a column does not exist.
    pub async fn copy_in(
        &mut self,
        table: &str,
        columns: &[&str],
    ) -> Result<CopyRows<'_>, DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        self.has_written = true;
        CopyRows::begin(&mut self.session, table, columns).await
    }

    /// Creates a materialized view, which is refreshed as it says. Call it in
    /// `Apply::prepare`, after its tables were created.
    ///
    /// ```no_run
    /// use gesta_postgres::{Refresh, View};
    ///
    /// # async fn prepare(tx: &mut gesta_postgres::Tx) -> Result<(), gesta_store::DatabaseError> {
    /// tx.batch_execute("create table orders (id bigint, customer text, total bigint)").await?;
    /// let query = "select customer, sum(total) as total from orders group by customer";
    /// let totals = View::new("totals", query, Refresh::AfterEachBatch).unique_by(["customer"]);
    /// tx.create_view(&totals).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if the server refuses the query, or the interval is too short.
    pub async fn create_view(&mut self, view: &View) -> Result<(), DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        (self.has_written, self.has_new_views) = (true, true);
        views::create(&mut self.session, view).await
    }
}

impl Tx {
    /// Writes the properties that were set after the checkpoint moved, or without one.
    async fn write_properties(&mut self) -> Result<(), DatabaseError> {
        if self.properties.is_empty() {
            return Ok(());
        }
        let build = to_sql(self.session.read_model.build);
        let text = self.session.core.names.fill(SET_PROPERTIES);
        let names: Vec<&String> = self.properties.keys().collect();
        let texts: Vec<&String> = self.properties.values().collect();
        let values: [(Parameter<'_>, Type); 3] =
            [(&build, Type::INT8), (&names, Type::TEXT_ARRAY), (&texts, Type::TEXT_ARRAY)];
        self.session.query_own(&text, &values).await.map(drop)
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres::Tx on {}", self.session.read_model)
    }
}

impl ReadModelTx for Tx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        if let Some(found) = self.found.take() {
            return Ok(found);
        }
        let build = to_sql(self.session.read_model.build);
        let text = self.session.core.names.fill(CHECKPOINT);
        let values: [(Parameter<'_>, Type); 1] = [(&build, Type::INT8)];
        let rows = self.session.query_own(&text, &values).await?;
        rows.first().map_or(Ok(None), |row| checkpoint_of(row, 0))
    }

    async fn advance(&mut self, advance: Advance) -> Result<(), DatabaseError> {
        let build = to_sql(self.session.read_model.build);
        let to = to_sql(advance.to.position.number());
        let to_incarnation = advance.to.incarnation.as_uuid();
        let from = advance.from.map(|from| to_sql(from.position.number()));
        let from_incarnation = advance.from.map(|from| from.incarnation.as_uuid());
        let text = self.session.core.names.fill(ADVANCE);
        let mark = self.session.mark().to_owned();
        let names: Vec<&String> = self.properties.keys().collect();
        let texts: Vec<&String> = self.properties.values().collect();
        let values: [(Parameter<'_>, Type); 8] = [
            (&build, Type::INT8),
            (&to, Type::INT8),
            (&to_incarnation, Type::UUID),
            (&from, Type::INT8),
            (&from_incarnation, Type::UUID),
            (&mark, Type::TEXT),
            (&names, Type::TEXT_ARRAY),
            (&texts, Type::TEXT_ARRAY),
        ];
        let rows = self.session.query_own(&text, &values).await?;
        self.properties.clear();
        let Some(row) = rows.first() else { return Ok(()) };
        self.session.check_mark(column(row, 3)?)?;
        if column::<bool>(row, 2)? {
            return Ok(());
        }
        let stored = checkpoint_of(row, 0)?;
        Err(DatabaseError::CheckpointConflict { expected: advance.from, stored })
    }

    async fn partition_checkpoint(
        &mut self,
        partition: Partition,
    ) -> Result<Option<Checkpoint>, DatabaseError> {
        partitions::checkpoint(&mut self.session, partition).await
    }

    async fn advance_partition(
        &mut self,
        partition: Partition,
        advance: Advance,
    ) -> Result<(), DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        partitions::advance(&mut self.session, partition, advance).await
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<(), DatabaseError> {
        dead_letters::put(&mut self.session, letter).await
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        dead_letters::delete(&mut self.session, position).await
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        if let Some(value) = self.properties.get(name) {
            return Ok(Some(value.clone()));
        }
        let build = to_sql(self.session.read_model.build);
        let text = match self.purpose {
            Purpose::WritePartition => PROPERTY_KEPT,
            Purpose::Write | Purpose::Read | Purpose::Maintain => PROPERTY,
        };
        let text = self.session.core.names.fill(text);
        let values: [(Parameter<'_>, Type); 2] = [(&build, Type::INT8), (&name, Type::TEXT)];
        let rows = self.session.query_own(&text, &values).await?;
        rows.first().map(|row| column(row, 0)).transpose()
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        if name.contains('\0') || value.contains('\0') {
            return Err(DatabaseError::rejected(
                "a property has a zero byte, which PostgreSQL does not store",
            ));
        }
        self.properties.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    async fn commit(mut self) -> Result<(), DatabaseError> {
        self.rows.settle(&mut self.session).await?;
        self.write_properties().await?;
        if self.has_written {
            views::refresh_after_batch(&mut self.session, self.has_new_views).await?;
        }
        self.session.commit().await
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        self.session.rollback().await
    }
}

impl ReadRows for Tx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        self.rows.get(&mut self.session, table, key).await
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        self.rows.list(&mut self.session, list).await
    }
}

impl Rows for Tx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        self.has_written = true;
        let text = Some(value.to_string());
        self.rows.change(&mut self.session, (table, key), text).await
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        self.has_written = true;
        self.rows.change(&mut self.session, (table, key), None).await
    }
}
