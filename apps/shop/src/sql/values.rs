//! Values of parameters.

use std::{borrow::Cow, error::Error, fmt::Display};

use bytes::BytesMut;
use gesta::{
    postgres::tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked},
    sqlite::rusqlite::{
        self,
        types::{ToSqlOutput, ValueRef},
    },
};
use jiff::Timestamp;

/// The value of a parameter. A truth value is 1 or 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'v> {
    Null,
    Integer(i64),
    Text(Cow<'v, str>),
}

/// Makes the parameters of a statement, `?1` first.
macro_rules! params {
    ($($value:expr),+ $(,)?) => {
        &[$($crate::sql::Value::from($value)),+]
    };
}
pub(crate) use params;

/// Returns the condition that a column has one of a number of values. Their parameters have the
/// numbers from `first` on. Without values it always holds.
pub(crate) fn one_of(column: &str, first: usize, values: usize) -> String {
    if values == 0 {
        return "1 = 1".to_owned();
    }
    let parameters = (first..first + values).map(|number| format!("?{number}"));
    format!("{column} in ({})", parameters.collect::<Vec<_>>().join(", "))
}

/// Converts an optional id or address to its column's form.
pub(crate) fn text(value: Option<&impl Display>) -> Option<String> {
    value.map(ToString::to_string)
}

/// Converts a time to its column's form.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).expect("positions and counts are below 2^63"))
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Self::Integer(i64::try_from(number).expect("no collection has 2^63 elements"))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Self::Integer(truth.into())
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            // The server derives the type of a parameter from its place in the statement.
            Self::Integer(number) if *wanted == Type::BOOL => (*number != 0).to_sql(wanted, out),
            Self::Integer(number) if *wanted == Type::INT4 => {
                i32::try_from(*number)?.to_sql(wanted, out)
            }
            Self::Integer(number) => number.to_sql(wanted, out),
            Self::Text(text) => text.to_sql(wanted, out),
        }
    }

    fn accepts(wanted: &Type) -> bool {
        [Type::BOOL, Type::INT4, Type::INT8, Type::TEXT].contains(wanted)
    }

    to_sql_checked!();
}
