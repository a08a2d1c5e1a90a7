//! The server: accepts connections until it is asked to stop, then ends gracefully.
//!
//! Owns: [`Server`], the rule of where it may listen, and the end. Invariants:
//! - Without TLS and users, a server listens on loopback only.
//! - The end accepts no new calls, ends subscriptions at once, and lets other calls finish within
//!   [`CLOSING_MAX`].

mod connections;
mod router;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use gesta_store::{EventStore, Leases};
use tokio::{
    net::TcpListener,
    pin, select,
    time::{Instant, sleep},
};

use self::connections::Connections;
use crate::{groups::Groups, node::Node, projections::Projections, tenure::Tenancy};

/// Maximum time for running calls at the end.
const CLOSING_MAX: Duration = Duration::from_secs(10);
/// First pause after a failed `accept`; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Maximum pause, and so the maximum delay after the cause is gone.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Minimum interval between two log lines about failures of `accept`.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A store, served to KurrentDB clients without TLS and users.
///
/// ```
/// use std::sync::Arc;
///
/// use gesta_server::Server;
/// use gesta_store::memory::MemoryStore;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let server = Server::insecure(Arc::new(MemoryStore::new()));
/// let listener = Server::bind_loopback("127.0.0.1:0".parse()?).await?;
/// server.run(listener, std::future::ready(())).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    node: Node,
    groups: Groups,
    leases: Option<Arc<dyn Leases>>,
}

/// An address that a server may not listen on, or cannot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidListener {
    /// Other machines could reach the server, and it has neither TLS nor users yet.
    #[error(
        "{address} can be reached from other machines, and this server has neither TLS nor users; \
         listen on 127.0.0.1 or [::1]"
    )]
    Public {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refuses the address.
    #[error("cannot listen on {address}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// An error that ended the server early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener failed permanently.
    #[error("the listener failed and accepts no more connections")]
    Listener(#[from] io::Error),
}

impl Server {
    /// Creates a server in which every client may do everything.
    #[must_use]
    pub fn insecure(store: Arc<dyn EventStore>) -> Self {
        let node = Node::new(store);
        Self { groups: Groups::new(node.clone()), node, leases: None }
    }

    /// Says that other servers use the store, too. One of them at a time runs the consumer groups,
    /// under a lease; the others answer calls of groups with `UNAVAILABLE`.
    #[must_use]
    pub fn sharing(self, leases: Arc<dyn Leases>) -> Self {
        Self { leases: Some(leases), ..self }
    }

    /// Listens on an address of this machine that no other machine reaches. Port 0 takes a free
    /// one.
    ///
    /// # Errors
    ///
    /// [`InvalidListener`] if the address is public, or not to be had.
    pub async fn bind_loopback(address: SocketAddr) -> Result<TcpListener, InvalidListener> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(InvalidListener::Public { address });
        }
        TcpListener::bind(address)
            .await
            .map_err(|source| InvalidListener::Refused { address, source })
    }

    /// Serves until the future `until` completes, then ends gracefully: subscriptions end at once
    /// with `UNAVAILABLE`, and other calls have ten seconds to finish.
    ///
    /// Does not close the store.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the listener fails permanently.
    pub async fn run(
        self,
        listener: TcpListener,
        until: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let projections = Projections::new(self.node.clone());
        let groups = Tenancy::begin(&self.groups, self.leases.as_ref()).await;
        let at_work = Tenancy::begin(&projections, self.leases.as_ref()).await;
        projections.start();
        let router = router::router(&self.node, &self.groups, projections.clone());
        let mut connections = Connections::new(router, self.node.clone());
        let accepted = accept_until(&listener, &mut connections, until).await;
        drop(listener);
        self.node.stop();
        connections.shut_down(CLOSING_MAX).await;
        // The caller may close the store after the last checkpoints.
        groups.ended().await;
        at_work.ended().await;
        accepted
    }
}

async fn accept_until(
    listener: &TcpListener,
    connections: &mut Connections,
    until: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    pin!(until);
    let mut failures = Failures::default();
    loop {
        select! {
            () = &mut until => return Ok(()),
            () = connections.reap() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failures = Failures::default();
                    connections.accept(stream);
                }
                Err(error) => {
                    let pause = failures.pause(error)?;
                    select! {
                        () = &mut until => return Ok(()),
                        () = sleep(pause) => {}
                    }
                }
            },
        }
    }
}

/// Failures of `accept` in a row.
#[derive(Default)]
struct Failures {
    pause: Option<Duration>,
    logged: Option<Instant>,
}

impl Failures {
    /// Returns the time to wait after a failure, or the error if the listener is beyond repair.
    fn pause(&mut self, error: io::Error) -> Result<Duration, ServeError> {
        // Nothing of these can change for a listener that was bound.
        if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) {
            return Err(error.into());
        }
        let is_due = self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if is_due {
            tracing::warn!(%error, "cannot accept connections; retrying");
            self.logged = Some(Instant::now());
        }
        let pause = self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        Ok(pause)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("node", &self.node.id()).finish_non_exhaustive()
    }
}
