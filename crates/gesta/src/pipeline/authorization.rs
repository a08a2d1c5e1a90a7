//! Authorization: who may give which command.
//!
//! Owns: the hook for it. Not here: who somebody is; the edge has found that out. A check that has
//! to ask elsewhere is a layer of the application's ([`Builder::layer`](crate::Builder::layer)).

use std::{fmt, sync::Arc};

use tower::ServiceExt as _;

use super::{CommandRequest, Rest, Step};
use crate::{CommandError, Receipt, Unauthorized};

/// Decides who may give which command. A function of the request is one.
///
/// ```
/// use gesta::{Authorize, CommandRequest, Unauthorized};
///
/// fn named_callers_only(request: &CommandRequest) -> Result<(), Unauthorized> {
///     match request.context.actor {
///         Some(_) => Ok(()),
///         None => Err(Unauthorized::because("say who you are")),
///     }
/// }
///
/// fn is_a_check(_: impl Authorize) -> bool {
///     true
/// }
/// assert!(is_a_check(named_callers_only));
/// ```
pub trait Authorize: Send + Sync + 'static {
    /// Whether this may be done.
    ///
    /// # Errors
    /// [`Unauthorized`] with why not.
    fn authorize(&self, request: &CommandRequest) -> Result<(), Unauthorized>;
}

impl<F> Authorize for F
where
    F: Fn(&CommandRequest) -> Result<(), Unauthorized> + Send + Sync + 'static,
{
    fn authorize(&self, request: &CommandRequest) -> Result<(), Unauthorized> {
        self(request)
    }
}

impl fmt::Debug for dyn Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorize")
    }
}

pub(super) struct Authorization(pub(super) Arc<dyn Authorize>);

impl Step for Authorization {
    async fn pass(&self, request: CommandRequest, rest: Rest) -> Result<Receipt, CommandError> {
        self.0.authorize(&request).map_err(CommandError::Unauthorized)?;
        rest.oneshot(request).await
    }
}
