//! Access: who calls, and what they may do.
//!
//! Owns: the principal of a request ([`Principal`]); the ways to find it ([`BearerTokens`],
//! [`ApiKeys`], [`TrustedProxy`], and hooks of the application: [`Authenticate`]); the table of
//! rules ([`AccessRules`]) with the rights in it ([`Right`]); the question of who owns a resource
//! ([`Ownership`]); limits of the rate of requests ([`RateLimit`]).
//!
//! Invariants:
//! - What no rule allows is refused. A rule that names an unknown operation, and an operation that
//!   no rule covers, are errors at the start.
//! - Credentials that are wrong refuse the request (401), whatever else it has, and also where none
//!   are needed.
//! - No secret is in a log, an error or a `Debug` form.
//! - The time is passed in.
//! - Keys in files are those of the files within a second.
//!
//! Not here: the middleware that asks ([`requests`](crate::requests)), the rights that commands
//! check themselves (`gesta::Authorize`), TLS, logins and sessions.

mod actor;
mod api_keys;
mod authenticate;
mod bearer;
mod key_files;
mod ownership;
mod proxy;
mod rate;
mod right;
mod rules;
#[cfg(feature = "jwks")]
mod web_keys;

use std::{fmt, sync::Arc, time::SystemTime};

use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use gesta::Gesta;

#[cfg(feature = "jwks")]
pub use self::web_keys::InvalidKeySetUrl;
pub(crate) use self::{
    actor::{ANONYMOUS, Permit},
    rules::Extent,
};
pub use self::{
    actor::{InvalidActor, Principal},
    api_keys::{ApiKeys, InvalidApiKeys, NewApiKey},
    authenticate::Authenticate,
    bearer::BearerTokens,
    key_files::{ApiKeyFile, TokenKeyFile, UnusableKeyFile},
    ownership::{OwnedRequest, Ownership},
    proxy::{AddressRange, InvalidProxyHeader, ParseAddressRangeError, TrustedProxy},
    rate::RateLimit,
    right::{ParseRightError, Right},
    rules::{AccessRole, AccessRules, InvalidRules},
};
use self::{authenticate::AnyAuthenticate, ownership::AnyOwnership, rate::Meter};
use crate::Problem;

/// The access to an application: the ways to find the principal of a request, and the rules.
///
/// ```
/// use gesta_http::{Access, AccessRole, AccessRules, ApiKeys, NewApiKey, Right};
///
/// let key = NewApiKey::random();
/// let keys = ApiKeys::parse(&key.line("ann", &["clerk"]))?;
/// let clerk = AccessRole::named("clerk").has([Right::Command, Right::Query]);
/// let access = Access::new(AccessRules::new([clerk])).by(keys);
/// assert!(!format!("{access:?}").contains(key.secret()));
/// # Ok::<(), gesta_http::InvalidApiKeys>(())
/// ```
///
/// [`GestaState::access`](crate::GestaState::access) puts it in force for every route.
#[derive(Clone)]
pub struct Access(Arc<AccessParts>);

#[derive(Clone)]
struct AccessParts {
    rules: AccessRules,
    authenticators: Vec<Arc<dyn AnyAuthenticate>>,
    ownership: Option<Arc<dyn AnyOwnership>>,
    meter: Option<Arc<Meter>>,
}

impl Access {
    /// Creates the access by these rules, without a way to find a principal.
    #[must_use]
    pub fn new(rules: AccessRules) -> Self {
        let authenticators = Vec::new();
        Self(Arc::new(AccessParts { rules, authenticators, ownership: None, meter: None }))
    }

    /// Adds a way to find the principal of a request. The ways are tried in the order in which they
    /// were added, and the first principal counts.
    #[must_use]
    pub fn by(self, authenticator: impl Authenticate) -> Self {
        self.with(|parts| parts.authenticators.push(Arc::new(authenticator)))
    }

    /// Sets the answer to the question of who owns a resource, for roles that may use an operation
    /// for their own only.
    #[must_use]
    pub fn ownership(self, ownership: impl Ownership) -> Self {
        self.with(|parts| parts.ownership = Some(Arc::new(ownership)))
    }

    /// Limits the rate of requests of each actor, and of each address without credentials. Each
    /// field of a GraphQL request counts as a request. Health and documentation are not limited.
    #[must_use]
    pub fn limit(self, limit: RateLimit) -> Self {
        self.with(|parts| parts.meter = Some(Arc::new(Meter::new(limit))))
    }

    fn with(self, change: impl FnOnce(&mut AccessParts)) -> Self {
        let mut parts = Arc::unwrap_or_clone(self.0);
        change(&mut parts);
        Self(Arc::new(parts))
    }

    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> &AccessRules {
        &self.0.rules
    }

    pub(crate) fn has_ownership(&self) -> bool {
        self.0.ownership.is_some()
    }

    /// Returns the principal of a request, or `None` if it has no credentials.
    pub(crate) async fn principal(
        &self,
        request: &Parts,
        now: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        for authenticator in &self.0.authenticators {
            if let Some(principal) = authenticator.authenticate_boxed(request, now).await? {
                return Ok(Some(principal));
            }
        }
        Ok(None)
    }

    /// Counts a request, and refuses it if there were too many.
    pub(crate) fn count(&self, subject: &str, now: SystemTime) -> Result<(), Problem> {
        self.0.meter.as_ref().map_or(Ok(()), |meter| meter.count(subject, now))
    }

    /// Returns whether a request concerns only what its actor owns.
    pub(crate) fn owns<'a>(
        &'a self,
        gesta: &'a Gesta,
        request: &'a OwnedRequest,
    ) -> BoxFuture<'a, Result<bool, Problem>> {
        match &self.0.ownership {
            Some(ownership) => ownership.owns_boxed(gesta, request),
            // Refused at the start, if the rules have such a role.
            None => Box::pin(std::future::ready(Ok(false))),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("rules", &self.0.rules)
            .field("authenticators", &self.0.authenticators.len())
            .finish_non_exhaustive()
    }
}
