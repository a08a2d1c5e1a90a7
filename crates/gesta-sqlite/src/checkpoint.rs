//! Storage of a read model's checkpoint, in the file of its rows.

use gesta_store::{Checkpoint, DatabaseError};
use rusqlite::{Connection, params};

use crate::{
    error::classify,
    query::{checkpoint_of, find},
};

/// The check allows a single row.
pub(crate) const TABLES: &str = "
    create table if not exists gesta_checkpoint (
        only integer primary key check (only = 1),
        position integer not null,
        incarnation blob not null
    ) strict;
";

/// Reads the checkpoint. `None` before the first commit that advances it.
pub(crate) fn get(connection: &Connection) -> Result<Option<Checkpoint>, DatabaseError> {
    find(connection, "select position, incarnation from gesta_checkpoint", [], checkpoint_of)
}

pub(crate) fn set(connection: &Connection, checkpoint: Checkpoint) -> Result<(), DatabaseError> {
    let Checkpoint { position, incarnation } = checkpoint;
    let sql = "insert or replace into gesta_checkpoint values (1, ?1, ?2)";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let values = params![position.number(), incarnation.as_uuid().into_bytes()];
    statement.execute(values).map_err(classify)?;
    Ok(())
}
