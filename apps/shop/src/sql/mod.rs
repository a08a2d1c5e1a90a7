//! SQL of the read models, for the databases that have it: SQLite and PostgreSQL.
//!
//! Owns: [`SqlTx`] and [`SqlReader`], on which statements run; the forms of ids, money and times in
//! columns; the differences between the databases (`dialect`).
//!
//! Invariants: a statement stands once, with parameters written as `?1`. A column is an integer of
//! 64 bits or a text, and texts are compared byte by byte. Money is text with all its digits, a
//! time is a whole number of microseconds, so both are read back unchanged.

mod columns;
mod connections;
mod dialect;
mod values;

pub(crate) use columns::{Row, json, money, optional_parsed, optional_time, parsed, time};
pub use connections::{SqlReader, SqlTx};
pub(crate) use gesta::store::DatabaseError;
pub(crate) use values::{Value, micros, one_of, params, text};

/// The result of a statement or of reading a column.
pub(crate) type Result<T> = std::result::Result<T, DatabaseError>;
