//! Portable rows: one table of JSON texts in the schema of each read model.
//!
//! Owns: [`RowBuffer`], which keeps the rows that a transaction has read or changed. Changes reach
//! the database together, before the next statement that may see them and before the commit. No
//! other transaction changes them at the same time. Not here: queries in SQL.

use std::collections::BTreeMap;

use gesta_store::{DatabaseError, ListRows, Row};
use serde_json::Value;
use tokio_postgres::types::Type;

use super::{
    errors::unreadable,
    session::{Parameter, Session},
};
use crate::number::count_to_sql;

/// Number of bytes of keys and values from which changes are written.
const BUFFERED_BYTES_MAX: usize = 4 << 20;

/// A row as the transaction has left it; `None` if it does not exist.
#[derive(Debug)]
struct BufferedRow {
    text: Option<String>,
    is_changed: bool,
}

/// The rows that a transaction has read or changed.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    tables: BTreeMap<String, BTreeMap<String, BufferedRow>>,
    bytes: usize,
    has_changes: bool,
}

impl RowBuffer {
    pub(super) async fn get(
        &mut self,
        session: &mut Session,
        table: &str,
        key: &str,
    ) -> Result<Option<Value>, DatabaseError> {
        if let Some(row) = self.tables.get(table).and_then(|rows| rows.get(key)) {
            return row.text.as_deref().map(parse).transpose();
        }
        let text = get_text(session, table, key).await?;
        let value = text.as_deref().map(parse).transpose()?;
        self.keep(table, key, BufferedRow { text, is_changed: false });
        if self.bytes > BUFFERED_BYTES_MAX {
            self.settle(session).await?;
        }
        Ok(value)
    }

    pub(super) async fn list(
        &mut self,
        session: &mut Session,
        rows: ListRows<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.write(session).await?;
        list(session, rows).await
    }

    /// Changes a row, or deletes it if there is no text.
    pub(super) async fn change(
        &mut self,
        session: &mut Session,
        (table, key): (&str, &str),
        text: Option<String>,
    ) -> Result<(), DatabaseError> {
        if table.contains('\0') || key.contains('\0') {
            return Err(DatabaseError::rejected(
                "a table or key of a row has a zero byte, which PostgreSQL does not store",
            ));
        }
        self.keep(table, key, BufferedRow { text, is_changed: true });
        self.has_changes = true;
        if self.bytes > BUFFERED_BYTES_MAX { self.settle(session).await } else { Ok(()) }
    }

    fn keep(&mut self, table: &str, key: &str, row: BufferedRow) {
        self.bytes += key.len() + row.text.as_ref().map_or(0, String::len);
        if let Some(rows) = self.tables.get_mut(table) {
            rows.insert(key.to_owned(), row);
        } else {
            self.tables.insert(table.to_owned(), BTreeMap::from([(key.to_owned(), row)]));
        }
    }

    /// Writes the changes, and forgets all rows: the next statement may change them.
    pub(super) async fn settle(&mut self, session: &mut Session) -> Result<(), DatabaseError> {
        self.write(session).await?;
        self.tables.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Writes the changes: one statement for all new texts, one for all deletions.
    async fn write(&mut self, session: &mut Session) -> Result<(), DatabaseError> {
        if !self.has_changes {
            return Ok(());
        }
        let (mut put, mut deleted) = (RowArrays::default(), RowArrays::default());
        for (table, rows) in &self.tables {
            for (key, row) in rows.iter().filter(|(_, row)| row.is_changed) {
                match &row.text {
                    Some(text) => put.push(table, key, text),
                    None => deleted.push(table, key, ""),
                }
            }
        }
        if !put.tables.is_empty() {
            put_all(session, &put).await?;
        }
        if !deleted.tables.is_empty() {
            delete_all(session, &deleted).await?;
        }
        for row in self.tables.values_mut().flat_map(BTreeMap::values_mut) {
            row.is_changed = false;
        }
        self.has_changes = false;
        Ok(())
    }
}

/// Rows as arrays.
#[derive(Default)]
struct RowArrays<'a> {
    tables: Vec<&'a str>,
    keys: Vec<&'a str>,
    texts: Vec<&'a str>,
}

impl<'a> RowArrays<'a> {
    fn push(&mut self, table: &'a str, key: &'a str, text: &'a str) {
        self.tables.push(table);
        self.keys.push(key);
        self.texts.push(text);
    }
}

async fn put_all(session: &mut Session, rows: &RowArrays<'_>) -> Result<(), DatabaseError> {
    let text = format!(
        "INSERT INTO {}.gesta_rows AS r (name, key, value)
         SELECT u.name, u.key, u.text::json
           FROM unnest($1::text[], $2::text[], $3::text[]) u(name, key, text)
         ON CONFLICT (name, key) DO UPDATE SET value = excluded.value",
        session.schema
    );
    let values: [(Parameter<'_>, Type); 3] = [
        (&rows.tables, Type::TEXT_ARRAY),
        (&rows.keys, Type::TEXT_ARRAY),
        (&rows.texts, Type::TEXT_ARRAY),
    ];
    session.query_own(&text, &values).await.map(drop)
}

async fn delete_all(session: &mut Session, rows: &RowArrays<'_>) -> Result<(), DatabaseError> {
    let text = format!(
        "DELETE FROM {}.gesta_rows r USING unnest($1::text[], $2::text[]) u(name, key)
          WHERE r.name = u.name AND r.key = u.key",
        session.schema
    );
    let values: [(Parameter<'_>, Type); 2] =
        [(&rows.tables, Type::TEXT_ARRAY), (&rows.keys, Type::TEXT_ARRAY)];
    session.query_own(&text, &values).await.map(drop)
}

async fn get_text(
    session: &mut Session,
    table: &str,
    key: &str,
) -> Result<Option<String>, DatabaseError> {
    let text = format!(
        "SELECT r.value::text FROM {}.gesta_rows r WHERE r.name = $1 AND r.key = $2",
        session.schema
    );
    let values: [(Parameter<'_>, Type); 2] = [(&table, Type::TEXT), (&key, Type::TEXT)];
    let rows = session.query_own(&text, &values).await?;
    rows.first().map(|row| super::catalogue::column(row, 0)).transpose()
}

/// Returns the value of a row.
pub(super) async fn get(
    session: &mut Session,
    table: &str,
    key: &str,
) -> Result<Option<Value>, DatabaseError> {
    get_text(session, table, key).await?.as_deref().map(parse).transpose()
}

/// Lists rows by ascending key. The range of keys is that of the prefix, which the index serves.
pub(super) async fn list(
    session: &mut Session,
    list: ListRows<'_>,
) -> Result<Vec<Row>, DatabaseError> {
    let (from, comparison) = match list.after {
        Some(after) if after >= list.prefix => (after, ">"),
        Some(_) | None => (list.prefix, ">="),
    };
    let end = end_of_prefix(list.prefix);
    let before = if end.is_some() { "r.key < $4" } else { "$4::text IS NULL" };
    let text = format!(
        "SELECT r.key, r.value::text FROM {}.gesta_rows r
          WHERE r.name = $1 AND r.key {comparison} $2 AND {before} ORDER BY r.key LIMIT $3",
        session.schema
    );
    let limit = count_to_sql(list.limit);
    let values: [(Parameter<'_>, Type); 4] =
        [(&list.table, Type::TEXT), (&from, Type::TEXT), (&limit, Type::INT8), (&end, Type::TEXT)];
    let rows = session.query_own(&text, &values).await?;
    let rows = rows.iter().map(|row| {
        let (key, text): (String, &str) =
            (super::catalogue::column(row, 0)?, super::catalogue::column(row, 1)?);
        Ok(Row { key, value: parse(text)? })
    });
    rows.collect()
}

/// Returns the least text that follows all texts with this prefix, or `None` if there is none.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The range leaves out what is no character.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn parse(text: &str) -> Result<Value, DatabaseError> {
    serde_json::from_str(text).map_err(|error| unreadable("a row is not JSON", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_character() {
        assert_eq!(end_of_prefix("b-").as_deref(), Some("b."));
        assert_eq!(end_of_prefix("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(end_of_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end_of_prefix("\u{10ffff}"), None);
        assert_eq!(end_of_prefix(""), None);
    }
}
