//! What all handlers share: the application, the limits, who asks, and whether it is closing.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::{extract::FromRequestParts, http::request::Parts};
use gesta::Gesta;
use tokio::sync::watch;

use crate::{
    Describe, Operation, Problem,
    cors::{Origin, Origins},
};

/// How much a request may ask for.
///
/// ```
/// use gesta_http::Limits;
///
/// assert_eq!(Limits::DEFAULT.body_bytes_max, 1 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body; more is answered with 413.
    pub body_bytes_max: usize,
    /// How long a query waits for its read model; longer is answered with 503.
    pub wait_max: Duration,
    /// How long requests may go on once serving is to end.
    pub closing_max: Duration,
    /// After how much silence a feed says that it is still there.
    pub keep_alive: Duration,
    /// Connections at the same time, and never more than half of the descriptors that the process may
    /// have. One more is answered with 503 and closed.
    pub connections_max: usize,
    /// How long a connection may take until it has sent the whole head of its next request, or stay
    /// idle; longer, and it is closed, after a 408 where part of a head has come.
    pub head_wait_max: Duration,
    /// How long the rest of a request's body may take; longer is answered with 408.
    pub body_wait_max: Duration,
    /// How long a connection may take nothing of what it is sent; longer, and it is closed.
    pub write_wait_max: Duration,
}

impl Limits {
    /// 1 MiB of body, 5 seconds for a read model, 10 seconds to close, 15 seconds of silence, 10,000
    /// connections, 20 seconds for a head, 30 seconds for a body, 2 minutes for what is sent.
    pub const DEFAULT: Self = Self {
        body_bytes_max: 1 << 20,
        wait_max: gesta::WAIT_MAX,
        closing_max: Duration::from_secs(10),
        keep_alive: Duration::from_secs(15),
        connections_max: 10_000,
        head_wait_max: Duration::from_secs(20),
        body_wait_max: Duration::from_secs(30),
        write_wait_max: Duration::from_secs(120),
    };
}

/// Tells who asks. A function of the request's head is one.
///
/// ```
/// use gesta_http::{ActorOf, Problem};
///
/// fn is_one(_: impl ActorOf) -> bool {
///     true
/// }
/// assert!(is_one(|_: &axum::http::request::Parts| Ok::<_, Problem>("the night shift".to_owned())));
/// ```
pub trait ActorOf: Send + Sync + 'static {
    /// Who asks.
    ///
    /// # Errors
    /// The [`Problem`] to answer with when nobody may ask like this.
    fn actor(&self, request: &Parts) -> Result<String, Problem>;
}

impl<F> ActorOf for F
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

/// What all handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    gesta: Gesta,
    actor_of: Arc<dyn ActorOf>,
    limits: Limits,
    origins: Origins,
    closing: Arc<watch::Sender<bool>>,
}

impl Edge {
    /// The edge of this application: whoever asks is `anonymous`.
    #[must_use]
    pub fn new(gesta: Gesta) -> Self {
        let closing = Arc::new(watch::Sender::new(false));
        let (actor_of, origins) = (Arc::new(anonymous), Origins::default());
        Self { gesta, actor_of, limits: Limits::DEFAULT, origins, closing }
    }

    /// Finds out who asks.
    #[must_use]
    pub fn actor(self, actor_of: impl ActorOf) -> Self {
        Self { actor_of: Arc::new(actor_of), ..self }
    }

    /// Other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Lets web pages of these origins send requests and read the answers. Without it, browsers let no page of another origin read anything.
    #[must_use]
    pub fn allow_origins(self, origins: impl IntoIterator<Item = Origin>) -> Self {
        Self { origins: Origins::new(origins), ..self }
    }

    /// The application.
    #[must_use]
    pub fn gesta(&self) -> &Gesta {
        &self.gesta
    }

    /// Ends every feed, and keeps new ones from beginning.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(crate) fn limits_of(&self) -> Limits {
        self.limits
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(crate) fn actor_of(&self, request: &Parts) -> Result<String, Problem> {
        self.actor_of.actor(request)
    }
}

/// A handler that needs nothing else takes the edge itself.
impl FromRequestParts<Self> for Edge {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, edge: &Self) -> Result<Self, Infallible> {
        Ok(edge.clone())
    }
}

impl Describe for Edge {
    fn describe(_: &mut Operation<'_>) {}
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("limits", &self.limits).finish_non_exhaustive()
    }
}
