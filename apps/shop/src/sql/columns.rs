//! Values of columns.
//!
//! Rows were written by this program, so an error means a changed rule or a damaged database.

use std::error::Error;

use gesta::{
    postgres::tokio_postgres::{self, types::Type},
    sqlite::rusqlite,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::{DatabaseError, Result};
use crate::money::Money;

/// A row of a result. Columns are counted from 0.
pub(crate) trait Row {
    /// Returns the integer in a column, or `None` for null.
    fn integer(&self, column: usize) -> Result<Option<i64>>;

    /// Returns the text in a column, or `None` for null.
    fn text(&self, column: usize) -> Result<Option<&str>>;
}

impl Row for rusqlite::Row<'_> {
    fn integer(&self, column: usize) -> Result<Option<i64>> {
        let value = self.get_ref(column).map_err(|error| unreadable(column, error))?;
        value.as_i64_or_null().map_err(|error| unreadable(column, error))
    }

    fn text(&self, column: usize) -> Result<Option<&str>> {
        let value = self.get_ref(column).map_err(|error| unreadable(column, error))?;
        value.as_str_or_null().map_err(|error| unreadable(column, error))
    }
}

impl Row for tokio_postgres::Row {
    fn integer(&self, column: usize) -> Result<Option<i64>> {
        let read = match self.columns().get(column).map(|column| column.type_()) {
            // A literal in the statement, such as `1`, has 32 bits.
            Some(&Type::INT4) => {
                self.try_get(column).map(|number: Option<i32>| number.map(i64::from))
            }
            _ => self.try_get(column),
        };
        read.map_err(|error| unreadable(column, error))
    }

    fn text(&self, column: usize) -> Result<Option<&str>> {
        self.try_get(column).map_err(|error| unreadable(column, error))
    }
}

/// A type that a column is read as.
pub(crate) trait Column: Sized {
    /// Reads a column; `None` for null.
    fn read(row: &dyn Row, column: usize) -> Result<Option<Self>>;
}

impl Column for i64 {
    fn read(row: &dyn Row, column: usize) -> Result<Option<Self>> {
        row.integer(column)
    }
}

impl Column for u64 {
    fn read(row: &dyn Row, column: usize) -> Result<Option<Self>> {
        let number = row.integer(column)?.map(Self::try_from).transpose();
        number.map_err(|error| unreadable(column, error))
    }
}

impl Column for bool {
    fn read(row: &dyn Row, column: usize) -> Result<Option<Self>> {
        Ok(row.integer(column)?.map(|number| number != 0))
    }
}

impl Column for String {
    fn read(row: &dyn Row, column: usize) -> Result<Option<Self>> {
        Ok(row.text(column)?.map(str::to_owned))
    }
}

impl dyn Row + '_ {
    /// Reads a column that is never null.
    pub(crate) fn get<T: Column>(&self, column: usize) -> Result<T> {
        self.optional(column)?.ok_or_else(|| unreadable(column, "is null"))
    }

    /// Reads a nullable column.
    pub(crate) fn optional<T: Column>(&self, column: usize) -> Result<Option<T>> {
        T::read(self, column)
    }
}

/// Reads a time from a column.
pub(crate) fn time(row: &dyn Row, column: usize) -> Result<Timestamp> {
    let micros = row.get(column)?;
    Timestamp::from_microsecond(micros).map_err(|error| unreadable(column, error))
}

/// Reads a nullable column of a time.
pub(crate) fn optional_time(row: &dyn Row, column: usize) -> Result<Option<Timestamp>> {
    row.integer(column)?.map(|_| time(row, column)).transpose()
}

/// Reads an amount from a column.
pub(crate) fn money(row: &dyn Row, column: usize) -> Result<Money> {
    // Not a number in the database: SQLite would store it as floating point.
    let text: String = row.get(column)?;
    text.parse().map_err(|error| unreadable(column, error))
}

/// Reads an id, or another type that is parsed from text, from a column.
pub(crate) fn parsed<T>(row: &dyn Row, column: usize) -> Result<T>
where
    T: TryFrom<String, Error: Error + Send + Sync + 'static>,
{
    T::try_from(row.get(column)?).map_err(|error| unreadable(column, error))
}

/// Reads a nullable column of a type that is parsed from text.
pub(crate) fn optional_parsed<T>(row: &dyn Row, column: usize) -> Result<Option<T>>
where
    T: TryFrom<String, Error: Error + Send + Sync + 'static>,
{
    let text: Option<String> = row.optional(column)?;
    text.map(T::try_from).transpose().map_err(|error| unreadable(column, error))
}

/// Reads a JSON column.
pub(crate) fn json<T: DeserializeOwned>(row: &dyn Row, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl Into<Box<dyn Error + Send + Sync>>) -> DatabaseError {
    let error = error.into();
    let reason = format!("column {column} of the result: {error}");
    DatabaseError::Rejected { reason, source: Some(error.into()) }
}
