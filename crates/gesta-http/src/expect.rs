//! The header `Expect` (RFC 9110, section 10.1.1).
//!
//! `100-continue` is answered by the connection, as soon as a handler reads the body; a request that
//! is refused before gets its problem at once. Every other expectation is refused with 417.

use axum::{
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::Problem;

/// Around all handlers: refuses what cannot be met.
pub(crate) async fn expectations(request: Request, next: Next) -> Response {
    let mut stated = request.headers().get_all(header::EXPECT).iter();
    let unmet = stated.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if unmet {
        let detail = "Expect: only 100-continue is understood";
        let status = StatusCode::EXPECTATION_FAILED;
        return Problem::new(status, "expectation-failed", detail).into_response();
    }
    next.run(request).await
}
