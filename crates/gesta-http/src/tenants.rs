//! An application for each tenant, behind one address.
//!
//! Owns: [`Tenants`], the choice of the application for a request.
//!
//! Invariants:
//! - The tenant of a request is that of its credentials. Nothing else in a request is looked at.
//! - A request reaches the application of its tenant, or none. That application looks at the
//!   credentials again, and refuses those of another tenant ([`requests`](crate::requests)), so a
//!   wrong choice here would answer nothing.
//! - A request without credentials reaches pages and documents that are the same for all tenants,
//!   the description of the program, and the health of all applications together, which names none
//!   of them.
//! - A WebSocket whose credentials come in its first message belongs to no application before, and
//!   to that of its tenant afterwards ([`LateCredentials`]).
//!
//! Not here: the separation of the tenants' data. Each application has a store, read models,
//! caches and counters of its own, and shares none of them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, request::Parts},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};
use gesta::{Severity, TenantId};
use serde_json::json;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::{
    Access, GestaState, Principal, Problem,
    built_in::console,
    requests::{
        correlation::correlate,
        cors::cross_origin,
        cross_site::is_safe,
        guard::{no_tenant_here, refused_credentials},
        socket_token::take_socket_token,
    },
};

/// Paths of documents that are the same for all tenants. The last part of one may be any.
const PUBLIC: [&str; 3] = ["/openapi.json", "/docs", "/docs/*"];

/// The applications of all tenants, behind one address and one access.
///
/// Each application is opened with its tenant ([`Builder::tenant`](gesta::Builder::tenant)) and has
/// a router of its own, so all of its routes, feeds and WebSockets are the tenant's.
///
/// ```
/// use gesta::Gesta;
/// use gesta_http::{
///     Access, AccessRole, AccessRules, Api, ApiKeys, GestaState, NewApiKey, Right, Tenants,
/// };
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let key = NewApiKey::random();
/// let line = key.line_of_tenant(&"acme".parse()?, "ann", &["clerk"]);
/// let clerk = AccessRole::named("clerk").has(Right::ALL);
/// let access = Access::new(AccessRules::new([clerk])).by(ApiKeys::parse(&line)?);
/// let mut tenants = Tenants::new(access);
/// for tenant in ["acme", "globex"] {
///     // In a program each has its own directory, or its own schema.
///     let gesta = Gesta::at("memory:").tenant(tenant.parse()?).open().await?;
///     let api = Api::new("Doors", "1.0").operated_under("/v1");
///     tenants = tenants.with(GestaState::new(gesta), |state| api.router(state))?;
/// }
/// let (router, state) = tenants.build()?;
/// // `serve(listener, router, state, until)` serves all of them.
/// # drop((router, state));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("memory stores open");
/// ```
pub struct Tenants {
    access: Access,
    closing: Arc<watch::Sender<bool>>,
    public: Vec<String>,
    /// Paths of WebSockets whose credentials may come in their first message.
    late: Vec<String>,
    /// The state that the server has: that of the application that was added first.
    first: Option<(TenantId, GestaState)>,
    applications: BTreeMap<TenantId, Application>,
}

#[derive(Clone)]
struct Application {
    state: GestaState,
    router: Router,
}

/// Applications that cannot be served as those of tenants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTenants {
    /// There is no application.
    #[error("there is no tenant; add at least one application")]
    None,
    /// An application was opened without a tenant. Open it with
    /// [`Builder::tenant`](gesta::Builder::tenant).
    #[error("an application has no tenant; open it with `Builder::tenant`")]
    WithoutTenant,
    /// Two applications have the same tenant.
    #[error("tenant `{tenant}` has two applications")]
    Repeated {
        /// The tenant.
        tenant: TenantId,
    },
}

impl Tenants {
    /// Creates the applications of no tenant yet, behind this access. Its ways to find a principal
    /// say the tenant, too: [`Principal::of_tenant`].
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self {
            access,
            closing: Arc::new(watch::Sender::new(false)),
            public: PUBLIC.map(str::to_owned).to_vec(),
            late: Vec::new(),
            first: None,
            applications: BTreeMap::new(),
        }
    }

    /// Adds the application of a tenant, with the router that is built for its state. The access is
    /// in force in that state, in place of any other.
    ///
    /// # Errors
    /// [`InvalidTenants`] for an application without a tenant, and for the second one of a tenant.
    pub fn with(
        mut self,
        state: GestaState,
        router: impl FnOnce(GestaState) -> Router,
    ) -> Result<Self, InvalidTenants> {
        let tenant = state.gesta().tenant().cloned().ok_or(InvalidTenants::WithoutTenant)?;
        let Entry::Vacant(place) = self.applications.entry(tenant.clone()) else {
            return Err(InvalidTenants::Repeated { tenant });
        };
        let state = state.access(self.access.clone()).closing_with(&self.closing);
        place.insert(Application { state: state.clone(), router: router(state.clone()) });
        self.first.get_or_insert((tenant, state));
        Ok(self)
    }

    /// Opens paths for requests without credentials, besides those of the OpenAPI document and its
    /// page: for pages that are the same for all tenants, such as that of GraphQL. The
    /// application that was added first answers reads of them. A path may end with `/*`, for one
    /// further part.
    #[must_use]
    pub fn public<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.public.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Opens paths of WebSockets, such as `/graphql/ws`, for handshakes without credentials, which
    /// come in the first message of the socket. The application that was added first opens the
    /// socket, and hands it over to that of the tenant by [`LateCredentials`].
    #[must_use]
    pub fn late_sockets<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.late.extend(paths.into_iter().map(Into::into));
        self
    }

    /// Returns the router of all applications, and the state to [`serve`](fn@crate::serve) it with:
    /// the limits, hosts and origins in it are those of the application that was added first. Its
    /// close ends the feeds of all.
    ///
    /// # Errors
    /// [`InvalidTenants::None`] without any application.
    pub fn build(self) -> Result<(Router, GestaState), InvalidTenants> {
        let (first, state) = self.first.ok_or(InvalidTenants::None)?;
        let applications: Arc<BTreeMap<_, _>> = Arc::new(self.applications);
        let own = Router::new()
            .route(LIVE, get(is_live))
            .route(READY, get(is_ready))
            .fallback(async || without_credentials())
            // Before the routes: refused credentials are refused everywhere.
            .layer(from_fn(refused))
            .layer(from_fn(correlate))
            .layer(from_fn_with_state(state.clone(), cross_origin))
            .with_state(Arc::clone(&applications));
        let edge = Edge {
            access: self.access,
            public: self.public.into(),
            late: self.late.into(),
            first,
            server: state.clone(),
            applications,
            own,
        };
        Ok((Router::new().fallback(answer).with_state(edge), state))
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants: Vec<_> = self.applications.keys().collect();
        f.debug_struct("Tenants").field("tenants", &tenants).finish_non_exhaustive()
    }
}

const LIVE: &str = "/health/live";
const READY: &str = "/health/ready";
/// The routes that this edge answers itself.
const HEALTH: [&str; 2] = [LIVE, READY];

/// Everything that the choice of an application needs.
#[derive(Clone)]
struct Edge {
    access: Access,
    public: Arc<[String]>,
    late: Arc<[String]>,
    first: TenantId,
    server: GestaState,
    applications: Arc<BTreeMap<TenantId, Application>>,
    /// The router of what no application answers.
    own: Router,
}

/// A request extension: the answer to credentials that reach no application.
#[derive(Clone)]
struct RefusedCredentials(Problem);

/// A request extension: the request opens a WebSocket whose credentials come in its first message,
/// so its tenant is not known yet. A handler that finds it answers nothing of its own application.
#[derive(Clone)]
pub struct LateCredentials(Edge);

impl LateCredentials {
    /// Sends a request with the credentials, once they are known, to the application of their
    /// tenant, and returns its answer: that application's handler of the same path hands over what
    /// the socket needs, as an extension of its response. A request without credentials is refused.
    pub async fn ask(&self, mut request: Request) -> Response {
        request.extensions_mut().remove::<Self>();
        request.extensions_mut().insert(HandOver(()));
        let Self(edge) = self;
        // Without paths, so that no request gets here again.
        let edge = Edge { late: Arc::default(), ..edge.clone() };
        answer(State(edge), request).await
    }
}

impl fmt::Debug for LateCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateCredentials").finish_non_exhaustive()
    }
}

/// A request extension: the request is not of a client, but of an open socket that gets the
/// application of its tenant ([`LateCredentials::ask`]).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandOver(());

impl Edge {
    /// Returns the router for a request with this principal.
    fn router_for(&self, principal: Option<&Principal>, request: &Request) -> Option<&Router> {
        let tenant = match principal {
            Some(principal) => principal.tenant()?,
            None if self.is_public(request.method(), request.uri(), request.headers()) => {
                &self.first
            }
            None if self.is_late(request.uri()) => &self.first,
            None => return Some(&self.own),
        };
        self.applications.get(tenant).map(|application| &application.router)
    }

    /// Returns whether a request may lack credentials.
    fn is_open(&self, request: &Parts) -> bool {
        HEALTH.contains(&request.uri.path())
            || self.is_late(&request.uri)
            || self.is_public(&request.method, &request.uri, &request.headers)
    }

    /// Returns whether a request without credentials opens a socket that gets them later.
    fn is_late(&self, uri: &Uri) -> bool {
        self.late.iter().any(|path| uri.path() == path)
    }

    fn is_public(&self, method: &Method, uri: &Uri, head: &HeaderMap) -> bool {
        let is_this = |public: &String| match public.strip_suffix("/*") {
            None => uri.path() == public,
            Some(folder) => {
                let part = uri.path().strip_prefix(folder).and_then(|it| it.strip_prefix('/'));
                part.is_some_and(|part| !part.is_empty() && !part.contains('/'))
            }
        };
        is_safe(method) && (self.public.iter().any(is_this) || console::is_public(uri, head))
    }
}

/// Answers a request by the application of its tenant.
async fn answer(State(edge): State<Edge>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let now = edge.server.gesta().clock().now();
    let found = match take_socket_token(&mut parts.headers) {
        Ok(()) => edge.access.principal(&parts, now).await,
        Err(problem) => Err(problem),
    };
    let found = match found {
        // The own routes of this edge, such as health, are open to all.
        Ok(None) if !edge.is_open(&parts) => Err(without_credentials()),
        found => found,
    };
    let counted = |problem| refused_credentials(&edge.access, &parts, (now, problem));
    let found = found.map_err(counted);
    let mut request = Request::from_parts(parts, body);
    if matches!(found, Ok(None)) && edge.is_late(request.uri()) {
        request.extensions_mut().insert(LateCredentials(edge.clone()));
    }
    let router = match found {
        Ok(principal) => edge.router_for(principal.as_ref(), &request).ok_or_else(no_tenant_here),
        Err(problem) => Err(problem),
    };
    let router = router.unwrap_or_else(|problem| {
        request.extensions_mut().insert(RefusedCredentials(problem));
        &edge.own
    });
    match router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Middleware that answers credentials that reach no application.
async fn refused(mut request: Request, next: Next) -> Response {
    match request.extensions_mut().remove() {
        Some(RefusedCredentials(problem)) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn without_credentials() -> Problem {
    // The same for every path, so that nothing is said about routes.
    Problem::unauthenticated("this needs credentials: a bearer token or an API key")
}

async fn is_live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

/// Returns the health of all applications together. Each one's own causes are for its tenant.
async fn is_ready(
    State(applications): State<Arc<BTreeMap<TenantId, Application>>>,
) -> Result<Response, Problem> {
    let mut unready = 0;
    for application in applications.values() {
        let causes = application.state.gesta().health().await.causes;
        // Sorted by severity, the worst first.
        unready += usize::from(causes.first().is_some_and(|it| it.severity == Severity::Unready));
    }
    match unready {
        0 => Ok(Json(json!({ "status": "ready", "causes": [] })).into_response()),
        unready => {
            let all = applications.len();
            let detail = format!("{unready} of {all} applications cannot serve requests");
            Err(Problem::unavailable("tenants-unready", detail))
        }
    }
}
