//! Column types of the read models. The only module that names the database.
//!
//! Owns: the forms of ids, money and times in columns. Invariant: money is text with all its
//! digits, a time is a whole number of microseconds, so both are read back unchanged.

use std::fmt::Display;

pub(crate) use gesta::sqlite::{
    Reader, Tx, params,
    rusqlite::{Result, Row, ToSql, params_from_iter, types::Type},
};
pub(crate) use gesta::store::DatabaseError;
use gesta::{StreamName, sqlite::rusqlite::Error};
use jiff::Timestamp;

use crate::money::Money;

/// Returns the id part of a stream's name, or `None` for another category.
pub(crate) fn id_of<'s>(stream: &'s StreamName, category: &str) -> Option<&'s str> {
    // The whole category must match: `order` is also a prefix of the category `orderNotes`.
    stream.as_str().strip_prefix(category)?.strip_prefix('-')
}

/// Converts an optional id or address to its column's form.
pub(crate) fn text(value: Option<&impl Display>) -> Option<String> {
    value.map(ToString::to_string)
}

/// Converts a time to its column's form.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// Reads a time from a column.
pub(crate) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?)
        .map_err(|error| conversion_error(column, Type::Integer, error))
}

/// Reads an amount from a column.
pub(crate) fn money(row: &Row<'_>, column: usize) -> Result<Money> {
    // Not a number in the database: SQLite would store it as floating point.
    let text: String = row.get(column)?;
    text.parse().map_err(|error| conversion_error(column, Type::Text, error))
}

/// Reads an id, or another type that is parsed from text, from a column.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: TryFrom<String, Error: std::error::Error + Send + Sync + 'static>,
{
    // Rows were written by this program, so an error means a changed rule or a damaged file.
    T::try_from(row.get(column)?).map_err(|error| conversion_error(column, Type::Text, error))
}

/// Reads a nullable column of a type that is parsed from text.
pub(crate) fn optional_parsed<T>(row: &Row<'_>, column: usize) -> Result<Option<T>>
where
    T: TryFrom<String, Error: std::error::Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.get(column)?;
    text.map(T::try_from).transpose().map_err(|error| conversion_error(column, Type::Text, error))
}

/// Reads a JSON column.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| conversion_error(column, Type::Text, error))
}

/// Reads a nullable column of a time.
pub(crate) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(column)?;
    micros.map(|_| time(row, column)).transpose()
}

fn conversion_error(
    column: usize,
    stored_as: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::FromSqlConversionFailure(column, stored_as, Box::new(error))
}
