//! The explorer page: a document, its variables and headers, and the answer.
//!
//! Invariant: the page loads nothing from other servers; its files are part of the program.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use gesta_http::Asset;

/// Restricts the page to this server.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'";

/// Shows the page.
pub(crate) async fn show_page() -> Response {
    static PAGE: LazyLock<Asset> = LazyLock::new(|| {
        Asset::new("text/html; charset=utf-8", include_str!("page/explorer.html"))
    });
    file(&PAGE)
}

/// Returns the style of the page.
pub(crate) async fn show_style() -> Response {
    static STYLE: LazyLock<Asset> =
        LazyLock::new(|| Asset::new("text/css; charset=utf-8", include_str!("page/explorer.css")));
    file(&STYLE)
}

/// Returns the script of the page.
pub(crate) async fn show_script() -> Response {
    static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
        Asset::new("text/javascript; charset=utf-8", include_str!("page/explorer.js"))
    });
    file(&SCRIPT)
}

fn file(asset: &Asset) -> Response {
    let policy = HeaderValue::from_static(POLICY);
    ([(header::CONTENT_SECURITY_POLICY, policy)], asset.clone()).into_response()
}
