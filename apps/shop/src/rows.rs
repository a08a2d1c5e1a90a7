//! Rows by key: the read models in stores that have no SQL.
//!
//! Owns: [`RowsTx`] and [`RowsReader`], the connections to the chosen store; the order-preserving
//! parts of keys; lists that are too long for one row.
//!
//! Invariants: a key is made of parts that have no control character, so a list of a part's rows
//! has no others. Rows that are read newest first have keys in this order. A time has whole
//! microseconds, as the SQL form of a read model keeps it. Not here: the tables and keys of each
//! read model, which are in its domain.

mod connections;
mod keys;
mod parts;

pub use connections::{RowsReader, RowsTx};
pub(crate) use keys::{joined, newest_first, short, whole_micros};
pub(crate) use parts::{delete_parts, list_parts, put_parts};

use gesta::store::ListRows;

/// Returns the request for a page of the rows that have this prefix, after a key.
pub(crate) fn page<'a>(
    table: &'a str,
    prefix: &'a str,
    after: &'a str,
    limit: u32,
) -> ListRows<'a> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    ListRows::of(table).prefix(prefix).after(after).limit(limit)
}
