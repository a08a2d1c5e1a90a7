//! SQL of the read models, for every database that the shop keeps them in.
//!
//! Owns: [`ReadModels`], the database that the operator chose, with its [`Tx`] and [`Reader`]; the
//! forms of ids, money and times in columns; the differences between the databases (`dialect`).
//! The only module that names a database.
//!
//! Invariants: a statement stands once, with parameters written as `?1`. A column is an integer of
//! 64 bits or a text, and texts are compared byte by byte. Money is text with all its digits, a
//! time is a whole number of microseconds, so both are read back unchanged.

mod columns;
mod dialect;
mod read_models;
mod values;

pub(crate) use columns::{Row, json, money, optional_parsed, optional_time, parsed, time};
pub(crate) use gesta::store::DatabaseError;
pub use read_models::{ReadModels, Reader, Tx};
pub(crate) use values::{Value, micros, params, text};

use gesta::StreamName;

/// The result of a statement or of reading a column.
pub(crate) type Result<T> = std::result::Result<T, DatabaseError>;

/// Returns the id part of a stream's name, or `None` for another category.
pub(crate) fn id_of<'s>(stream: &'s StreamName, category: &str) -> Option<&'s str> {
    // The whole category must match: `order` is also a prefix of the category `orderNotes`.
    stream.as_str().strip_prefix(category)?.strip_prefix('-')
}
