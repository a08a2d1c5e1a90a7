//! Origins of web pages that may read responses (RFC 6454).
//!
//! Owns: [`Origin`], and the set of allowed ones. Not here: the headers that announce them
//! ([`cors`](crate::requests::cors)).

use std::{fmt, str::FromStr, sync::Arc};

use axum::http::{HeaderMap, HeaderValue, header};

use super::host_name::without_port;

const ANY: HeaderValue = HeaderValue::from_static("*");

/// An origin whose web pages may send requests and read the responses; `*` is any origin.
///
/// ```
/// use gesta_http::Origin;
///
/// let shop: Origin = "https://shop.example".parse()?;
/// assert_eq!(shop.to_string(), "https://shop.example");
/// assert!("shop.example".parse::<Origin>().is_err());
/// assert!("https://shop.example/".parse::<Origin>().is_err());
/// # Ok::<(), gesta_http::ParseOriginError>(())
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
#[non_exhaustive]
pub struct ParseOriginError {
    /// The text that was parsed.
    pub text: String,
}

impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        let error = || ParseOriginError { text: text.to_owned() };
        // No path and no trailing slash: browsers send neither, and origins are compared as bytes.
        let is_origin = text == "*"
            || text.split_once("://").is_some_and(|(scheme, host)| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
                !scheme.is_empty() && !host.is_empty() && host.bytes().all(plain)
            });
        let value = HeaderValue::from_str(text).map_err(|_| error())?;
        if is_origin { Ok(Self(value)) } else { Err(error()) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Made from a text in visible ASCII.
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// The allowed origins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Arc<[HeaderValue]>);

impl Origins {
    pub(crate) fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().map(|origin| origin.0).collect())
    }

    /// Returns whether one of the origins is of a host; it has no port.
    pub(crate) fn has_host(&self, host: &str) -> bool {
        self.0.iter().any(|origin| {
            let authority = origin.to_str().ok().and_then(|text| text.split_once("://"));
            authority.is_some_and(|(_, of)| without_port(of).eq_ignore_ascii_case(host))
        })
    }

    /// Returns the value of `Access-Control-Allow-Origin`, or `None` if the origin is not allowed.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let mut all = self.0.iter();
        let found = all.find(|known| **known == ANY || *known == origin)?;
        // The response to one of several origins must name that one: the header allows no list.
        Some(if *found == ANY { ANY } else { origin.clone() })
    }
}
