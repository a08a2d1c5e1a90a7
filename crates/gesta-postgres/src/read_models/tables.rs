//! The tables and functions of the catalogue.
//!
//! Owns: their version and creation, in one transaction under an advisory lock, so processes that
//! open new read models at the same time create the catalogue once. Tables of an earlier version
//! are brought to this one, those of a newer version are left alone. Not here: the tables of a
//! single read model, which a function creates.

use gesta_store::StoreError;
use tokio_postgres::types::Type;

use super::builds::SchemaNames;
use crate::{connection::Connection, errors::Failure};

/// The steps to each version of the tables, from nothing.
const STEPS: [&str; 2] = [include_str!("tables.sql"), include_str!("partitions.sql")];

/// Version of the tables that this crate makes and knows.
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// Key of the advisory lock of creations: the letters `gesr`.
const LOCK: i64 = 0x6765_7372;

/// The reason why the catalogue cannot be used.
#[derive(Debug)]
pub(super) enum CatalogueError {
    Newer { found: i32 },
    Foreign,
    Failed(StoreError),
}

impl From<Failure> for CatalogueError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.of_read())
    }
}

/// Creates the catalogue, or brings it to this version, unless it has it.
pub(super) async fn create(
    names: &SchemaNames,
    connection: &Connection,
) -> Result<(), CatalogueError> {
    if version(names, connection).await? == VERSION {
        return Ok(());
    }
    connection.execute("BEGIN").await?;
    let outcome = create_locked(names, connection).await;
    connection.execute(if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    outcome
}

async fn create_locked(names: &SchemaNames, connection: &Connection) -> Result<(), CatalogueError> {
    connection.execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let found = version(names, connection).await?;
    if found == 0 {
        if has_tables(names, connection).await? {
            return Err(CatalogueError::Foreign);
        }
        let create = "CREATE SCHEMA IF NOT EXISTS {schema};
                      CREATE TABLE {schema}.catalogue (version integer NOT NULL);
                      INSERT INTO {schema}.catalogue VALUES (0);";
        connection.execute(&names.fill(create)).await?;
    }
    let done = usize::try_from(found).unwrap_or_default();
    for step in STEPS.iter().skip(done) {
        connection.execute(&names.fill(step)).await?;
    }
    let version = format!("UPDATE {{schema}}.catalogue SET version = {VERSION}");
    connection.execute(&names.fill(&version)).await?;
    Ok(())
}

/// Returns the version of the tables, or 0 if there are none.
async fn version(names: &SchemaNames, connection: &Connection) -> Result<i32, CatalogueError> {
    let text = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n \
                ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'catalogue')";
    let rows = connection.query(text, &[(&names.catalogue, Type::TEXT)]).await?;
    if !rows.first().is_some_and(|row| row.get(0)) {
        return Ok(0);
    }
    let rows = connection.query(&names.fill("SELECT version FROM {schema}.catalogue"), &[]).await?;
    let found: i32 = rows.first().map_or(0, |row| row.get(0));
    if found > VERSION { Err(CatalogueError::Newer { found }) } else { Ok(found) }
}

async fn has_tables(names: &SchemaNames, connection: &Connection) -> Result<bool, Failure> {
    let text = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n \
                ON n.oid = c.relnamespace WHERE n.nspname = $1)";
    let rows = connection.query(text, &[(&names.catalogue, Type::TEXT)]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}
