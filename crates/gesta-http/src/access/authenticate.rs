//! The seam for everything that finds the principal of a request.

use std::{future::Future, time::SystemTime};

use axum::http::request::Parts;
use futures_util::future::BoxFuture;

use crate::{Principal, Problem};

/// Finds the principal of a request by its head.
///
/// ```
/// use std::time::SystemTime;
/// use axum::http::request::Parts;
/// use gesta_http::{Authenticate, Principal, Problem};
///
/// /// Sessions that the application keeps.
/// struct Sessions;
///
/// impl Authenticate for Sessions {
///     async fn authenticate(
///         &self,
///         request: &Parts,
///         _now: SystemTime,
///     ) -> Result<Option<Principal>, Problem> {
///         let Some(cookie) = request.headers.get("cookie") else { return Ok(None) };
///         match cookie.as_bytes() {
///             b"session=7" => Ok(Principal::new("ann", ["clerk"]).ok()),
///             _ => Err(Problem::unauthenticated("the session has ended")),
///         }
///     }
/// }
/// ```
pub trait Authenticate: Send + Sync + 'static {
    /// Returns the principal, or `None` if the request has no credentials of this kind. The next
    /// authenticator is asked then.
    ///
    /// # Errors
    /// The [`Problem`] to answer with if the credentials are wrong or cannot be checked:
    /// [`Problem::unauthenticated`] for wrong ones.
    fn authenticate(
        &self,
        request: &Parts,
        now: SystemTime,
    ) -> impl Future<Output = Result<Option<Principal>, Problem>> + Send;
}

/// The form of [`Authenticate`] for a list of them.
pub(super) trait AnyAuthenticate: Send + Sync {
    fn authenticate_boxed<'a>(
        &'a self,
        request: &'a Parts,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Principal>, Problem>>;
}

impl<A: Authenticate> AnyAuthenticate for A {
    fn authenticate_boxed<'a>(
        &'a self,
        request: &'a Parts,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Principal>, Problem>> {
        Box::pin(self.authenticate(request, now))
    }
}

/// Returns the text of the `Authorization` header after the scheme `Bearer`.
///
/// # Errors
/// A 401 if the scheme is `Bearer` and the text is empty or has odd characters.
pub(super) fn bearer(request: &Parts) -> Result<Option<&str>, Problem> {
    let Some(value) = request.headers.get(axum::http::header::AUTHORIZATION) else {
        return Ok(None);
    };
    let malformed = || Problem::unauthenticated("`Authorization` must be `Bearer` and a token");
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // Other schemes may be those of other authenticators.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match token.trim() {
        "" => Err(malformed()),
        token => Ok(Some(token)),
    }
}
