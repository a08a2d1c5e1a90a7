//! The rule of a route, checked before its handler runs.
//!
//! Owns: [`RouteAccess`]. Invariants: a request that passes has a [`Permit`], without which the
//! extractors refuse it; a request that is refused learns nothing about its parameters. Not here:
//! the rules ([`access`](crate::access)), the principal ([`authenticate`](super::authenticate)).

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tower::{Layer, Service, ServiceBuilder, util::BoxCloneSyncService};

use super::{
    cross_site::is_safe,
    extract::{decoded_body, path_parameters, query_pairs},
    personal::PersonalView,
};
use crate::{
    Access, GestaState, OwnedRequest, Principal, Problem, Right,
    access::{ANONYMOUS, Extent, Permit},
};

/// A tower layer that checks the rule of one route.
///
/// Every [`ApiRoute`](crate::ApiRoute) has it. A route of the application's own router that uses
/// the extractors of this crate takes it with `MethodRouter::layer`, inside
/// [`HttpRules`](crate::HttpRules):
///
/// ```
/// use axum::{Router, routing::post};
/// use gesta::Gesta;
/// use gesta_http::{Commands, GestaState, HttpRules, Right, RouteAccess};
///
/// async fn ring(commands: Commands) -> &'static str {
///     "ding"
/// }
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let state = GestaState::new(Gesta::at("memory:").open().await?);
/// let rule = RouteAccess::new(&state, "ringBell", Right::Command);
/// let router = Router::new().route("/bell", post(ring).layer(rule)).layer(HttpRules::new(&state));
/// # let router: Router = router.with_state(state);
/// # drop(router);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
///
/// Without an [`Access`] every request passes.
#[derive(Clone, Debug)]
pub struct RouteAccess {
    state: GestaState,
    operation: Arc<str>,
    right: Right,
    /// Query parameter that names an earlier time.
    moment: Option<&'static str>,
}

impl RouteAccess {
    /// Creates the layer of a route by the id and the kind of its operation.
    pub fn new(state: &GestaState, operation: &str, right: Right) -> Self {
        Self { state: state.clone(), operation: operation.into(), right, moment: None }
    }

    /// Sets the query parameter that needs [`Right::History`], too.
    pub(crate) fn with_moment(self, moment: Option<&'static str>) -> Self {
        Self { moment, ..self }
    }

    /// Returns whether the route is one of operators, whose personal data are masked.
    fn is_of_operators(&self) -> bool {
        matches!(self.right, Right::Inspect | Right::Status | Right::Operate | Right::Rebuild)
    }

    /// Returns the request with its permit.
    async fn admit(&self, request: Request) -> Result<Request, Problem> {
        let Some(access) = self.state.access_in_force() else { return Ok(request) };
        let (mut parts, mut body) = request.into_parts();
        let principal = parts.extensions.get::<Principal>().cloned();
        let principal = principal.as_ref();
        if self.right != Right::Open {
            if !was_counted(&parts) {
                access.count(&subject(&parts, principal), self.state.gesta().clock().now())?;
            }
            match principal {
                Some(principal) => check_tenant(&self.state, principal)?,
                // Nobody's tenant is known, so operations that are open to all are not here.
                None if self.state.gesta().tenant().is_some() => {
                    return Err(self.refusal(self.right, None));
                }
                None => {}
            }
            match access.rules().extent(&self.operation, self.right, principal) {
                Some(Extent::All) => {}
                Some(Extent::Own) => body = self.owned(access, &mut parts, body, principal).await?,
                None => return Err(self.refusal(self.right, principal)),
            }
            self.check_moment(access, &parts, principal)?;
        }
        parts.extensions.insert(Permit {
            actor: principal.map_or(ANONYMOUS, Principal::actor).to_owned(),
            sees_internal: access.rules().grants(Right::RawFeed, principal),
            sees_personal: access.rules().grants(Right::Personal, principal),
        });
        Ok(Request::from_parts(parts, body))
    }

    /// Refuses a query at an earlier time without the right to history.
    fn check_moment(
        &self,
        access: &Access,
        parts: &Parts,
        principal: Option<&Principal>,
    ) -> Result<(), Problem> {
        let Some(moment) = self.moment else { return Ok(()) };
        let is_asked = query_pairs(&parts.uri)?.iter().any(|(name, _)| name == moment);
        match is_asked && !access.rules().grants(Right::History, principal) {
            true => Err(self.refusal(Right::History, principal)),
            false => Ok(()),
        }
    }

    /// Refuses a request that concerns what its actor does not own. Returns its body, which is
    /// read and decoded for that.
    async fn owned(
        &self,
        access: &Access,
        parts: &mut Parts,
        body: Body,
        principal: Option<&Principal>,
    ) -> Result<Body, Problem> {
        let path = path_parameters(parts).await?;
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (json, body) = match is_safe(&parts.method) {
            true => (None, body),
            false => self.read_body(parts, body).await?,
        };
        let request = OwnedRequest {
            actor: principal.map_or(ANONYMOUS, Principal::actor).to_owned(),
            operation: self.operation.to_string(),
            path,
            query: query_pairs(&parts.uri)?,
            body: json,
        };
        match access.owns(self.state.gesta(), &request).await? {
            true => Ok(body),
            // The same for what is another one's and for what does not exist.
            false => {
                let detail =
                    format!("`{}` is allowed only for what the actor owns", self.operation);
                Err(forbidden(&detail, self.right))
            }
        }
    }

    /// Reads the body as JSON, and returns it for the handler, too.
    async fn read_body(
        &self,
        parts: &mut Parts,
        body: Body,
    ) -> Result<(Option<Value>, Body), Problem> {
        let request = Request::from_parts(parts.clone(), body);
        let bytes = decoded_body(request, &self.state).await?;
        // The handler gets the decoded bytes.
        parts.headers.remove(header::CONTENT_ENCODING);
        parts.headers.remove(header::TRANSFER_ENCODING);
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        }
        let json = match bytes.is_empty() {
            true => None,
            // The handler parses the same bytes by the same grammar, so nothing that is refused
            // here would have been accepted there.
            false => Some(serde_json::from_slice(&bytes).map_err(|error| {
                Problem::invalid("body", format!("is not valid JSON: {error}"))
            })?),
        };
        Ok((json, Body::from(bytes)))
    }

    /// Returns the refusal of a principal without a right: 401 without credentials, else 403.
    fn refusal(&self, right: Right, principal: Option<&Principal>) -> Problem {
        let operation = &self.operation;
        match principal {
            None => Problem::unauthenticated(format!(
                "`{operation}` needs credentials: a bearer token or an API key"
            )),
            Some(_) => forbidden(
                &format!("`{operation}` needs the right `{right}`, which no role of the actor has"),
                right,
            ),
        }
    }
}

fn forbidden(detail: &str, right: Right) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).missing_right(right.as_str())
}

/// Refuses a principal of another tenant than that of the application.
///
/// # Errors
/// A 403, the same for tenants that exist and for others.
pub(crate) fn check_tenant(state: &GestaState, principal: &Principal) -> Result<(), Problem> {
    match principal.tenant() == state.gesta().tenant() {
        true => Ok(()),
        false => Err(no_tenant_here()),
    }
}

/// Returns the refusal of a principal whose tenant has no application here.
pub(crate) fn no_tenant_here() -> Problem {
    let detail = "the credentials are of no tenant that this server has";
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// A request extension: the request was counted, and its first call is not counted again.
#[derive(Clone, Debug)]
struct Counted(Arc<AtomicBool>);

fn was_counted(request: &Parts) -> bool {
    let counted = request.extensions.get::<Counted>();
    counted.is_some_and(|Counted(is_unused)| is_unused.swap(false, Ordering::Relaxed))
}

impl GestaState {
    /// Counts a request against the limit of its actor or address
    /// ([`Access::limit`](crate::Access::limit)). For an endpoint that makes any number of calls
    /// with the extensions of the request: each is counted, but for the first one.
    ///
    /// # Errors
    /// A [`Problem`] (429) if there were too many requests.
    pub fn count_request(&self, request: &mut Parts) -> Result<(), Problem> {
        let Some(access) = self.access_in_force() else { return Ok(()) };
        let subject = subject(request, request.extensions.get());
        access.count(&subject, self.gesta().clock().now())?;
        request.extensions.insert(Counted(Arc::new(AtomicBool::new(true))));
        Ok(())
    }
}

/// Returns the refusal of credentials, or of their address if it has sent too many.
pub(crate) fn refused_credentials(
    access: &Access,
    request: &Parts,
    (now, problem): (SystemTime, Problem),
) -> Problem {
    // A failure of the server is not the client's.
    let is_counted = problem.status().is_client_error();
    let counted = if is_counted { access.count(&subject(request, None), now) } else { Ok(()) };
    counted.err().unwrap_or(problem)
}

/// Returns whose requests are counted: the actor, or the address of a request without credentials.
fn subject(parts: &Parts, principal: Option<&Principal>) -> String {
    let peer = || {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // No name of an actor begins like this.
        peer.map_or("\0".to_owned(), |ConnectInfo(peer)| format!("\0{}", peer.ip().to_canonical()))
    };
    let actor = |principal: &Principal| match principal.tenant() {
        // Actors of two tenants may have one name. An id has no control characters, nor has a name.
        Some(tenant) => format!("{tenant}\0{}", principal.actor()),
        None => principal.actor().to_owned(),
    };
    principal.map_or_else(peer, actor)
}

/// Middleware that checks the rule of a route.
pub(crate) async fn check_access(
    State(access): State<RouteAccess>,
    request: Request,
    next: Next,
) -> Response {
    let request = match access.admit(request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let (parts, body) = request.into_parts();
    let view = match access.is_of_operators() {
        true => PersonalView::of(&access.state, &parts),
        false => Ok(PersonalView::default()),
    };
    let view = match view {
        Ok(view) => view,
        Err(problem) => return problem.into_response(),
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    match response.extensions().get::<Problem>().cloned() {
        Some(quoting) if view.hides() => view.problem(quoting).into_response(),
        Some(_) | None => response,
    }
}

impl<S> Layer<S> for RouteAccess
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    type Service = BoxCloneSyncService<Request, Response, Infallible>;

    fn layer(&self, inner: S) -> Self::Service {
        let check = from_fn_with_state(self.clone(), check_access);
        BoxCloneSyncService::new(ServiceBuilder::new().layer(check).service(inner))
    }
}
