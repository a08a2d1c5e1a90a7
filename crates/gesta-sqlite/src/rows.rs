//! Storage of portable rows: one table of JSON texts for all row tables.

use gesta_store::{DatabaseError, ListRows, Row};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::error::{classify, unreadable};

pub(crate) const TABLES: &str = "
    create table if not exists gesta_rows (
        name text not null,
        key text not null,
        value text not null,
        primary key (name, key)
    ) strict, without rowid;
";

/// A request for rows that is handed to another thread.
pub(crate) struct OwnedList {
    table: String,
    prefix: String,
    after: Option<String>,
    limit: usize,
}

impl OwnedList {
    pub(crate) fn of(list: ListRows<'_>) -> Self {
        Self {
            table: list.table.to_owned(),
            prefix: list.prefix.to_owned(),
            after: list.after.map(str::to_owned),
            limit: list.limit,
        }
    }

    pub(crate) fn borrowed(&self) -> ListRows<'_> {
        let Self { table, prefix, after, limit } = self;
        ListRows::of(table).prefix(prefix).after(after.as_deref()).limit(*limit)
    }
}

pub(crate) fn get(
    connection: &Connection,
    table: &str,
    key: &str,
) -> Result<Option<Value>, DatabaseError> {
    let sql = "select value from gesta_rows where name = ?1 and key = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let text: Option<String> =
        statement.query_row([table, key], |row| row.get(0)).optional().map_err(classify)?;
    text.map(|text| parse(&text)).transpose()
}

/// Lists rows by ascending key, from the first key with the prefix.
pub(crate) fn list(connection: &Connection, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
    // A range over the primary key instead of `like`: no escaping, and the index serves it.
    let sql = "select key, value from gesta_rows
               where name = ?1 and key >= ?2 and (?3 is null or key > ?3) order by key limit ?4";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let mut found =
        statement.query(params![list.table, list.prefix, list.after, limit]).map_err(classify)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(classify)? {
        let key: String = row.get(0).map_err(classify)?;
        // Keys with the prefix are contiguous, so the first other key ends the list.
        if !key.starts_with(list.prefix) {
            break;
        }
        let text: String = row.get(1).map_err(classify)?;
        rows.push(Row { key, value: parse(&text)? });
    }
    Ok(rows)
}

/// Sets the value of a row, which is given as JSON text.
pub(crate) fn put(
    connection: &Connection,
    table: &str,
    key: &str,
    value: &str,
) -> Result<(), DatabaseError> {
    let sql = "insert into gesta_rows (name, key, value) values (?1, ?2, ?3)
               on conflict (name, key) do update set value = excluded.value";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    statement.execute(params![table, key, value]).map_err(classify)?;
    Ok(())
}

pub(crate) fn delete(connection: &Connection, table: &str, key: &str) -> Result<(), DatabaseError> {
    let sql = "delete from gesta_rows where name = ?1 and key = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    statement.execute([table, key]).map_err(classify)?;
    Ok(())
}

fn parse(text: &str) -> Result<Value, DatabaseError> {
    serde_json::from_str(text).map_err(|error| unreadable("a row is not JSON", error))
}
