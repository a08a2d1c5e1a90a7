//! The principal of a request, found once for all handlers, and looked for again while a feed or a
//! socket of the request is open.
//!
//! Invariants: the principal in a request's extensions is one that was found here; wrong
//! credentials, and those of another tenant, refuse the request, whatever its route; what stays
//! open after a request learns within [`CHECK_EVERY`] that its credentials do not count any more.
//! Not here: the rule of the route ([`guard`](super::guard)).

use std::{
    future::{Future, pending},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use hyper::upgrade::OnUpgrade;

use super::{
    guard::{check_tenant, refused_credentials},
    socket_token::take_socket_token,
};
use crate::{GestaState, Principal, Problem, access::Permit};

/// Interval between two checks of the credentials behind what stays open.
const CHECK_EVERY: Duration = Duration::from_secs(10);

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
    /// A [`Problem`] for wrong credentials, mostly a 401, and for those of another tenant. A 429 if
    /// the address has sent too many of them. The request has no principal then.
    pub async fn identify(&self, request: &mut Parts) -> Result<(), Problem> {
        // A call from within the process has the extensions of its outer request.
        request.extensions.remove::<Principal>();
        request.extensions.remove::<Permit>();
        let Some(access) = self.access_in_force() else { return Ok(()) };
        let now = self.gesta().clock().now();
        let found = access.principal(request, now).await.and_then(|found| {
            found.as_ref().map_or(Ok(()), |principal| check_tenant(self, principal))?;
            Ok(found)
        });
        match found {
            Ok(Some(principal)) => drop(request.extensions.insert(principal)),
            Ok(None) => {}
            Err(problem) => return Err(refused_credentials(access, request, (now, problem))),
        }
        Ok(())
    }

    /// Returns a future that is ready when the credentials of a request have ended, with the
    /// [`Problem`] to tell the client: at the time at which they expire, and within 10 seconds
    /// after they were withdrawn or got another actor, other roles or another tenant. For what
    /// stays open after a request, such as a feed. It is never ready for a request without
    /// credentials.
    ///
    /// The ways to find a principal are asked every 10 seconds of the application's clock, with the
    /// head of the request. A check that fails for another reason than the credentials, such as a
    /// database that cannot be reached, ends nothing.
    pub fn credentials_end(
        &self,
        request: &Parts,
    ) -> impl Future<Output = Problem> + Send + 'static + use<> {
        let principal = request.extensions.get::<Principal>().cloned();
        let standing = principal.zip(self.access_in_force().cloned());
        let standing = standing.map(|it| {
            let mut request = request.clone();
            // The head is kept; the connection must not be.
            request.extensions.remove::<OnUpgrade>();
            (it, request)
        });
        let clock = self.gesta().clock().clone();
        async move {
            let Some(((principal, access), request)) = standing else { return pending().await };
            let ended =
                || Problem::unauthenticated("the credentials have ended; connect with new ones");
            loop {
                let check = clock.now() + CHECK_EVERY;
                clock.sleep_until(principal.ends().map_or(check, |ends| ends.min(check))).await;
                let now = clock.now();
                if principal.ends().is_some_and(|ends| ends <= now) {
                    return ended();
                }
                match access.principal(&request, now).await {
                    Ok(Some(found)) if found.is_same_as(&principal) => {}
                    Ok(_) => return ended(),
                    Err(problem) if problem.status().is_client_error() => return ended(),
                    Err(problem) => {
                        tracing::warn!(
                            code = problem.code(),
                            "cannot check the credentials of an open feed or socket"
                        );
                    }
                }
            }
        }
    }
}
