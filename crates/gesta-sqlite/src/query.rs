//! Queries by cached statements, and the columns that several tables have.

use gesta_store::{Checkpoint, DatabaseError, Incarnation, Position};
use rusqlite::{Connection, OptionalExtension, Params};
use uuid::Uuid;

use crate::error::classify;

/// Returns the first row of a statement's result, or `None` if the result is empty.
pub(crate) fn find<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, DatabaseError> {
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    statement.query_row(params, read).optional().map_err(classify)
}

/// Returns all rows of a statement's result.
pub(crate) fn query<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, DatabaseError> {
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let found = statement.query_map(params, read).map_err(classify)?;
    found.collect::<Result<_, _>>().map_err(classify)
}

/// Reads a checkpoint from the first two columns: position and incarnation.
pub(crate) fn checkpoint_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Checkpoint> {
    Ok(Checkpoint { position: Position::new(row.get(0)?), incarnation: incarnation_of(row, 1)? })
}

pub(crate) fn incarnation_of(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<Incarnation> {
    Ok(Incarnation::new(Uuid::from_bytes(row.get(column)?)))
}
