//! The state behind all extractors: the application, its limits, the actor of a request, and
//! closing.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use gesta::Gesta;
use tokio::sync::watch;

use crate::{
    Access, Describe, Operation, Problem,
    access::Permit,
    counters::HttpCounters,
    wire::{
        cross_origin::CrossOrigin,
        host_name::{HostName, HostNames},
        origin::{Origin, Origins},
    },
};

/// Limits of requests and connections.
///
/// ```
/// use gesta_http::Limits;
///
/// let small = Limits::DEFAULT.body_bytes_max(1 << 10);
/// assert_eq!(small.body_bytes_max, 1 << 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a request body, in bytes, after decoding. A larger body is answered with
    /// 413.
    pub body_bytes_max: usize,
    /// Maximum time a query waits for its read model. A longer wait is answered with 503.
    pub wait_max: Duration,
    /// Maximum time that running requests may take after serving has been asked to stop.
    pub closing_max: Duration,
    /// Interval of silence after which an event feed sends a keep-alive comment, and interval of
    /// the pings of a WebSocket. A client that answers none of three, or takes no message for that
    /// time, is ended.
    pub keep_alive: Duration,
    /// Maximum number of concurrent connections, upgraded ones among them. Half of the process's
    /// file descriptors is an upper bound. An excess connection is answered with 503 and closed.
    pub connections_max: usize,
    /// Maximum number of concurrent connections of one peer: an address of IPv4, or a network of 64
    /// bits of IPv6. It is lowered with `connections_max` where file descriptors are few. An excess
    /// connection is answered with 503 and closed.
    pub connections_per_peer_max: usize,
    /// Maximum size of a request's head, and of the part of a body that is read ahead, in bytes. At
    /// least 8 KiB. A larger head is answered with 431, or 414 for its target. A head has at most
    /// 100 fields.
    pub head_bytes_max: usize,
    /// Maximum time until the whole head of the next request has arrived. An idle connection is
    /// then closed; one that has sent part of a head gets a 408 first.
    pub head_wait_max: Duration,
    /// Maximum time for the rest of a request's body. A slower body is answered with 408.
    pub body_wait_max: Duration,
    /// Maximum time a client may leave a response unread before its connection is closed.
    pub write_wait_max: Duration,
}

impl Limits {
    /// Default limits: bodies of 1 MiB, 5 s for a read model, 10 s to close, a keep-alive every
    /// 15 s, 10,000 connections and 5,000 of one peer, heads of 64 KiB, 20 s for a head, 30 s for a
    /// body, 2 min for an unread response.
    pub const DEFAULT: Self = Self {
        body_bytes_max: 1 << 20,
        wait_max: gesta::WAIT_MAX,
        closing_max: Duration::from_secs(10),
        keep_alive: Duration::from_secs(15),
        connections_max: 10_000,
        connections_per_peer_max: 5_000,
        head_bytes_max: 64 << 10,
        head_wait_max: Duration::from_secs(20),
        body_wait_max: Duration::from_secs(30),
        write_wait_max: Duration::from_secs(120),
    };

    /// Sets the maximum size of a request body, in bytes, after decoding.
    #[must_use]
    pub const fn body_bytes_max(self, bytes: usize) -> Self {
        Self { body_bytes_max: bytes, ..self }
    }

    /// Sets the maximum time a query waits for its read model.
    #[must_use]
    pub const fn wait_max(self, wait: Duration) -> Self {
        Self { wait_max: wait, ..self }
    }

    /// Sets the maximum time that running requests may take after serving has been asked to stop.
    #[must_use]
    pub const fn closing_max(self, time: Duration) -> Self {
        Self { closing_max: time, ..self }
    }

    /// Sets the interval of silence after which an event feed sends a keep-alive comment, and that
    /// of the pings of a WebSocket.
    #[must_use]
    pub const fn keep_alive(self, silence: Duration) -> Self {
        Self { keep_alive: silence, ..self }
    }

    /// Sets the maximum number of concurrent connections.
    #[must_use]
    pub const fn connections_max(self, connections: usize) -> Self {
        Self { connections_max: connections, ..self }
    }

    /// Sets the maximum number of concurrent connections of one peer.
    #[must_use]
    pub const fn connections_per_peer_max(self, connections: usize) -> Self {
        Self { connections_per_peer_max: connections, ..self }
    }

    /// Sets the maximum size of a request's head, in bytes.
    #[must_use]
    pub const fn head_bytes_max(self, bytes: usize) -> Self {
        Self { head_bytes_max: bytes, ..self }
    }

    /// Sets the maximum time until the whole head of the next request has arrived.
    #[must_use]
    pub const fn head_wait_max(self, wait: Duration) -> Self {
        Self { head_wait_max: wait, ..self }
    }

    /// Sets the maximum time for the rest of a request's body.
    #[must_use]
    pub const fn body_wait_max(self, wait: Duration) -> Self {
        Self { body_wait_max: wait, ..self }
    }

    /// Sets the maximum time a client may leave a response unread.
    #[must_use]
    pub const fn write_wait_max(self, wait: Duration) -> Self {
        Self { write_wait_max: wait, ..self }
    }
}

/// Extracts the actor from the head of a request.
///
/// Implemented for functions from [`Parts`] to `Result<String, Problem>`.
///
/// ```
/// use gesta_http::{ActorExtractor, Problem};
///
/// fn is_one(_: impl ActorExtractor) -> bool {
///     true
/// }
/// let night_shift = |_: &axum::http::request::Parts| Ok::<_, Problem>("night-shift".to_owned());
/// assert!(is_one(night_shift));
/// ```
pub trait ActorExtractor: Send + Sync + 'static {
    /// Returns the actor of a request.
    ///
    /// # Errors
    /// The [`Problem`] to answer with if the request is not authenticated.
    fn actor(&self, request: &Parts) -> Result<String, Problem>;
}

impl<F> ActorExtractor for F
where
    F: Fn(&Parts) -> Result<String, Problem> + Send + Sync + 'static,
{
    fn actor(&self, request: &Parts) -> Result<String, Problem> {
        self(request)
    }
}

fn anonymous(_: &Parts) -> Result<String, Problem> {
    Ok("anonymous".to_owned())
}

/// The state shared by all handlers of a router. Cheap to clone.
///
/// The extractors of this crate work in every router whose state is, or has, a `GestaState`:
///
/// ```
/// use axum::{Router, extract::{FromRef, State}, routing::get};
/// use gesta::Gesta;
/// use gesta_http::GestaState;
///
/// #[derive(Clone)]
/// struct Shop {
///     name: &'static str,
///     gesta: GestaState,
/// }
///
/// impl FromRef<Shop> for GestaState {
///     fn from_ref(shop: &Shop) -> Self {
///         shop.gesta.clone()
///     }
/// }
///
/// async fn head(gesta: GestaState, State(shop): State<Shop>) -> String {
///     let head = gesta.gesta().store().head().await.map(|head| head.position);
///     let head = head.map_or_else(|error| error.to_string(), |at| at.to_string());
///     format!("{}: {head}", shop.name)
/// }
///
/// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
/// let gesta = GestaState::new(Gesta::at("memory:").open().await?);
/// let shop = Shop { name: "tea", gesta };
/// let router: Router = Router::new().route("/head", get(head)).with_state(shop);
/// # drop(router);
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone)]
pub struct GestaState {
    gesta: Gesta,
    actor_extractor: Arc<dyn ActorExtractor>,
    access: Option<Access>,
    limits: Limits,
    cross_origin: CrossOrigin,
    hosts: HostNames,
    closing: Arc<watch::Sender<bool>>,
    http_counters: Arc<HttpCounters>,
}

impl GestaState {
    /// Creates the state of an application, with the default limits and `anonymous` as the actor
    /// of every request.
    #[must_use]
    pub fn new(gesta: Gesta) -> Self {
        Self {
            gesta,
            actor_extractor: Arc::new(anonymous),
            access: None,
            limits: Limits::DEFAULT,
            cross_origin: CrossOrigin::default(),
            hosts: HostNames::default(),
            closing: Arc::new(watch::Sender::new(false)),
            http_counters: Arc::default(),
        }
    }

    /// Sets the extractor of a request's actor.
    #[must_use]
    pub fn actor(self, actor_extractor: impl ActorExtractor) -> Self {
        Self { actor_extractor: Arc::new(actor_extractor), ..self }
    }

    /// Puts an access in force: every request needs a rule that allows it, and the actor is that of
    /// its credentials. The extractor of [`actor`](Self::actor) is not asked any more.
    ///
    /// [`Api::router`](crate::Api::router) panics if the rules do not fit the routes; see
    /// [`Api::check_access`](crate::Api::check_access).
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        Self { access: Some(access), ..self }
    }

    /// Closes this state together with the others that have this sender.
    pub(crate) fn closing_with(self, closing: &Arc<watch::Sender<bool>>) -> Self {
        Self { closing: Arc::clone(closing), ..self }
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Allows cross-origin requests from web pages of these origins.
    ///
    /// No origin is allowed by default: browsers then withhold responses from other sites' pages,
    /// and [`HttpRules`](crate::HttpRules) refuses their changes.
    #[must_use]
    pub fn allow_origins(self, origins: impl IntoIterator<Item = Origin>) -> Self {
        self.cross_origin(CrossOrigin::from_origins(origins))
    }

    /// Sets the rule for web pages of other origins, in place of
    /// [`allow_origins`](Self::allow_origins), with the headers that they read.
    #[must_use]
    pub fn cross_origin(self, rule: CrossOrigin) -> Self {
        Self { cross_origin: rule, ..self }
    }

    /// Allows hosts in the `Host` header of requests to a server that listens on loopback, such as
    /// the public name that a proxy on the same machine passes on.
    ///
    /// [`serve`](fn@crate::serve) refuses others there, except for `localhost`, loopback addresses
    /// and the hosts of allowed origins: a site could otherwise let its own name resolve to this
    /// machine, and its pages would be taken for the server's own (DNS rebinding).
    ///
    /// ```
    /// use gesta::Gesta;
    /// use gesta_http::GestaState;
    ///
    /// # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
    /// let state = GestaState::new(Gesta::at("memory:").open().await?);
    /// let state = state.allow_hosts(["shop.example".parse()?]);
    /// # drop(state);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).expect("a memory store opens");
    /// ```
    #[must_use]
    pub fn allow_hosts(self, hosts: impl IntoIterator<Item = HostName>) -> Self {
        Self { hosts: HostNames::new(hosts), ..self }
    }

    /// Returns the application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        &self.gesta
    }

    /// Ends all event feeds; feeds that are opened later end at once.
    pub fn close(&self) {
        // Unlike `send`, this also stores the value while no feed is open.
        self.closing.send_replace(true);
    }

    /// Waits until [`close`](Self::close) has been called.
    ///
    /// A response without an end, such as a feed of the application's own, ends then.
    pub async fn closed(&self) {
        let mut closing = self.closing();
        // The sender is in this state, so it is not gone.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    pub(crate) fn request_limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn origins(&self) -> &Origins {
        self.cross_origin.origins()
    }

    pub(crate) fn cross_origin_rule(&self) -> &CrossOrigin {
        &self.cross_origin
    }

    pub(crate) fn hosts(&self) -> &HostNames {
        &self.hosts
    }

    pub(crate) fn http_counters(&self) -> &Arc<HttpCounters> {
        &self.http_counters
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(crate) fn access_in_force(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    pub(crate) fn request_actor(&self, request: &Parts) -> Result<String, Problem> {
        match self.permit(request)? {
            Some(permit) => Ok(permit.actor.clone()),
            None => self.actor_extractor.actor(request),
        }
    }

    /// Returns the permit of a request, or `None` if no access is in force.
    ///
    /// # Errors
    /// A 403 for a request that no rule has allowed: its route is one of the application's own
    /// router, without [`RouteAccess`](crate::RouteAccess).
    pub(crate) fn permit<'r>(&self, request: &'r Parts) -> Result<Option<&'r Permit>, Problem> {
        if self.access.is_none() {
            return Ok(None);
        }
        let uncovered = || {
            let detail = "no rule covers this route; give it one with `RouteAccess`";
            Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
        };
        request.extensions.get().map(Some).ok_or_else(uncovered)
    }
}

/// Gives a handler access to the state without axum's `State` wrapper.
impl<S> FromRequestParts<S> for GestaState
where
    Self: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::from_ref(state))
    }
}

impl Describe for GestaState {
    fn describe(_: &mut Operation<'_>) {}
}

impl fmt::Debug for GestaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GestaState").field("limits", &self.limits).finish_non_exhaustive()
    }
}
