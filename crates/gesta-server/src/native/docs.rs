//! The handlers of the OpenAPI document and of the page that shows it.
//!
//! Not here: how they are made ([`openapi`](super::openapi), [`docs_page`](super::docs_page)).

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use super::{native_call::NativeCall, problem::Problem};

/// The page has styles of its own and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

pub(super) async fn openapi(call: NativeCall) -> Result<Response, Problem> {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((headers, format!("{}\n", call.documents.openapi)).into_response())
}

pub(super) async fn page(call: NativeCall) -> Result<Response, Problem> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    Ok((headers, format!("{}\n", call.documents.page)).into_response())
}
