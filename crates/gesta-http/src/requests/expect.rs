//! The `Expect` header (RFC 9110, section 10.1.1).
//!
//! The connection answers `100-continue` when a handler reads the body; a request that is refused
//! earlier gets its problem at once. Any other expectation is refused with 417.

use axum::{
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::Problem;

/// Middleware that refuses unsupported expectations.
pub(crate) async fn expectations(request: Request, next: Next) -> Response {
    let mut stated = request.headers().get_all(header::EXPECT).iter();
    // Case-insensitive. No other expectation is defined.
    let unmet = stated.find(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if let Some(unmet) = unmet {
        let got = String::from_utf8_lossy(unmet.as_bytes());
        let detail = format!("`Expect` must be 100-continue or absent; got `{got}`");
        let status = StatusCode::EXPECTATION_FAILED;
        return Problem::new(status, "expectation-failed", detail).into_response();
    }
    next.run(request).await
}
