//! Authorization of commands.
//!
//! Owns: the authorization check. Not here: authentication, which the edge performs. A check that
//! awaits something is a layer ([`Builder::layer`](crate::Builder::layer)).

use std::{fmt, sync::Arc};

use super::{
    CommandRequest,
    step::{InnerPipeline, PipelineStep},
};
use crate::{CommandError, Receipt, Unauthorized};

/// An authorization check. Implemented for functions of the request.
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
    /// Allows or refuses a command.
    ///
    /// # Errors
    /// [`Unauthorized`] with the reason.
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

impl PipelineStep for Authorization {
    async fn pass(
        &self,
        request: CommandRequest,
        rest: &impl InnerPipeline,
    ) -> Result<Receipt, CommandError> {
        // Before the turn: a refused command must not make others wait.
        self.0.authorize(&request).map_err(CommandError::Unauthorized)?;
        rest.execute(request).await
    }
}
