//! The tables and functions of a store, in a schema of their own.
//!
//! Owns: their versions, creation and migration. A migration runs in one transaction under an
//! advisory lock, so processes that open a new store at the same time create it once. A store whose
//! tables are of a newer version is not opened. Not here: the statements of appends and reads.

use gesta_store::StoreError;
use tokio_postgres::types::Type;

use crate::{
    connection::{Connection, Connector, Value},
    errors::Failure,
    schema_name::quoted,
};

/// Version of the tables that this crate makes and knows.
pub(crate) const VERSION: i32 = 6;

/// Statements of each version, the first one first. Functions are in the files of this version: a
/// migration replaces them.
const MIGRATIONS: [&[&str]; 6] = [
    &[include_str!("schema/tables.sql")],
    &[include_str!("schema/leases.sql")],
    &["DROP FUNCTION IF EXISTS {schema}.append;"],
    // Functions only.
    &[],
    &[include_str!("schema/partitions.sql")],
    // Functions only.
    &[],
];
/// Functions of this version.
const FUNCTIONS: [&str; 5] = [
    include_str!("schema/lookups.sql"),
    include_str!("schema/append.sql"),
    include_str!("schema/append_alone.sql"),
    include_str!("schema/add_partitions.sql"),
    include_str!("schema/ordinals.sql"),
];

/// Condition on which an append is refused: its statements would not see what others committed
/// before they released the lock, the server is a replica, or it was promoted and needs an
/// incarnation.
const SESSION_IS_UNFIT: &str = "current_setting('transaction_isolation') <> 'read committed' \
    OR CASE WHEN pg_is_in_recovery() THEN true \
       ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) IS DISTINCT FROM known_timeline END";

/// First half of the keys of advisory locks: the letters `gest`.
const LOCK_CLASS: i64 = 0x6765_7374;

/// The schema of a store.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    name: String,
    /// Quoted for statements.
    quoted: String,
}

/// The look-up of a table: $1, the name of its schema; $2, its own.
///
/// Not `to_regclass`, which may remember from before a lock that there is no table.
pub(crate) const HAS_TABLE: &str = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n \
    ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)";

/// The first partition whose table is not attached.
const MISSING_PARTITION: &str = "
SELECT p.first_position, p.end_position,
       coalesce(p.archive_schema, {schema}.own_name())::text, p.table_name
  FROM {schema}.partitions p
 WHERE NOT EXISTS (
        SELECT 1 FROM pg_inherits i
          JOIN pg_class e ON e.oid = i.inhparent
          JOIN pg_namespace o ON o.oid = e.relnamespace
          JOIN pg_class c ON c.oid = i.inhrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE e.relname = 'events' AND o.nspname = {schema}.own_name()
           AND c.relname = p.table_name
           AND n.nspname = coalesce(p.archive_schema, {schema}.own_name()))
 ORDER BY p.first_position LIMIT 1";

/// The reason why the tables cannot be used.
#[derive(Debug)]
pub(crate) enum SchemaError {
    Missing,
    Older { found: i32 },
    UnfinishedCopy,
    Newer { found: i32 },
    Foreign,
    MissingPartition { first: i64, end: i64, schema: String, table: String },
    Failed(StoreError),
}

impl From<Failure> for SchemaError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.of_read())
    }
}

impl Schema {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), quoted: quoted(name) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Puts the quoted name of the schema into a statement, in place of `{schema}`.
    pub(crate) fn fill(&self, statement: &str) -> String {
        statement.replace("{schema}", &self.quoted)
    }

    /// Returns the channel on which the store's appends are announced.
    pub(crate) async fn channel(&self, connection: &Connection) -> Result<String, Failure> {
        Ok(format!("gesta_{}", self.oid(connection).await?))
    }

    async fn oid(&self, connection: &Connection) -> Result<i64, Failure> {
        let text = "SELECT oid::bigint FROM pg_namespace WHERE nspname = $1";
        let rows = connection.query(text, &[(&self.name, Type::TEXT)]).await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    /// Creates the tables, or brings them to this version. Changes nothing if they have it.
    pub(crate) async fn migrate(
        &self,
        connector: &Connector,
        connection: &Connection,
    ) -> Result<(), SchemaError> {
        if self.version(connection).await? == VERSION {
            return Ok(());
        }
        connection.execute("BEGIN").await?;
        let outcome = self.migrate_locked(connector, connection).await;
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        connection.execute(end).await?;
        outcome
    }

    async fn migrate_locked(
        &self,
        connector: &Connector,
        connection: &Connection,
    ) -> Result<(), SchemaError> {
        // Creations of all stores of a database follow each other.
        connection.execute(&format!("SELECT pg_advisory_xact_lock({LOCK_CLASS})")).await?;
        let found = self.version(connection).await?;
        if found == 0 && self.has_tables(connection).await? {
            return Err(SchemaError::Foreign);
        }
        let first = usize::try_from(found).unwrap_or_default();
        if first == 0 {
            connection.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", self.quoted)).await?;
            let store = "CREATE TABLE {schema}.store (version integer NOT NULL); \
                         INSERT INTO {schema}.store VALUES (0)";
            connection.execute(&self.fill(store)).await?;
        }
        let lock = self.append_lock(connection).await?;
        let missing = MIGRATIONS.get(first..).unwrap_or_default();
        let statements = missing.concat().concat() + &FUNCTIONS.concat();
        let filled = self.fill(&statements).replace("{lock}", &lock.to_string());
        let filled = filled.replace("{session_is_unfit}", SESSION_IS_UNFIT);
        // Tables with many events take longer than a statement may.
        connection.execute("SET LOCAL statement_timeout = 0").await?;
        connector.while_it_answers(connection.client().batch_execute(&filled)).await?;
        let done = self.fill(&format!("UPDATE {{schema}}.store SET version = {VERSION}"));
        connection.execute(&done).await?;
        Ok(())
    }

    /// Checks that the tables are there and have this version. Changes nothing.
    pub(crate) async fn check(&self, connection: &Connection) -> Result<(), SchemaError> {
        match self.version(connection).await? {
            VERSION => Ok(()),
            0 if self.has_tables(connection).await? => Err(SchemaError::Foreign),
            0 => Err(SchemaError::Missing),
            found => Err(SchemaError::Older { found }),
        }
    }

    /// Refuses a store to which another one is being copied.
    pub(crate) async fn check_copied(&self, connection: &Connection) -> Result<(), SchemaError> {
        if !self.has_table(connection, "copied").await? {
            return Ok(());
        }
        let unfinished = "SELECT EXISTS (SELECT 1 FROM {schema}.copied c WHERE NOT c.finished)";
        let rows = connection.query(&self.fill(unfinished), &[]).await?;
        let unfinished = rows.first().is_some_and(|row| row.get(0));
        if unfinished { Err(SchemaError::UnfinishedCopy) } else { Ok(()) }
    }

    /// Refuses a store of which a partition is not there, as after a restore without its schema.
    pub(crate) async fn check_partitions(
        &self,
        connection: &Connection,
    ) -> Result<(), SchemaError> {
        let rows = connection.query(&self.fill(MISSING_PARTITION), &[]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (schema, table) = (row.get(2), row.get(3));
        Err(SchemaError::MissingPartition { first: row.get(0), end: row.get(1), schema, table })
    }

    /// Returns the key of the advisory lock under which appends follow each other.
    pub(crate) async fn append_lock(&self, connection: &Connection) -> Result<i64, Failure> {
        Ok((LOCK_CLASS << 32) | self.oid(connection).await?)
    }

    async fn has_table(&self, connection: &Connection, table: &str) -> Result<bool, Failure> {
        let named: [Value<'_>; 2] = [(&self.name, Type::TEXT), (&table, Type::TEXT)];
        let rows = connection.query(HAS_TABLE, &named).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Returns the version of the tables, or 0 if there are none.
    async fn version(&self, connection: &Connection) -> Result<i32, SchemaError> {
        if !self.has_table(connection, "store").await? {
            return Ok(0);
        }
        let rows = connection.query(&self.fill("SELECT version FROM {schema}.store"), &[]).await?;
        let found: i32 = rows.first().map_or(0, |row| row.get(0));
        if found > VERSION { Err(SchemaError::Newer { found }) } else { Ok(found) }
    }

    async fn has_tables(&self, connection: &Connection) -> Result<bool, Failure> {
        let text = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n \
                    ON n.oid = c.relnamespace WHERE n.nspname = $1)";
        let rows = connection.query(text, &[(&self.name, Type::TEXT)]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }
}
