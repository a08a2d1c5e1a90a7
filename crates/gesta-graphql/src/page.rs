//! The explorer page: a document, its variables and headers, and the answer.
//!
//! Invariant: the page loads nothing from other servers; its files are part of the program.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

/// Restricts the page to this server.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'";

/// Shows the page.
pub(crate) async fn show_page() -> Response {
    file("text/html; charset=utf-8", include_str!("page/explorer.html"))
}

/// Returns the style of the page.
pub(crate) async fn show_style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/explorer.css"))
}

/// Returns the script of the page.
pub(crate) async fn show_script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/explorer.js"))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, text).into_response()
}
