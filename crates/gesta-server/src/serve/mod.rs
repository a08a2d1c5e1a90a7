//! The server: accepts connections until it is asked to stop, then ends gracefully.
//!
//! Owns: [`Server`], the rule of where it may listen, and the end. Invariants:
//! - Without TLS and users, a server listens on loopback only.
//! - The end accepts no new calls, ends subscriptions at once, and lets other calls finish within
//!   [`CLOSING_MAX`].
//! - The number of connections has a maximum, and `/metrics` says it.

mod access_check;
mod answer_body;
mod calls;
mod connections;
mod cross_site;
mod patience;
mod prompt_acks;
mod refusals;
mod request_body;
mod router;
mod security;

use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use gesta_store::{EventStore, Leases, StoreError};
use gesta_tls::Tls;
use tokio::{
    join,
    net::{TcpListener, TcpSocket},
    pin, select,
    time::{Instant, sleep},
};

use self::connections::{Connections, Routers};
pub use self::security::Security;
use crate::{
    access::{Access, FirstPasswords, Guard},
    address::ServerAddress,
    groups::Groups,
    labels::ServerLabels,
    members::Members,
    node::Node,
    projections::Projections,
    scavenges::Scavenger,
    tenure::{Tenancy, Tenant as _},
    upkeep::Upkeep,
};

/// Default maximum number of connections.
pub const CONNECTIONS_MAX: u32 = 10_000;
/// Connections that may wait to be accepted: those of all clients of a server that was restarted.
/// The system may have a lower limit.
const BACKLOG: u32 = 4_096;
/// Maximum time for running calls at the end.
const CLOSING_MAX: Duration = Duration::from_secs(10);
/// First pause after a failed `accept`; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Maximum pause, and so the maximum delay after the cause is gone.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Minimum interval between two log lines about failures of `accept`.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A store, served to KurrentDB clients: with TLS and users, or without both on loopback.
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
    tls: Option<Tls>,
    drain: Duration,
    connections_max: u32,
}

/// An address that a server may not listen on, or cannot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidListener {
    /// Other machines could reach the server, and it has neither TLS nor users.
    #[error(
        "{address} can be reached from other machines, and an insecure server has neither TLS nor \
         users; listen on 127.0.0.1 or [::1], or serve with a certificate"
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
    /// An insecure server was given a listener that other machines reach.
    #[error("the listener may not be used")]
    Public(#[from] InvalidListener),
}

impl Server {
    /// Creates a server in which every client may do everything.
    #[must_use]
    pub fn insecure(store: Arc<dyn EventStore>) -> Self {
        Self::of(Node::new(store, Access::Open), None)
    }

    /// Creates a server with TLS, in which every client has a user and each user their rights.
    ///
    /// The users are those in the store; see [`create_first_users`](Self::create_first_users).
    #[must_use]
    pub fn secure(store: Arc<dyn EventStore>, security: Security) -> Self {
        let Security { tls, tokens } = security;
        let guard = Guard::new(Arc::clone(&store), tokens);
        Self::of(Node::new(store, Access::Guarded(Arc::new(guard))), Some(tls))
    }

    fn of(node: Node, tls: Option<Tls>) -> Self {
        Self {
            groups: Groups::new(node.clone()),
            node,
            leases: None,
            tls,
            connections_max: CONNECTIONS_MAX,
            drain: Duration::ZERO,
        }
    }

    /// Says that other servers use the store, too. One of them at a time runs the consumer groups,
    /// under a lease; the others refuse calls of groups and name it, if it has an address.
    #[must_use]
    pub fn sharing(self, leases: Arc<dyn Leases>) -> Self {
        Self { leases: Some(leases), ..self }
    }

    /// Lets operators scavenge the store while it is served.
    #[must_use]
    pub fn scavenging(self, scavenger: Arc<dyn Scavenger>) -> Self {
        self.node.scavenges().enable(scavenger);
        self
    }

    /// Lets operators verify the store while it is served, and back it up.
    #[must_use]
    pub fn keeping(self, upkeep: Arc<dyn Upkeep>) -> Self {
        self.node.upkeep().enable(upkeep);
        self
    }

    /// Sets the address by which clients reach this server, so that the servers of a store name
    /// each other: in the list of members, and in the refusal of calls of groups.
    #[must_use]
    pub fn advertise(self, address: ServerAddress) -> Self {
        self.node.set_address(address);
        self
    }

    /// Sets the names by which people tell this server from others. The first ones stay.
    #[must_use]
    pub fn labelled(self, labels: ServerLabels) -> Self {
        self.node.set_labels(labels);
        self
    }

    /// Sets the time for which a server that was asked to stop still serves, while its readiness
    /// answers 503. A balancer that looks at the readiness sends new clients elsewhere by then.
    #[must_use]
    pub fn drain_for(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Serves at most this number of connections, at least one; the default is
    /// [`CONNECTIONS_MAX`]. Half of the process's limit of file descriptors is a maximum, too.
    ///
    /// A few further connections reach the paths of operators (`/health/…`, `/metrics`, `/stats`),
    /// and calls on them are answered with `UNAVAILABLE`.
    #[must_use]
    pub fn connections_max(self, connections: u32) -> Self {
        Self { connections_max: connections, ..self }
    }

    /// Sets the maximum size of the states of each transient projection, in bytes; the default is
    /// 256 MiB. A projection that exceeds it has failed, because its states are stored nowhere.
    #[must_use]
    pub fn transient_state_bytes_max(self, bytes: usize) -> Self {
        self.node.set_transient_state_bytes_max(bytes);
        self
    }

    /// Creates `admin` and `ops` with these passwords, if the store never had an `admin`. Returns
    /// `false` if it had, or if the server is insecure.
    ///
    /// # Errors
    ///
    /// An error of the store. Nothing was created then, unless the outcome is unknown.
    pub async fn create_first_users(&self, passwords: &FirstPasswords) -> Result<bool, StoreError> {
        match self.node.access().guard() {
            Some(guard) => guard.create_first_users(passwords).await,
            None => Ok(false),
        }
    }

    /// Returns `true` if [`create_first_users`](Self::create_first_users) would create them.
    ///
    /// # Errors
    ///
    /// An error of the store.
    pub async fn lacks_first_users(&self) -> Result<bool, StoreError> {
        match self.node.access().guard() {
            Some(guard) => guard.lacks_first_users().await,
            None => Ok(false),
        }
    }

    /// Listens on an address of this machine that no other machine reaches. Port 0 takes a free
    /// one.
    ///
    /// # Errors
    ///
    /// [`InvalidListener`] if the address is public, or not to be had.
    pub async fn bind_loopback(address: SocketAddr) -> Result<TcpListener, InvalidListener> {
        Self::check_loopback(address)?;
        listen(address)
    }

    /// Checks that no other machine reaches an address.
    ///
    /// # Errors
    ///
    /// [`InvalidListener::Public`] if one does.
    pub fn check_loopback(address: SocketAddr) -> Result<(), InvalidListener> {
        match address.ip().to_canonical().is_loopback() {
            true => Ok(()),
            false => Err(InvalidListener::Public { address }),
        }
    }

    /// Serves until the future `until` completes or an operator asks for the end by a call, then
    /// ends gracefully: readiness answers 503 for the time of [`drain_for`](Self::drain_for), then
    /// subscriptions end at once with `UNAVAILABLE`, other calls have ten seconds to finish, and a
    /// scavenge, a verification or a backup ends after its current step.
    ///
    /// Does not close the store.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if the listener fails permanently, or is public and the server insecure.
    pub async fn run(
        self,
        listener: TcpListener,
        until: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        if self.tls.is_none() {
            Self::check_loopback(listener.local_addr()?)?;
        }
        let projections = Projections::new(self.node.clone());
        let groups = Tenancy::begin(&self.groups, self.leases.as_ref()).await;
        let at_work = Tenancy::begin(&projections, self.leases.as_ref()).await;
        projections.start();
        let members = Members::new(self.node.clone(), self.leases.clone(), Groups::LEASE);
        let announced = members.announce();
        let max = connections::at_most(self.connections_max);
        self.node.set_connections_max(max);
        let routers = Routers {
            all: router::router(&self.node, &self.groups, projections.clone(), members.clone()),
            full: router::router_of_full_server(&self.node, members, max),
        };
        let mut connections = Connections::new(routers, self.node.clone(), self.tls.as_ref(), max);
        let (node, drain) = (self.node.clone(), self.drain);
        let drained = async move {
            let asked = node.asked_for_end();
            select! {
                () = until => {}
                () = asked => {}
            }
            node.drain();
            tracing::info!(seconds = drain.as_secs_f64(), "the server drains, and then stops");
            sleep(drain).await;
        };
        let accepted = select! {
            accepted = accept_until(&listener, &mut connections, drained) => accepted,
            never = follow_certificate(self.tls.as_ref()) => match never {},
        };
        drop(listener);
        self.node.stop();
        let upkeep = self.node.upkeep().end();
        join!(connections.shut_down(CLOSING_MAX), self.node.scavenges().end(), upkeep);
        // The caller may close the store after the last checkpoints.
        groups.ended().await;
        at_work.ended().await;
        if let Some(announced) = announced {
            // A task that has panicked has ended, too.
            drop(announced.await);
        }
        accepted
    }
}

/// Takes up a certificate that replaces the one before, for as long as the server runs.
async fn follow_certificate(tls: Option<&Tls>) -> Infallible {
    match tls {
        Some(tls) => tls.follow_files().await,
        None => pending().await,
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, InvalidListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted server takes its address back at once. Windows means something else by it.
        socket.set_reuseaddr(cfg!(not(windows)))?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| InvalidListener::Refused { address, source })
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
                Ok((stream, peer)) => {
                    failures = Failures::default();
                    connections.accept(stream, peer.ip());
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
