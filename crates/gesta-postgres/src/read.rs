//! Reads, page by page.
//!
//! - [`event_rows`]: the statement that fetches a page, and its rows as events.
//! - [`source`]: the positions that a filter selects.
//! - [`all_pages`], [`stream_pages`], [`ordinal_pages`]: the three kinds of reads.
//! - [`directory`]: descriptions and listings of streams.
//! - [`paging`]: a read as a stream of pages.
//!
//! Each page is one statement, which continues after the last row of the page before. A page is
//! bounded in events and in bytes.

pub(crate) mod all_pages;
pub(crate) mod directory;
pub(crate) mod event_rows;
pub(crate) mod ordinal_pages;
pub(crate) mod paging;
pub(crate) mod source;
pub(crate) mod stream_pages;

use gesta_store::StoreError;
use tokio_postgres::{Row, types::FromSql};

use crate::errors::invalid_row;

/// Returns a column of a row.
///
/// # Errors
///
/// [`StoreError::Corrupt`] if the column has another type or an invalid value.
pub(crate) fn cell<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| invalid_row(format!("column {column}: {error}")))
}
