//! Cross-origin resource sharing (Fetch standard, section 3.3).
//!
//! Invariant: without configured origins no response has a CORS header, so browsers deny access to
//! pages of other origins.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{CrossOrigin, GestaState};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// Middleware that answers preflight requests and adds CORS headers to responses.
pub(crate) async fn cross_origin(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = state.origins().allowed(request.headers()) else {
        // Served like any other request: the browser withholds the response from the page, and
        // other clients send no `Origin`.
        return next.run(request).await;
    };
    let requested = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = request.method() == Method::OPTIONS && requested.is_some();
    let mut response = if is_preflight {
        // Answered here: routes have no OPTIONS handlers, and a preflight carries no credentials
        // that could name an actor.
        preflight(request.headers(), state.cross_origin_rule())
    } else {
        let mut response = next.run(request).await;
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, state.cross_origin_rule().exposed());
        response
    };
    if state.cross_origin_rule().allows_cookies_of(&origin) {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    }
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    // The response depends on the origin, so caches must store one per origin.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// Answers a preflight request. Every header is allowed: an application may have its own.
fn preflight(requested: &HeaderMap, rule: &CrossOrigin) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value| drop(headers.insert(name, value));
    put(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    put(header::ACCESS_CONTROL_MAX_AGE, rule.preflight_age());
    // Repeated instead of `*`, which would not cover `Authorization`.
    if let Some(wanted) = requested.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        put(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}
