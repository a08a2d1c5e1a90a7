//! Cross-origin resource sharing (Fetch standard, section 3.3).
//!
//! Owns: [`Origin`]. Invariant: without configured origins no response has a CORS header, so
//! browsers deny access to pages of other origins.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::GestaState;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
/// Response headers that pages may read, in addition to the safelisted ones.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("ETag, Location, Gesta-Position, X-Correlation-Id, Retry-After");
/// Time that browsers may cache a preflight response, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// An origin whose web pages may send requests and read the responses; `*` is any origin.
///
/// ```
/// use gesta_http::Origin;
///
/// assert!("https://shop.example".parse::<Origin>().is_ok());
/// assert!("shop.example".parse::<Origin>().is_err());
/// assert!("https://shop.example/".parse::<Origin>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// A text that is not an origin.
///
/// ```
/// use gesta_http::{ParseOriginError, Origin};
///
/// let error: ParseOriginError = "shop".parse::<Origin>().unwrap_err();
/// assert!(error.to_string().starts_with("`shop` is not an origin"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an origin; expected one such as https://shop.example, or `*`")]
pub struct ParseOriginError {
    /// The text that was parsed.
    pub text: String,
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let error = || ParseOriginError { text: text.to_owned() };
        let is_origin = text == "*"
            || text.split_once("://").is_some_and(|(scheme, host)| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
                !scheme.is_empty() && !host.is_empty() && host.bytes().all(plain)
            });
        let value = HeaderValue::from_str(text).map_err(|_| error())?;
        if is_origin { Ok(Self(value)) } else { Err(error()) }
    }
}

/// The allowed origins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Arc<[HeaderValue]>);

impl Origins {
    pub(crate) fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().map(|origin| origin.0).collect())
    }

    /// Returns the value of `Access-Control-Allow-Origin`, or `None` if the origin is not allowed.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let mut all = self.0.iter();
        let found = all.find(|known| **known == ANY || *known == origin)?;
        Some(if *found == ANY { ANY } else { origin.clone() })
    }
}

/// Middleware that answers preflight requests and adds CORS headers to responses.
pub(crate) async fn cross_origin(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = state.origins().allowed(request.headers()) else {
        return next.run(request).await;
    };
    let requested = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = request.method() == Method::OPTIONS && requested.is_some();
    let mut response = if is_preflight {
        preflight(request.headers())
    } else {
        let mut response = next.run(request).await;
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        response
    };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    // The response depends on the origin, so caches must store one per origin.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// Answers a preflight request. Every header is allowed: an application may have its own.
fn preflight(requested: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value| drop(headers.insert(name, value));
    put(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    put(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Some(wanted) = requested.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        put(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}
