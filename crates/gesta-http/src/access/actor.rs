//! The principal of a request: its actor and roles.
//!
//! Invariant: the name of an actor fits into metadata, a log line and a header, and is none of the
//! names that the framework gives its own parts.

use std::{collections::BTreeSet, fmt, time::SystemTime};

use gesta::TenantId;

/// The actor of requests without credentials.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// Maximum length of an actor's name, in bytes.
const ACTOR_BYTES_MAX: usize = 255;
/// Beginnings of the names by which process managers and reactors act.
const OF_PARTS: [&str; 2] = ["process:", "reactor:"];

/// The actor of a request, with the roles and the end of its credentials.
///
/// ```
/// use gesta_http::Principal;
///
/// let ann = Principal::new("ann", ["clerk"])?;
/// assert!(ann.has_role("clerk") && !ann.has_role("operator"));
/// assert!(Principal::new("process:fulfilment", ["clerk"]).is_err());
/// # Ok::<(), gesta_http::InvalidActor>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    actor: String,
    roles: BTreeSet<String>,
    tenant: Option<TenantId>,
    ends: Option<SystemTime>,
}

/// The error for a text that cannot be the name of an actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "the name of an actor must have 1 to {ACTOR_BYTES_MAX} bytes without control characters, be \
     other than `{ANONYMOUS}`, and begin with neither `process:` nor `reactor:`"
)]
pub struct InvalidActor;

impl Principal {
    /// Creates a principal whose credentials do not end.
    ///
    /// # Errors
    /// [`InvalidActor`] for a name that is empty, too long or the framework's own.
    pub fn new<R: Into<String>>(
        actor: impl Into<String>,
        roles: impl IntoIterator<Item = R>,
    ) -> Result<Self, InvalidActor> {
        let actor = actor.into();
        let is_short = (1..=ACTOR_BYTES_MAX).contains(&actor.len());
        let is_own = actor == ANONYMOUS || OF_PARTS.iter().any(|part| actor.starts_with(part));
        if !is_short || is_own || actor.chars().any(char::is_control) {
            return Err(InvalidActor);
        }
        let roles = roles.into_iter().map(Into::into).collect();
        Ok(Self { actor, roles, tenant: None, ends: None })
    }

    /// Sets the tenant. The application of any other tenant, and one without a tenant, refuses the
    /// principal.
    #[must_use]
    pub fn of_tenant(self, tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// Sets the time at which the credentials end. Feeds and sockets that are open then end, too.
    #[must_use]
    pub fn until(self, ends: SystemTime) -> Self {
        Self { ends: Some(ends), ..self }
    }

    /// Returns the name that events and the audit stream keep.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Returns the roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str)
    }

    /// Returns whether the principal has a role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// Returns the tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// Returns whether another principal may do the same as the same actor, for however long.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        (&self.actor, &self.roles, &self.tenant) == (&other.actor, &other.roles, &other.tenant)
    }

    /// Returns the time at which the credentials end.
    #[must_use]
    pub fn ends(&self) -> Option<SystemTime> {
        self.ends
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("actor", &self.actor)
            .field("roles", &self.roles)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// A request extension: the request has passed the rule of its route.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    pub(crate) actor: String,
    /// The streams of the framework are part of feeds.
    pub(crate) sees_internal: bool,
    /// Personal data are shown in what operators read.
    pub(crate) sees_personal: bool,
}
