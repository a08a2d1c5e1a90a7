//! A rejection without a code.

use gesta::prelude::*;

#[derive(Debug, Rejection)]
struct ShopClosed;
//~ ERROR missing the rejection's code: `#[rejection(code = "not-paid")]`

impl std::fmt::Display for ShopClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the shop is closed")
    }
}

impl std::error::Error for ShopClosed {}
