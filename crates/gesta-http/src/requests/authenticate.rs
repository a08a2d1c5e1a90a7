//! The principal of a request, found once for all handlers.
//!
//! Invariants: the principal in a request's extensions is one that this middleware has found; wrong
//! credentials, and those of another tenant, refuse the request, whatever its route. Not here: the
//! rule of the route ([`guard`](super::guard)).

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::guard::check_tenant;
use crate::{GestaState, Principal, access::Permit};

/// Middleware that puts the principal into the request's extensions.
pub(crate) async fn authenticate(
    State(state): State<GestaState>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    // A call from within the process has the extensions of its outer request.
    parts.extensions.remove::<Principal>();
    parts.extensions.remove::<Permit>();
    if let Some(access) = state.access_in_force() {
        match access.principal(&parts, state.gesta().clock().now()).await {
            Ok(Some(principal)) => match check_tenant(&state, &principal) {
                Ok(()) => drop(parts.extensions.insert(principal)),
                Err(problem) => return problem.into_response(),
            },
            Ok(None) => {}
            Err(problem) => return problem.into_response(),
        }
    }
    next.run(Request::from_parts(parts, body)).await
}
