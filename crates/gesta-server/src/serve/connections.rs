//! Connections, which speak HTTP/1.1 or HTTP/2, with TLS if the server has a certificate.
//!
//! Owns: the tasks of all connections, and the settings of HTTP/2. Invariants: a connection that is
//! idle and whose peer is gone is closed by pings; a handshake has a time limit; each request has
//! the other end of its connection with it.

use std::{net::IpAddr, pin::pin, time::Duration};

use axum::{Router, http::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    select,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt as _;

use crate::{
    access::{Peer, login_of_certificate},
    node::Node,
    tls::Tls,
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
/// Time for the head of an HTTP/1.1 request.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Time for a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// The set of open connections.
pub(super) struct Connections {
    router: Router,
    node: Node,
    acceptor: Option<TlsAcceptor>,
    tasks: JoinSet<()>,
}

impl Connections {
    pub(super) fn new(router: Router, node: Node, tls: Option<&Tls>) -> Self {
        let acceptor = tls.map(|tls| TlsAcceptor::from(tls.config()));
        Self { router, node, acceptor, tasks: JoinSet::new() }
    }

    pub(super) fn accept(&mut self, stream: TcpStream, address: IpAddr) {
        // Small messages must not wait for each other. Without it the connection works, too.
        let _ = stream.set_nodelay(true);
        let (router, node) = (self.router.clone(), self.node.clone());
        let acceptor = self.acceptor.clone();
        node.counters().connections.add(1);
        self.tasks.spawn(async move {
            let plain = Peer { address, certificate_login: None };
            match acceptor {
                None => serve(stream, router, plain, &node).await,
                Some(acceptor) => {
                    if let Some(stream) = shake_hands(&acceptor, stream, &node).await {
                        let peer = Peer { certificate_login: login(&stream), ..plain };
                        serve(stream, router, peer, &node).await;
                    }
                }
            }
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

/// Returns the encrypted stream, or `None` if the peer does not begin one in time.
async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    node: &Node,
) -> Option<TlsStream<TcpStream>> {
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
fn login(stream: &TlsStream<TcpStream>) -> Option<std::sync::Arc<str>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    login_of_certificate(certificate).map(Into::into)
}

async fn serve<Stream>(stream: Stream, router: Router, peer: Peer, node: &Node)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WAIT_MAX);
    let service = TowerToHyperService::new(router.map_request(move |request: Request<_>| {
        let mut request: Request<hyper::body::Incoming> = request;
        request.extensions_mut().insert(peer.clone());
        request
    }));
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = select! {
        ended = &mut connection => ended,
        () = node.stopped() => {
            // Running calls finish; the peer is told to send no more.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}
