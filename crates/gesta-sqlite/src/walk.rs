//! A walk over all rows of a read model: those by key, and those of its own tables.
//!
//! Rows become texts of JSON with the columns in the order of the table. Left out are the tables of
//! this crate, and what SQLite keeps for itself: its schema, and the parts of virtual tables.

use gesta_store::{DatabaseError, VisitRows, row_by_key};
use rusqlite::{Connection, Row, types::ValueRef};
use serde_json::{Map, Value};

use crate::{error::classify, query::query};

/// The tables of a read model, by name. `gesta_rows` comes apart, as the tables that it stands for.
const TABLES: &str = "
    select name from pragma_table_list
    where schema = 'main' and type in ('table', 'virtual')
        and name not like 'sqlite\\_%' escape '\\' and name not like 'gesta\\_%' escape '\\'
    order by name";

pub(crate) fn visit_rows(
    connection: &Connection,
    visitor: &mut impl VisitRows,
) -> Result<(), DatabaseError> {
    visit_rows_by_key(connection, visitor)?;
    for table in query(connection, TABLES, [], |row| row.get::<_, String>(0))? {
        visit_table(connection, &table, visitor)?;
    }
    Ok(())
}

fn visit_rows_by_key(
    connection: &Connection,
    visitor: &mut impl VisitRows,
) -> Result<(), DatabaseError> {
    let sql = "select name, key, value from gesta_rows order by name, key";
    let mut statement = connection.prepare_cached(sql).map_err(classify)?;
    let mut found = statement.query([]).map_err(classify)?;
    while let Some(row) = found.next().map_err(classify)? {
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let (table, key) = (text(0).map_err(classify)?, text(1).map_err(classify)?);
        visitor.visit(table, &row_by_key(key, text(2).map_err(classify)?));
    }
    Ok(())
}

fn visit_table(
    connection: &Connection,
    table: &str,
    visitor: &mut impl VisitRows,
) -> Result<(), DatabaseError> {
    let sql = format!("select * from \"{}\"", table.replace('"', "\"\""));
    let mut statement = connection.prepare(&sql).map_err(classify)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query([]).map_err(classify)?;
    while let Some(row) = found.next().map_err(classify)? {
        visitor.visit(table, &text_of(row, &columns).map_err(classify)?);
    }
    Ok(())
}

fn text_of(row: &Row<'_>, columns: &[String]) -> rusqlite::Result<String> {
    let mut object = Map::new();
    for (index, column) in columns.iter().enumerate() {
        object.insert(column.clone(), json(row.get_ref(index)?));
    }
    Ok(Value::Object(object).to_string())
}

/// Returns a stored value as JSON: a blob as its bytes in hexadecimal, and a number that JSON lacks
/// as its name.
fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) if number.is_finite() => number.into(),
        ValueRef::Real(number) => number.to_string().into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{digits}'").into()
        }
    }
}
