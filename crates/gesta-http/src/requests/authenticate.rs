//! The principal of a request, found once for all handlers.
//!
//! Invariants: the principal in a request's extensions is one that was found here; wrong
//! credentials, and those of another tenant, refuse the request, whatever its route. Not here: the
//! rule of the route ([`guard`](super::guard)).

use axum::{
    extract::{Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{guard::check_tenant, socket_token::take_socket_token};
use crate::{GestaState, Principal, Problem, access::Permit};

/// Middleware that puts the principal into the request's extensions.
pub(crate) async fn authenticate(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Err(problem) = take_socket_token(&mut parts.headers) {
        return problem.into_response();
    }
    match state.identify(&mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}

impl GestaState {
    /// Finds the [`Principal`] of a request by its head, and puts it into the extensions, in place
    /// of one that is there. A request without credentials has none afterwards.
    ///
    /// [`HttpRules`](crate::HttpRules) does this for each request. A protocol whose credentials
    /// come later, such as in the first message of a WebSocket, adds their headers and calls it
    /// again. Such headers must be those of the client's own credentials alone: a
    /// [`TrustedProxy`](crate::TrustedProxy) believes what a header says.
    ///
    /// # Errors
    /// A [`Problem`] for wrong credentials, mostly a 401, and for those of another tenant. The
    /// request has no principal then.
    pub async fn identify(&self, request: &mut Parts) -> Result<(), Problem> {
        // A call from within the process has the extensions of its outer request.
        request.extensions.remove::<Principal>();
        request.extensions.remove::<Permit>();
        let Some(access) = self.access_in_force() else { return Ok(()) };
        if let Some(principal) = access.principal(request, self.gesta().clock().now()).await? {
            check_tenant(self, &principal)?;
            request.extensions.insert(principal);
        }
        Ok(())
    }
}
