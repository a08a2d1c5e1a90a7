//! Connections, which speak HTTP/1.1 or HTTP/2, with TLS if the server has a certificate.
//!
//! Owns: the tasks of all connections, their number, and the settings of HTTP. Invariants:
//! - At most a maximum number of connections is served, and at most half of the process's file
//!   descriptors are connections, so that the store has enough. A few further ones reach the paths
//!   of operators and get a refusal for everything else; the rest is closed unheard.
//! - A connection that is idle and whose peer is gone is closed by pings; a handshake, the first
//!   bytes, a head of HTTP/1.1 and bytes that the peer does not take have time limits.
//! - A peer that resets streams faster than the server begins them is sent away.
//! - Each request has the other end of its connection with it, and the connection's share of the
//!   memory for answers. A connection that does not take its answers ends.
//!
//! Not here: the time limits of bytes ([`patience`](super::patience)).

use std::{future::Future, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, http::Request};
use gesta_tls::Tls;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    select,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use super::{
    answer_body::AnswerWatch, patience::Patient, prompt_acks::PromptAcks, request_body::RequestBody,
};
use crate::{
    access::{Peer, login_of_certificate},
    node::Node,
};

/// Maximum number of calls at once on one connection. Clients have one connection, and a
/// subscription is a call.
const STREAMS_MAX: u32 = 10_000;
/// Bytes that a client may send in one call before it waits for the server.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for all calls of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Time without a byte after which a connection is pinged.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Time to answer a ping.
const PONG_WAIT_MAX: Duration = Duration::from_secs(10);
/// Time for the head of an HTTP/1.1 request, from the end of the one before.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
/// Maximum size of the head of an HTTP/1.1 request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The same for a call of HTTP/2, as its standard counts it.
const FIELDS_BYTES_MAX: u32 = 16 << 10;
/// Streams that a peer has reset before the server has begun them; one more ends the connection
/// (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;

/// Protocols on one port, by ALPN.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Time for a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Number of connections beyond the maximum that are told so.
const REFUSALS_MAX: usize = 16;
/// Time until such a connection is closed.
const REFUSAL_MAX: Duration = Duration::from_secs(5);

/// The set of open connections.
pub(super) struct Connections {
    routers: Routers,
    node: Node,
    acceptor: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    /// Set by the first refusal and cleared at half load, so that each overload is logged once.
    is_full: bool,
    max: usize,
    tasks: JoinSet<()>,
}

/// The routes that connections reach.
pub(super) struct Routers {
    pub(super) all: Router,
    /// The same for connections that are too many.
    pub(super) full: Router,
}

impl Connections {
    pub(super) fn new(routers: Routers, node: Node, tls: Option<&Tls>, max: usize) -> Self {
        let acceptor = tls.map(|tls| TlsAcceptor::from(tls.server_config(&PROTOCOLS)));
        Self {
            routers,
            node,
            acceptor,
            places: Arc::new(Semaphore::new(max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            is_full: false,
            max,
            tasks: JoinSet::new(),
        }
    }

    /// Serves a connection, or refuses it if there are too many.
    pub(super) fn accept(&mut self, stream: TcpStream, address: IpAddr) {
        // Small messages must not wait for each other. Without it the connection works, too.
        let _ = stream.set_nodelay(true);
        let stream = PromptAcks(stream);
        let plain = Peer { address, certificate_login: None };
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            // Hysteresis: a load around the maximum would log each crossing.
            if self.is_full && self.places.available_permits() >= self.max / 2 {
                tracing::info!("accepting connections again");
                self.is_full = false;
            }
            let served = self.serve(stream, self.routers.all.clone(), plain, place);
            self.spawn(served);
            return;
        }
        if !self.is_full {
            tracing::warn!(max = self.max, "too many connections; refusing new ones");
            self.is_full = true;
        }
        self.node.counters().connections_refused.add(1);
        // A flood must not cost a task and a handshake for each connection.
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let refused = self.serve(stream, self.routers.full.clone(), plain, place);
        self.spawn(async { drop(timeout(REFUSAL_MAX, refused).await) });
    }

    /// Returns the life of a connection, whose stream has its place to the end.
    fn serve(
        &self,
        stream: PromptAcks,
        router: Router,
        plain: Peer,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (node, acceptor) = (self.node.clone(), self.acceptor.clone());
        async move {
            match acceptor {
                None => serve(Patient::new(stream).holding(place), router, plain, &node).await,
                Some(acceptor) => {
                    if let Some(stream) = shake_hands(&acceptor, stream, &node).await {
                        let peer = Peer { certificate_login: login(&stream), ..plain };
                        let stream = Patient::new(stream).holding(place);
                        serve(stream, router, peer, &node).await;
                    }
                }
            }
        }
    }

    fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        let node = self.node.clone();
        node.counters().connections.add(1);
        self.tasks.spawn(async move {
            connection.await;
            node.counters().connections_ended.add(1);
        });
    }

    /// Waits for one task to end and frees it; pending while there are no tasks.
    pub(super) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for running calls; the node was stopped before.
    pub(super) async fn shut_down(mut self, wait_max: Duration) {
        let all = async {
            while self.tasks.join_next().await.is_some() {}
            self.node.upgraded_ended().await;
        };
        if timeout(wait_max, all).await.is_err() {
            // Dropping the set aborts the tasks that are left.
            tracing::warn!("dropped calls that did not end before the shutdown deadline");
        }
    }
}

/// Returns the maximum number of connections: this one, or half of the process's limit of file
/// descriptors.
pub(super) fn at_most(connections_max: u32) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    // The other half is for the store, which refuses appends if it cannot open its next segment.
    let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    let max = usize::try_from(connections_max).unwrap_or(usize::MAX);
    if half < max {
        tracing::warn!(max = half, "the limit of open files lowers the maximum of connections");
    }
    max.min(half).clamp(1, Semaphore::MAX_PERMITS)
}

/// Returns the encrypted stream, or `None` if the peer does not begin one in time.
async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: PromptAcks,
    node: &Node,
) -> Option<TlsStream<PromptAcks>> {
    select! {
        accepted = timeout(HANDSHAKE_MAX, acceptor.accept(stream)) => match accepted {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::debug!("TLS handshake took too long");
                None
            }
        },
        () = node.stopped() => None,
    }
}

/// Returns the login of the client's certificate, if it has one.
fn login(stream: &TlsStream<PromptAcks>) -> Option<std::sync::Arc<str>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    login_of_certificate(certificate).map(Into::into)
}

async fn serve<Stream>(stream: Patient<Stream>, router: Router, peer: Peer, node: &Node)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(FIELDS_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WAIT_MAX);
    let incoming = Arc::clone(node.incoming());
    let (room, watch) = (node.outgoing().of_reader(), Arc::new(AnswerWatch::default()));
    let (room_of_reads, watching) = (room.clone(), Arc::clone(&watch));
    let routed = router.map_request(move |request: Request<_>| {
        let mut request: Request<hyper::body::Incoming> = request;
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(room_of_reads.clone());
        RequestBody::of(request, &incoming)
    });
    let service =
        TowerToHyperService::new(routed.map_response(move |response| watching.watch(response)));
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let served = async {
        select! {
            ended = &mut connection => return ended,
            () = node.stopped() => {}
        }
        // Running calls finish; the peer is told to send no more.
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    let ended = select! {
        ended = served => ended,
        () = watch.stalled(&room) => {
            tracing::debug!("closed a connection that does not take its answers");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}
