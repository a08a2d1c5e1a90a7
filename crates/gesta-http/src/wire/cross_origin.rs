//! The rule for web pages of other origins (Fetch standard, section 3.3).
//!
//! Not here: the headers that announce it ([`cors`](crate::requests::cors)), and the refusal of
//! changes ([`cross_site`](crate::requests::cross_site)).

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use super::{
    headers::value,
    origin::{Origin, Origins},
};

/// Response headers of this crate that pages may read, besides the safelisted ones.
const EXPOSED: &str = "ETag, Location, Link, Gesta-Position, Gesta-Recorded, X-Correlation-Id, \
                       Retry-After, WWW-Authenticate";
/// Time that browsers may cache a preflight response.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(600);

/// The web pages of other origins that may send requests and read the responses.
///
/// ```
/// use gesta_http::CrossOrigin;
///
/// let shop = CrossOrigin::from_origins(["https://shop.example".parse()?])
///     .expose(["x-total-count".parse()?])
///     .with_cookies();
/// # drop(shop);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CrossOrigin {
    origins: Origins,
    exposed: HeaderValue,
    allows_cookies: bool,
    preflight_age_max: Duration,
}

impl CrossOrigin {
    /// Allows pages of these origins. They read every header that this crate sets.
    #[must_use]
    pub fn from_origins(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self { origins: Origins::new(origins), ..Self::default() }
    }

    /// Adds response headers that pages may read, such as those of the application's own handlers.
    #[must_use]
    pub fn expose(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut exposed = self.exposed.to_str().unwrap_or_default().to_owned();
        for name in names {
            exposed.push_str(", ");
            exposed.push_str(name.as_str());
        }
        Self { exposed: value(&exposed), ..self }
    }

    /// Lets browsers send cookies and certificates with the requests of these pages. Pages of an
    /// origin that `*` alone allows get none: any site could act as its visitor otherwise.
    #[must_use]
    pub fn with_cookies(self) -> Self {
        Self { allows_cookies: true, ..self }
    }

    /// Sets the time for which browsers need not ask again; the default is ten minutes.
    #[must_use]
    pub fn preflight_age_max(self, age: Duration) -> Self {
        Self { preflight_age_max: age, ..self }
    }

    pub(crate) const fn origins(&self) -> &Origins {
        &self.origins
    }

    pub(crate) fn exposed(&self) -> HeaderValue {
        self.exposed.clone()
    }

    /// Returns whether cookies are allowed to the origin that a response names.
    pub(crate) fn allows_cookies_of(&self, named: &HeaderValue) -> bool {
        self.allows_cookies && named != "*"
    }

    pub(crate) fn preflight_age(&self) -> HeaderValue {
        HeaderValue::from(self.preflight_age_max.as_secs())
    }
}

/// No origin is allowed.
impl Default for CrossOrigin {
    fn default() -> Self {
        Self {
            origins: Origins::default(),
            exposed: HeaderValue::from_static(EXPOSED),
            allows_cookies: false,
            preflight_age_max: PREFLIGHT_AGE_MAX,
        }
    }
}
