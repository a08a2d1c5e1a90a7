//! Storage of read model properties: short texts that describe the rows as a whole.

use gesta_store::DatabaseError;
use rusqlite::{Connection, params};

use crate::{error::classify, query::find};

pub(crate) const TABLES: &str = "
    create table if not exists gesta_properties (
        name text primary key,
        value text not null
    ) strict, without rowid;
";

pub(crate) fn get(connection: &Connection, name: &str) -> Result<Option<String>, DatabaseError> {
    let sql = "select value from gesta_properties where name = ?1";
    find(connection, sql, [name], |row| row.get(0))
}

pub(crate) fn set(connection: &Connection, name: &str, value: &str) -> Result<(), DatabaseError> {
    let sql = "insert or replace into gesta_properties values (?1, ?2)";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    statement.execute(params![name, value]).map_err(classify)?;
    Ok(())
}
