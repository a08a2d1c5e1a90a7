//! The shop's HTTP interface.
//!
//! Owns: [`api`], and the JSON form of the shop's values. Not here: the routes of a domain, which
//! are in that domain; the server, which is in the binary.

pub(crate) mod values;

use gesta_http::Api;

use crate::{accounts, catalogue, orders, users};

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
