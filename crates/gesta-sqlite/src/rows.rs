//! Portable rows as one table of JSON texts.

use gesta_store::{DatabaseError, ListRows, Row};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::error::{sorted, unreadable};

pub(crate) const TABLES: &str = "
    create table if not exists gesta_rows (
        name text not null,
        key text not null,
        value text not null,
        primary key (name, key)
    ) strict, without rowid;
";

pub(crate) fn get(
    connection: &Connection,
    table: &str,
    key: &str,
) -> Result<Option<Value>, DatabaseError> {
    let sql = "select value from gesta_rows where name = ?1 and key = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(sorted)?;
    let text: Option<String> =
        statement.query_row([table, key], |row| row.get(0)).optional().map_err(sorted)?;
    text.map(|text| parse(&text)).transpose()
}

/// Walks the keys in order from the first that can be meant, and stops where the prefix ends.
pub(crate) fn list(connection: &Connection, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
    let sql = "select key, value from gesta_rows
               where name = ?1 and key >= ?2 and (?3 is null or key > ?3) order by key limit ?4";
    let mut statement = connection.prepare_cached(sql).map_err(sorted)?;
    let limit = i64::try_from(list.limit).unwrap_or(i64::MAX);
    let mut found =
        statement.query(params![list.table, list.prefix, list.after, limit]).map_err(sorted)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(sorted)? {
        let key: String = row.get(0).map_err(sorted)?;
        if !key.starts_with(list.prefix) {
            break;
        }
        let text: String = row.get(1).map_err(sorted)?;
        rows.push(Row { key, value: parse(&text)? });
    }
    Ok(rows)
}

pub(crate) fn put(
    connection: &Connection,
    table: &str,
    key: &str,
    value: &Value,
) -> Result<(), DatabaseError> {
    let sql = "insert into gesta_rows (name, key, value) values (?1, ?2, ?3)
               on conflict (name, key) do update set value = excluded.value";
    let mut statement = connection.prepare_cached(sql).map_err(sorted)?;
    statement.execute(params![table, key, value.to_string()]).map_err(sorted)?;
    Ok(())
}

pub(crate) fn delete(connection: &Connection, table: &str, key: &str) -> Result<(), DatabaseError> {
    let sql = "delete from gesta_rows where name = ?1 and key = ?2";
    let mut statement = connection.prepare_cached(sql).map_err(sorted)?;
    statement.execute([table, key]).map_err(sorted)?;
    Ok(())
}

fn parse(text: &str) -> Result<Value, DatabaseError> {
    serde_json::from_str(text).map_err(|error| unreadable("a row is not JSON", error))
}
