//! Cross-origin requests (the Fetch standard, section 3.3): which web pages may read answers.
//!
//! Owns: [`Origin`]. Always holds: without configured origins no answer has a header of this
//! protocol, so browsers let no other page read anything.

use std::{str::FromStr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::GestaState;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
/// What pages may read of an answer, beside what they always may.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("ETag, Location, Gesta-Position, X-Correlation-Id, Retry-After");
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// The origin of web pages that may send requests and read the answers; `*` is every origin.
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

/// The text is no origin.
///
/// ```
/// use gesta_http::{ParseOriginError, Origin};
///
/// let none: ParseOriginError = "shop".parse::<Origin>().unwrap_err();
/// assert!(none.to_string().starts_with("shop is no origin"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is no origin, such as https://shop.example or http://localhost:5173, nor *")]
pub struct ParseOriginError {
    /// The text.
    pub text: String,
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let none = || ParseOriginError { text: text.to_owned() };
        let is_origin = text == "*"
            || text.split_once("://").is_some_and(|(scheme, host)| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
                !scheme.is_empty() && !host.is_empty() && host.bytes().all(plain)
            });
        let value = HeaderValue::from_str(text).map_err(|_| none())?;
        if is_origin { Ok(Self(value)) } else { Err(none()) }
    }
}

/// The origins whose pages may send requests and read the answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Arc<[HeaderValue]>);

impl Origins {
    pub(crate) fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().map(|origin| origin.0).collect())
    }

    /// The origin of a request, as it is to be named in the answer, if it is allowed.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let mut all = self.0.iter();
        let found = all.find(|known| **known == ANY || *known == origin)?;
        Some(if *found == ANY { ANY } else { origin.clone() })
    }
}

/// Around all handlers: answers preflight requests, and names what an allowed page may read.
pub(crate) async fn cross_origin(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = state.origins().allowed(request.headers()) else {
        return next.run(request).await;
    };
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = request.method() == Method::OPTIONS && asked.is_some();
    let mut response = if is_preflight {
        preflight(request.headers())
    } else {
        let mut response = next.run(request).await;
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        response
    };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    // Caches keep the answers to different origins apart.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// Every header may be sent, for an application may have some of its own.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let mut put = |name: HeaderName, value| drop(headers.insert(name, value));
    put(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    put(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        put(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}
