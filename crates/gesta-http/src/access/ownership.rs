//! The question of who owns what a request concerns.
//!
//! Invariant: an ownership that answers nothing for an operation refuses it.

use std::future::Future;

use futures_util::future::BoxFuture;
use gesta::Gesta;
use serde_json::Value;

use crate::Problem;

/// Tells whether a request concerns only what its actor owns.
///
/// Asked for requests of roles that may use an operation for their own only
/// ([`AccessRole::may_own`](crate::AccessRole::may_own)). It is the application's own, and may read
/// the store and the read models.
///
/// ```
/// use gesta::Gesta;
/// use gesta_http::{OwnedRequest, Ownership, Problem};
///
/// /// Readers see what is theirs by the path, and order only for themselves.
/// struct Readers;
///
/// impl Ownership for Readers {
///     async fn owns(&self, _: &Gesta, request: &OwnedRequest) -> Result<bool, Problem> {
///         Ok(match request.operation() {
///             "findReader" => request.path("reader") == Some(request.actor()),
///             "orderBook" => request.body_text("reader") == Some(request.actor()),
///             _ => false,
///         })
///     }
/// }
/// ```
pub trait Ownership: Send + Sync + 'static {
    /// Returns whether the actor owns everything that the request reads or changes. `false` for an
    /// operation that this does not know.
    ///
    /// # Errors
    /// The [`Problem`] to answer with if the owner cannot be found out.
    fn owns(
        &self,
        gesta: &Gesta,
        request: &OwnedRequest,
    ) -> impl Future<Output = Result<bool, Problem>> + Send;
}

/// The form of [`Ownership`] behind a pointer.
pub(super) trait AnyOwnership: Send + Sync {
    fn owns_boxed<'a>(
        &'a self,
        gesta: &'a Gesta,
        request: &'a OwnedRequest,
    ) -> BoxFuture<'a, Result<bool, Problem>>;
}

impl<O: Ownership> AnyOwnership for O {
    fn owns_boxed<'a>(
        &'a self,
        gesta: &'a Gesta,
        request: &'a OwnedRequest,
    ) -> BoxFuture<'a, Result<bool, Problem>> {
        Box::pin(self.owns(gesta, request))
    }
}

/// The parts of a request by which its owner is found.
#[derive(Clone, Debug)]
pub struct OwnedRequest {
    pub(crate) actor: String,
    pub(crate) operation: String,
    pub(crate) path: Vec<(String, String)>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Option<Value>,
}

impl OwnedRequest {
    /// Returns the actor.
    #[must_use]
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// Returns the id of the operation, such as `findOrder`.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Returns a parameter of the path, decoded.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&str> {
        only(&self.path, name)
    }

    /// Returns a parameter of the query string, decoded. `None` if it is given more than once.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        only(&self.query, name)
    }

    /// Returns the body, if the request has one.
    #[must_use]
    pub fn body(&self) -> Option<&Value> {
        self.body.as_ref()
    }

    /// Returns a member of the body that is a text.
    #[must_use]
    pub fn body_text(&self, member: &str) -> Option<&str> {
        self.body.as_ref()?.get(member)?.as_str()
    }
}

fn only<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let mut values = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}
