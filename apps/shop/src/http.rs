//! The shop over HTTP: the table of all its routes.
//!
//! Owns: [`api`], and how the shop's values look in JSON. Not here: the routes of a
//! domain, which stand beside it; serving, which the binary does.

pub(crate) mod values;

use std::time::SystemTime;

use gesta_http::{Api, Cursor, Paged};
use jiff::Timestamp;

use crate::{accounts, catalogue, http::values::Time, orders, paging::Page, users};

/// Everything that the shop answers over HTTP.
#[must_use]
pub fn api() -> Api {
    Api::new("The shop", env!("CARGO_PKG_VERSION"))
        .operated_under("/v1")
        .with("users", users::routes())
        .with("catalogue", catalogue::routes())
        .with("orders", orders::routes())
        .with("accounts", accounts::routes())
}

/// When something happened: as it was said, or just now.
pub(crate) fn occurred_at(said: Option<Time>, now: SystemTime) -> Timestamp {
    let now = || Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    said.map_or_else(now, |time| time.0)
}

/// A page of a list as it is answered: its next place becomes a cursor.
pub(crate) fn paged<T>(list: &str, page: Page<T>) -> Paged<T> {
    let next = page.next.map(|place| Cursor::new(list, &place));
    Paged { items: page.items, next }
}
