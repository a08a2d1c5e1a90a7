//! Connections: their number, and their deadlines.
//!
//! Owns the tasks of all connections, and the lanes that share some of them.
//!
//! Invariants:
//! - At most [`Limits::connections_max`] connections are open, and at most half of the process's
//!   file descriptors, so that the store has enough; at most [`Limits::connections_per_peer_max`]
//!   are of one peer. An excess one gets a 503 and is closed.
//! - A peer with many connections has a bounded share of the runtime.
//! - A handshake of TLS that takes longer than a request's head may is given up.
//! - A connection whose request head arrives too slowly gets a 408 and is closed. An idle one is
//!   closed without a response: its client would take that for the answer to its next request.
//! - A request whose head cannot be read gets a problem, too, and its connection is closed.
//! - A connection whose peer leaves a response unread is closed.
//! - A body that arrives too slowly is an error of its reader.
//! - A connection that a handler upgrades stays one of these until its stream is dropped. The
//!   deadlines of heads and bodies end with HTTP; that of unread bytes stays.
//!
//! Not here: hyper's responses to such heads ([`unread_heads`](super::unread_heads)), the deadlines
//! of bodies ([`body_deadline`](crate::requests::body_deadline)) and of unread responses
//! ([`write_deadline`](super::write_deadline)), the count of connections
//! ([`places`](super::places)), tasks that several of them share ([`lanes`](super::lanes)), their
//! [`encryption`](super::encryption), the streams of upgraded ones
//! ([`open_stream`](super::open_stream)), routing and responses.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::ConnectInfo,
    http::{Method, Request, Response, StatusCode},
    middleware::from_fn_with_state,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    select,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tower::ServiceExt as _;

use super::{
    encryption::{Encryption, ServedStream},
    host::{HostRule, check_host},
    lanes::{Lanes, OWN_TASKS_OF_PEER},
    open_stream::OpenStream,
    places::{ConnectionPlace, NoPlace, Places},
    turns::TurnsBody,
    unread_heads::{KeepBack, Progress},
    write_deadline::WriteDeadline,
};
use crate::{
    GestaState, Limits, Problem, requests::body_deadline::DeadlineBody, wire::problem::PROBLEM_JSON,
};

/// Least maximum of a head that hyper takes.
const HEAD_BYTES_MIN: usize = 8 << 10;
/// Maximum number of excess connections that get a 503; further ones are closed without it.
const REFUSALS_MAX: usize = 32;
/// Maximum time to send a final response such as that 503.
const REFUSAL_WAIT_MAX: Duration = Duration::from_secs(1);
/// Maximum time for handlers of upgraded connections to drop them after they were cut.
const CUT_WAIT_MAX: Duration = Duration::from_secs(1);

/// The set of open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    router: Router,
    encryption: Encryption,
    limits: Limits,
    places: Places,
    refusal_permits: Arc<Semaphore>,
    /// Set by the first refusal and cleared at half load, so that each overload is logged once.
    is_full: bool,
    tasks: JoinSet<()>,
    /// The connections beyond their peer's first.
    lanes: Lanes,
    shutdown: watch::Sender<bool>,
    /// The end of upgraded connections, whose tasks are not among these.
    cut: watch::Sender<bool>,
}

impl Connections {
    pub(crate) fn new(
        router: Router,
        hosts: HostRule,
        encryption: Encryption,
        state: &GestaState,
    ) -> Self {
        let limits = state.request_limits();
        let head_bytes_max = limits.head_bytes_max.max(HEAD_BYTES_MIN);
        let limits = limits.head_bytes_max(head_bytes_max);
        Self {
            // Only here and not in `Api::router`: without a connection there is no `Host` to check.
            router: router.layer(from_fn_with_state(hosts, check_host)),
            encryption,
            limits,
            places: Places::new(limits),
            refusal_permits: Arc::new(Semaphore::new(REFUSALS_MAX)),
            is_full: false,
            tasks: JoinSet::new(),
            lanes: Lanes::default(),
            shutdown: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        }
    }

    /// Serves a connection, or refuses it if there are too many.
    pub(crate) fn accept(&mut self, stream: TcpStream) {
        // Events must not wait for each other. Without it the connection works, too.
        let _ = stream.set_nodelay(true);
        let peer = stream.peer_addr().ok();
        // A connection that has ended already has no address any more.
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let place = match self.places.take(address) {
            Ok(place) => place,
            Err(no_place) => return self.refuse(stream, no_place),
        };
        // Hysteresis: a load around the maximum would log each crossing.
        if self.is_full && self.places.are_half_free() {
            tracing::info!("accepting connections again");
            self.is_full = false;
        }
        let number = place.number();
        let connection = self.serve(stream, peer, place);
        if number <= OWN_TASKS_OF_PEER {
            self.tasks.spawn(connection);
        } else {
            self.lanes.add(connection, &mut self.tasks);
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: Option<SocketAddr>,
        place: ConnectionPlace,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (router, limits, encryption) =
            (self.router.clone(), self.limits, self.encryption.clone());
        let (mut shutdown, progress) = (self.shutdown.subscribe(), Progress::default());
        // The place is the stream's: up to its end it holds a file descriptor, also if a handler
        // has taken it over.
        let stream = OpenStream::new(stream, progress.clone(), self.cut.subscribe(), place);
        // Below the encryption, which has a buffer of its own.
        let stream = WriteDeadline::new(stream, limits.write_wait_max);
        let unread = progress.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            progress.begin();
            let request =
                request.map(|body| Body::new(DeadlineBody::new(body, limits.body_wait_max)));
            respond(router.clone(), from_peer(peer, request), progress.clone())
        });
        async move {
            let encrypted = select! {
                encrypted = shake_hands(&encryption, stream, limits.head_wait_max) => encrypted,
                () = shutdown_requested(&mut shutdown) => None,
            };
            let Some(stream) = encrypted else { return };
            let stream = TokioIo::new(KeepBack::new(stream, unread));
            let mut connection = http1::Builder::new()
                // hyper has no timer of its own and panics if a timeout is set without one.
                .timer(TokioTimer::new())
                // Runs from the end of the previous request, so it also closes idle connections.
                .header_read_timeout(limits.head_wait_max)
                // Bounds the memory of a connection.
                .max_buf_size(limits.head_bytes_max)
                .serve_connection(stream, service)
                .with_upgrades();
            // Serves one request after the other, until the connection ends or a shutdown begins.
            let result = select! {
                result = &mut connection => Some(result),
                () = shutdown_requested(&mut shutdown) => None,
            };
            let result = match result {
                Some(result) => result,
                None => {
                    // Finishes the running request, then closes. An idle connection closes at once.
                    Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "connection failed");
                // An upgraded connection has no error of HTTP.
                let Some(parts) = connection.into_parts() else { return };
                let http1::Parts { io, read_buf, .. } = parts;
                let (stream, kept_back) = io.into_inner().into_parts();
                // Only a client that has sent part of a head waits for a response.
                let waits = !read_buf.is_empty() && !is_stalled(&stream);
                let response = match kept_back {
                    Some(status) => Some(unread_head(status, &error, limits.head_bytes_max)),
                    None if error.is_timeout() && waits => Some(late_head(limits.head_wait_max)),
                    None => None,
                };
                if let Some(response) = response {
                    // Best effort: the connection closes anyway.
                    let _ = timeout(REFUSAL_WAIT_MAX, send_last(stream, response)).await;
                }
            }
        }
    }

    fn refuse(&mut self, stream: TcpStream, no_place: NoPlace) {
        if no_place == NoPlace::Full && !self.is_full {
            let max = self.places.max();
            tracing::warn!(max, "too many connections; refusing new ones");
            self.is_full = true;
        }
        // Sending refusals is limited, too: a flood must not cost a task per connection.
        let Ok(permit) = Arc::clone(&self.refusal_permits).try_acquire_owned() else { return };
        let refusal = refusal(&self.places, no_place);
        let encryption = self.encryption.clone();
        self.tasks.spawn(async move {
            let refused = async {
                let stream = encryption.shake_hands(stream).await?;
                send_last(stream, refusal).await
            };
            // Best effort: the connection closes anyway.
            let _ = timeout(REFUSAL_WAIT_MAX, refused).await;
            drop(permit);
        });
    }

    /// Waits for one task to end and frees it; pending while there are no tasks.
    pub(crate) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes idle connections and waits for running requests and upgraded connections, up to
    /// [`Limits::closing_max`].
    pub(crate) async fn shut_down(mut self) {
        // No connection follows, so that lanes end with their last one.
        self.lanes = Lanes::default();
        // Unlike `send`, this does not fail if there is no connection.
        self.shutdown.send_replace(true);
        let all = async {
            while self.tasks.join_next().await.is_some() {}
            // All places are free once all streams are dropped.
            self.places.all_free().await;
        };
        if timeout(self.limits.closing_max, all).await.is_ok() {
            return;
        }
        tracing::warn!("dropped connections that did not end before the shutdown deadline");
        self.tasks.abort_all();
        self.cut.send_replace(true);
        // Best effort: a handler that neither reads nor writes does not learn of it.
        let _ = timeout(CUT_WAIT_MAX, self.places.all_free()).await;
    }
}

/// Returns the stream that HTTP is spoken on, or `None` if a handshake fails or takes too long.
async fn shake_hands<S>(
    encryption: &Encryption,
    stream: S,
    wait_max: Duration,
) -> Option<ServedStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(wait_max, encryption.shake_hands(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake of TLS failed");
            None
        }
        Err(_) => {
            tracing::debug!("a handshake of TLS took too long");
            None
        }
    }
}

/// Answers a request, and marks the connection if the answer upgrades it.
async fn respond(
    router: Router,
    request: Request<Body>,
    progress: Progress,
) -> Result<Response<Body>, Infallible> {
    let is_tunnel = request.method() == Method::CONNECT;
    let response = router.oneshot(request).await?;
    let response = response.map(|body| progress.until_the_end_of(Body::new(TurnsBody::new(body))));
    let status = response.status();
    // hyper upgrades after these responses, and no others.
    if status == StatusCode::SWITCHING_PROTOCOLS || (is_tunnel && status.is_success()) {
        progress.upgrade();
    }
    Ok(response)
}

/// Adds the address of the connection's peer, by which a trusted proxy is known.
fn from_peer(peer: Option<SocketAddr>, mut request: Request<Body>) -> Request<Body> {
    if let Some(peer) = peer {
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    request
}

async fn shutdown_requested(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a shutdown, too.
    drop(shutdown.wait_for(|requested| *requested).await);
}

/// Returns whether the peer leaves bytes unread.
fn is_stalled<S>(stream: &ServedStream<WriteDeadline<S>>) -> bool {
    stream.transport().is_stalled()
}

/// Returns the response to an excess connection.
fn refusal(places: &Places, no_place: NoPlace) -> Bytes {
    let detail = match no_place {
        NoPlace::Full => {
            let max = places.max();
            format!("all {max} connections of this server are in use; retry in a second")
        }
        NoPlace::PeerFull => {
            let max = places.max_of_peer();
            format!("your address has {max} connections, the maximum here; close some of them")
        }
    };
    let problem = Problem::unavailable("too-many-connections", detail);
    last_response(&problem, "503 Service Unavailable\r\nretry-after: 1")
}

/// Returns the response to a slow request head (RFC 9110, section 15.5.9).
fn late_head(wait_max: Duration) -> Bytes {
    let seconds = wait_max.as_secs_f64();
    let detail = format!("the head of the request did not arrive within {seconds} s");
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "head-too-late", detail);
    last_response(&problem, "408 Request Timeout")
}

/// Returns the response to a head that hyper refused with this status.
fn unread_head(status: StatusCode, error: &hyper::Error, head_bytes_max: usize) -> Bytes {
    let (code, detail) = match status {
        StatusCode::URI_TOO_LONG => (
            "target-too-long",
            "the target of the request is too long; shorten its query".to_owned(),
        ),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "head-too-large",
            format!(
                "the head of the request has more than {head_bytes_max} bytes or too many fields; \
                 send fewer or shorter ones"
            ),
        ),
        _ => (
            "unreadable-head",
            format!("the head of the request is not one of HTTP/1.1: {error}; correct the request"),
        ),
    };
    let reason = status.canonical_reason().unwrap_or_default();
    last_response(&Problem::new(status, code, detail), &format!("{} {reason}", status.as_u16()))
}

/// Formats a response outside hyper, after which the connection is closed.
fn last_response(problem: &Problem, status: &str) -> Bytes {
    let body = problem.to_json().to_string();
    // Written by hand: hyper responds only to requests that it has read.
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    (head + &body).into()
}

async fn send_last<S>(mut stream: S, response: Bytes) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&response).await?;
    stream.shutdown().await?;
    // Closing with unread input sends a reset, which can discard the response at the client.
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
