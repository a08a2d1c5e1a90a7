//! SQLite as the read models see it: the one place that names the database.
//!
//! Owns: how ids, money and times stand in columns. Always holds: money is a text with all its
//! digits, a time is a whole number of microseconds, so both come back as they went in.

use std::fmt::Display;

pub(crate) use gesta::sqlite::{
    Reader, Tx, params,
    rusqlite::{Result, Row, ToSql, params_from_iter, types::Type},
};
pub(crate) use gesta::store::DatabaseError;
use gesta::{StreamName, sqlite::rusqlite::Error};
use jiff::Timestamp;

use crate::money::Money;

/// The id of a stream, if it is of this category.
pub(crate) fn id_in<'s>(stream: &'s StreamName, category: &str) -> Option<&'s str> {
    stream.as_str().strip_prefix(category)?.strip_prefix('-')
}

/// The text of something, if there is something.
pub(crate) fn text(something: Option<&impl Display>) -> Option<String> {
    something.map(ToString::to_string)
}

/// A time as a column has it.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A time from its column.
pub(crate) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?)
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Integer, Box::new(error)))
}

/// Money from its column.
pub(crate) fn money(row: &Row<'_>, column: usize) -> Result<Money> {
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// An id, or whatever else is checked when it is made of a text, from its column.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: TryFrom<String, Error: std::error::Error + Send + Sync + 'static>,
{
    T::try_from(row.get(column)?)
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// The same where the column may be empty.
pub(crate) fn optional_parsed<T>(row: &Row<'_>, column: usize) -> Result<Option<T>>
where
    T: TryFrom<String, Error: std::error::Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.get(column)?;
    text.map(T::try_from)
        .transpose()
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// Whatever was written as JSON, from its column.
pub(crate) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// A time that may be missing, from its column.
pub(crate) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(column)?;
    micros.map(|_| time(row, column)).transpose()
}
