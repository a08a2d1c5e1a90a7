//! The shop's HTTP interface.
//!
//! Owns: [`api`], and the JSON form of the shop's values. Not here: the routes of a domain, which
//! are in that domain; the server, which is in the binary.

pub(crate) mod values;

use std::time::SystemTime;

use gesta_http::{Api, Cursor, PageLimit, Paged};
use jiff::Timestamp;

use crate::{
    accounts, catalogue,
    http::values::Time,
    orders,
    paging::{Page, PageSize},
    users,
};

/// Returns the HTTP interface of the shop.
#[must_use]
pub fn api() -> Api {
    Api::new("The shop", env!("CARGO_PKG_VERSION"))
        .operated_under("/v1")
        .with("users", users::routes())
        .with("catalogue", catalogue::routes())
        .with("orders", orders::routes())
        .with("accounts", accounts::routes())
}

/// Returns the given business time, or the current time.
pub(crate) fn occurred_at(said: Option<Time>, now: SystemTime) -> Timestamp {
    // A clock outside the years that the type can express has no better value.
    let now = || Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    said.map_or_else(now, |time| time.0)
}

/// Converts a page of rows to a response; its next key becomes a cursor.
pub(crate) fn paged<T>(list: &str, page: Page<T>) -> Paged<T> {
    // Opaque to clients, so the key behind it can change.
    let next = page.next.map(|place| Cursor::new(list, &place));
    Paged { items: page.items, next }
}

/// Returns the page size for the `limit` of a request.
pub(crate) fn page_size(limit: Option<PageLimit>) -> PageSize {
    PageSize::of(limit.unwrap_or_default().number().into())
}
