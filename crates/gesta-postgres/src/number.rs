//! Numbers of the contract as numbers of the database.
//!
//! The contract counts in `u64`, the database in `bigint`. Stored numbers are never negative, and a
//! number beyond `bigint` is beyond every stored one.

/// Returns the number for the database. One that does not fit is greater than all that are stored.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a stored number. Negative values stand for "none" and become 0.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Returns a number of rows or elements for the database.
pub(crate) fn count_to_sql(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns an index from 1, as arrays of the database count.
pub(crate) fn index_to_sql(index: usize) -> i32 {
    i32::try_from(index + 1).unwrap_or(i32::MAX)
}
