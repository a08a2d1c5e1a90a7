//! The transaction of one change.
//!
//! Owns: a connection without time limits, the lock on the row of the partition, and the exchange
//! of its table. Invariants:
//! - Nothing is changed before the commit. A session that ends before it leaves all as it was.
//! - Rows of a new table are frozen as they are copied. Otherwise a read whose snapshot is older
//!   than the change would find the new table empty, and leave its events out.
//! - Appends and reads wait for a lock of a change no longer than [`LOCK_MILLIS`].
//! - A change waits for statements of any length, and ends when the server stands still.

use std::{sync::Arc, time::Duration};

use gesta_store::Position;
use tokio::time::sleep;
use tokio_postgres::{error::SqlState, types::Type};

use super::error::ArchiveError;
use crate::{
    connection::{Connection, Connector, Value},
    errors::Failure,
    head::HEAD,
    number::{from_sql, to_sql},
    read::cell,
    schema::{HAS_TABLE, Schema},
    schema_name::quoted,
    shared::Core,
};

/// Longest wait for a lock in one attempt, in which others wait behind it.
const LOCK_MILLIS: u64 = 500;
/// Pause between attempts, in which the others continue.
const LOCK_PAUSE: Duration = Duration::from_millis(500);
const LOCK_ATTEMPTS_MAX: u64 = 30;

/// One change of a partition.
#[derive(Debug)]
pub(super) struct ArchiveSession {
    pub(super) connector: Arc<Connector>,
    pub(super) connection: Connection,
    pub(super) schema: Schema,
    pub(super) partition: LockedPartition,
}

/// The row of the partition, which is locked until the end of the transaction.
#[derive(Clone, Debug)]
pub(super) struct LockedPartition {
    pub(super) first: Position,
    /// The position after the last one.
    pub(super) end: Position,
    /// Name of the store's own schema.
    store_schema: String,
    archive_schema: Option<String>,
    table: String,
    file: Option<String>,
}

/// Partition of the position $1, and whether it is full.
const LOCK_ROW: &str = "
SELECT p.end_position, {schema}.own_name()::text, p.archive_schema, p.table_name, p.archive_file,
       (SELECT max(e.position) FROM {schema}.events e) >= p.end_position - 1
  FROM {schema}.partitions p WHERE p.first_position = $1 FOR UPDATE OF p";

/// The partition that takes appends.
const LOCK_LAST: &str = "
SELECT p.first_position, p.end_position, {schema}.own_name()::text, p.table_name
  FROM {schema}.partitions p ORDER BY p.first_position DESC LIMIT 1 FOR UPDATE OF p";

const PUT_SIZE: &str = "
WITH resized AS (UPDATE {schema}.store SET partition_positions = $1)
UPDATE {schema}.partitions SET end_position = $3 WHERE first_position = $2";

/// Returns `true` if the schema $1 has the tables of a store, of a catalogue or of a read model.
const IS_TAKEN: &str = "
SELECT count(*) FILTER (WHERE c.relname IN ('store', 'partitions')) = 2
       OR count(*) FILTER (WHERE c.relname IN ('catalogue', 'read_models')) = 2
       OR count(*) FILTER (WHERE c.relname = 'gesta_build') = 1
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind = 'r'";

const PUT_ROW: &str = "
UPDATE {schema}.partitions
   SET archive_schema = $2, table_name = $3, archive_file = $4, archive_digest = $5
 WHERE first_position = $1";

impl ArchiveSession {
    /// Begins the change of a full partition.
    pub(super) async fn begin(core: &Core, first: Position) -> Result<Self, ArchiveError> {
        let connector = core.pool.connector();
        let connection = connector.connect().await?;
        connection.execute(BEGIN).await?;
        let at = to_sql(first.number());
        let text = core.schema.fill(LOCK_ROW);
        let rows = connection.query(&text, &[(&at, Type::INT8)]).await?;
        let Some(row) = rows.first() else { return Err(ArchiveError::NoPartition { first }) };
        let end = Position::new(from_sql(cell(row, 0)?));
        if !cell::<Option<bool>>(row, 5)?.unwrap_or_default() {
            return Err(ArchiveError::NotFull { first, last: Position::new(end.number() - 1) });
        }
        let partition = LockedPartition {
            first,
            end,
            store_schema: cell(row, 1)?,
            archive_schema: cell(row, 2)?,
            table: cell(row, 3)?,
            file: cell(row, 4)?,
        };
        let schema = core.schema.clone();
        Ok(Self { connector, connection, schema, partition })
    }

    /// Begins a change of the partition that takes appends.
    pub(super) async fn begin_last(core: &Core) -> Result<Self, ArchiveError> {
        let connector = core.pool.connector();
        let connection = connector.connect().await?;
        connection.execute(BEGIN).await?;
        let rows = connection.query(&core.schema.fill(LOCK_LAST), &[]).await?;
        let first = Position::START.next();
        let Some(row) = rows.first() else { return Err(ArchiveError::NoPartition { first }) };
        let (first, end): (i64, i64) = (cell(row, 0)?, cell(row, 1)?);
        let partition = LockedPartition {
            first: Position::new(from_sql(first)),
            end: Position::new(from_sql(end)),
            store_schema: cell(row, 2)?,
            archive_schema: None,
            table: cell(row, 3)?,
            file: None,
        };
        let schema = core.schema.clone();
        Ok(Self { connector, connection, schema, partition })
    }

    /// Sets the size of later partitions, ends the partition that takes appends at the next
    /// multiple of it, and commits.
    pub(super) async fn resize(&self, positions: u64) -> Result<(), ArchiveError> {
        let LockedPartition { store_schema, first, end, .. } = &self.partition;
        let (events, table) = (format!("{}.events", quoted(store_schema)), self.partition.name());
        self.execute_locking(&format!("LOCK TABLE {events} IN ACCESS EXCLUSIVE MODE")).await?;
        let rows = self.connection.query(&self.schema.fill(HEAD), &[]).await?;
        let head: i64 = rows.first().map_or(Ok(0), |row| cell(row, 0))?;
        let taken = from_sql(head).saturating_sub(first.number());
        let shorter = first.number() + positions.saturating_mul(1 + taken / positions);
        let new_end = shorter.min(end.number());
        if new_end < end.number() {
            self.execute(&format!(
                "ALTER TABLE {events} DETACH PARTITION {table}; \
                 ALTER TABLE {events} ATTACH PARTITION {table} \
                     FOR VALUES FROM ({first}) TO ({new_end})"
            ))
            .await?;
        }
        let (size, first) = (to_sql(positions), to_sql(first.number()));
        let new_end = to_sql(new_end);
        let values: [Value<'_>; 3] =
            [(&size, Type::INT8), (&first, Type::INT8), (&new_end, Type::INT8)];
        self.connection.query(&self.schema.fill(PUT_SIZE), &values).await?;
        self.commit().await
    }

    /// Moves the table of the partition to a schema, or to that of the store, and commits.
    pub(super) async fn move_to(&mut self, schema: Option<&str>) -> Result<(), ArchiveError> {
        let partition = &self.partition;
        let target = schema.unwrap_or(&partition.store_schema);
        if let Some(file) = &partition.file {
            return Err(ArchiveError::InFile { first: partition.first, file: file.clone() });
        }
        if target == partition.schema() {
            return self.commit().await;
        }
        if schema.is_some() && self.is_taken(target).await? {
            return Err(ArchiveError::TakenSchema { schema: target.to_owned() });
        }
        self.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(target))).await?;
        if self.has_table(target, &partition.table).await? {
            let (schema, table) = (target.to_owned(), partition.table.clone());
            return Err(ArchiveError::Occupied { schema, table });
        }
        let moved = format!("ALTER TABLE {} SET SCHEMA {}", partition.name(), quoted(target));
        self.execute_locking(&moved).await?;
        self.put_row(schema, &partition.table, None).await?;
        self.commit().await
    }

    /// Creates a table for the events of the partition in the schema of the store, without indexes.
    pub(super) async fn create_table(&self, table: &str) -> Result<(), ArchiveError> {
        let LockedPartition { store_schema, .. } = &self.partition;
        let (schema, table) = (quoted(store_schema), quoted(table));
        self.execute(&format!("CREATE TABLE {schema}.{table} (LIKE {schema}.events)")).await
    }

    /// Puts a table that [`create_table`](Self::create_table) made in the place of the partition's,
    /// drops the other one, and commits. `file` has the payloads from now on, with this digest.
    pub(super) async fn exchange(
        &self,
        table: &str,
        file: Option<(&str, &str)>,
    ) -> Result<(), ArchiveError> {
        let LockedPartition { store_schema, first, end, .. } = &self.partition;
        let text = self.schema.fill("SELECT {schema}.index_events($1, $2)");
        let named: [Value<'_>; 2] = [(store_schema, Type::TEXT), (&table, Type::TEXT)];
        let indexed = self.connection.client().query_typed(&text, &named);
        self.connector.while_it_answers(indexed).await?;
        let (schema, new) = (quoted(store_schema), quoted(table));
        let (new, old) = (format!("{schema}.{new}"), self.partition.name());
        // With the constraint the table is not scanned while others wait.
        self.execute(&format!(
            "ALTER TABLE {new} ADD CONSTRAINT within CHECK (position >= {first} AND position < {end}); \
             ANALYZE {new}"
        ))
        .await?;
        self.execute_locking(&format!(
            "LOCK TABLE {schema}.events IN ACCESS EXCLUSIVE MODE; \
             ALTER TABLE {schema}.events DETACH PARTITION {old}; \
             ALTER TABLE {schema}.events ATTACH PARTITION {new} \
                 FOR VALUES FROM ({first}) TO ({end}); \
             ALTER TABLE {new} DROP CONSTRAINT within; \
             DROP TABLE {old}"
        ))
        .await?;
        self.put_row(None, table, file).await?;
        self.commit().await
    }

    /// Runs statements, however long they take while the server answers others.
    pub(super) async fn execute(&self, text: &str) -> Result<(), ArchiveError> {
        let executed = self.connection.client().batch_execute(text);
        Ok(self.connector.while_it_answers(executed).await?)
    }

    /// Runs statements that lock tables of the store. Gives way to others between attempts.
    async fn execute_locking(&self, text: &str) -> Result<(), ArchiveError> {
        let begin = format!("SAVEPOINT unlocked; SET LOCAL lock_timeout = {LOCK_MILLIS}");
        for _ in 0..LOCK_ATTEMPTS_MAX {
            self.execute(&begin).await?;
            if self.attempt(text).await? {
                return Ok(());
            }
            self.execute("ROLLBACK TO SAVEPOINT unlocked").await?;
            sleep(LOCK_PAUSE).await;
        }
        let waited = LOCK_ATTEMPTS_MAX * (LOCK_MILLIS + 500);
        Err(ArchiveError::InUse { seconds: waited / 1_000 })
    }

    /// Returns `false` if another transaction is in the way of the statements.
    async fn attempt(&self, text: &str) -> Result<bool, ArchiveError> {
        let attempted = async {
            match self.connection.client().batch_execute(text).await {
                Err(error) if is_in_the_way(&error) => Ok(false),
                executed => executed.map(|()| true),
            }
        };
        Ok(self.connector.while_it_answers(attempted).await?)
    }

    async fn put_row(
        &self,
        archive_schema: Option<&str>,
        table: &str,
        file: Option<(&str, &str)>,
    ) -> Result<(), ArchiveError> {
        let first = to_sql(self.partition.first.number());
        let (path, digest) = file.unzip();
        let values: [Value<'_>; 5] = [
            (&first, Type::INT8),
            (&archive_schema, Type::TEXT),
            (&table, Type::TEXT),
            (&path, Type::TEXT),
            (&digest, Type::TEXT),
        ];
        Ok(self.connection.query(&self.schema.fill(PUT_ROW), &values).await.map(drop)?)
    }

    async fn has_table(&self, schema: &str, table: &str) -> Result<bool, ArchiveError> {
        let named: [Value<'_>; 2] = [(&schema, Type::TEXT), (&table, Type::TEXT)];
        let rows = self.connection.query(HAS_TABLE, &named).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Returns `true` if something else than an archive is in a schema.
    async fn is_taken(&self, schema: &str) -> Result<bool, ArchiveError> {
        let rows = self.connection.query(IS_TAKEN, &[(&schema, Type::TEXT)]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    async fn commit(&self) -> Result<(), ArchiveError> {
        let committed = self.connection.client().batch_execute("COMMIT");
        match self.connector.while_it_answers(committed).await {
            Err(Failure::Lost(error)) => Err(ArchiveError::Unconfirmed(error)),
            ended => Ok(ended?),
        }
    }
}

/// Begins a transaction without time limits for statements.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; \
     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL enable_seqscan = on";

impl LockedPartition {
    /// Name of the schema that its table is in.
    fn schema(&self) -> &str {
        self.archive_schema.as_ref().unwrap_or(&self.store_schema)
    }

    /// Name of its table, for statements.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", quoted(self.schema()), quoted(&self.table))
    }

    /// Returns the file that has the payloads.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

/// Returns `true` if another transaction holds a lock, or waits for one of this transaction.
fn is_in_the_way(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| codes.contains(code))
}
