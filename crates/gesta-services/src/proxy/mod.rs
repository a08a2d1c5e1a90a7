//! A proxy between a client and a PostgreSQL server that injects faults at a chosen message.
//!
//! Owns: the listener, its connections, and the faults that wait for their message. Invariants: a
//! message that is passed on is passed on whole and unchanged; a fault happens once; while it is
//! decided about a message, no later one of the same direction is passed on. Not here: parsing of
//! the protocol (`messages.rs`), the threads of a connection (`connection.rs`).

mod connection;
mod fault;
mod messages;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};

use self::{
    connection::{Connections, run_connection},
    fault::Faults,
};
pub use self::{fault::Fault, messages::Message};
use crate::urls;

/// A TCP proxy on a loopback port. Closed, with its connections, when dropped.
///
/// Connections with TLS are passed on as they are: their messages are not seen.
pub struct FaultProxy {
    address: SocketAddr,
    url: String,
    shared: Arc<ProxyState>,
    /// `None` while connections are refused.
    listener: Option<Listener>,
}

/// State of the proxy that its connections see.
struct ProxyState {
    server: SocketAddr,
    faults: Faults,
    connections: Connections,
}

impl FaultProxy {
    /// Starts a proxy in front of the server of this URL.
    ///
    /// # Errors
    ///
    /// If the URL has no host and port, or no port can be opened.
    pub fn start(url: &str) -> Result<Self> {
        let server = urls::authority(url).context("the proxy needs a URL")?;
        let server = server.to_socket_addrs().with_context(|| server.to_owned())?.next();
        let server = server.context("the host of the URL has no address")?;
        let shared = Arc::new(ProxyState {
            server,
            faults: Faults::default(),
            connections: Connections::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let url = urls::with_authority(url, &address.to_string());
        let url = url.context("the proxy needs a URL")?;
        let listener = Some(Listener::start(listener, &shared)?);
        Ok(Self { address, url, shared, listener })
    }

    /// Returns the server's URL with the proxy in place of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a fault. It happens at the first message that it selects, on any connection.
    ///
    /// Each message is shown to the faults in the order in which these were added, until one
    /// selects it.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Blocks until no fault waits for its message any more.
    ///
    /// # Panics
    ///
    /// After a minute, because a fault that never happens tests nothing.
    pub fn wait_until_injected(&self) {
        self.shared.faults.wait_until_injected();
    }

    /// Holds back all messages of all connections, in both directions, until
    /// [`resume`](Self::resume).
    pub fn stall(&self) {
        self.shared.faults.stall();
    }

    /// Passes on what [`stall`](Self::stall) and [`Fault::stall_before`] hold back.
    pub fn resume(&self) {
        self.shared.faults.resume();
    }

    /// Closes all connections. New ones are accepted.
    pub fn cut_all(&self) {
        self.shared.connections.cut_all();
    }

    /// Refuses new connections, as a server that does not run. Open ones stay.
    ///
    /// # Errors
    ///
    /// If the listener does not end.
    pub fn refuse(&mut self) -> Result<()> {
        self.listener.take().map_or(Ok(()), |listener| listener.stop(self.address))
    }

    /// Accepts connections again.
    ///
    /// # Errors
    ///
    /// If another program has taken the port.
    pub fn accept(&mut self) -> Result<()> {
        if self.listener.is_none() {
            let listener = TcpListener::bind(self.address)?;
            self.listener = Some(Listener::start(listener, &self.shared)?);
        }
        Ok(())
    }
}

/// Without the URL, which may contain a password.
impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // A test may be unwinding; the threads end with the program at the latest.
        drop(self.refuse());
        self.shared.faults.resume();
        self.shared.connections.cut_all();
    }
}

/// The thread that accepts connections.
#[derive(Debug)]
struct Listener {
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Listener {
    fn start(listener: TcpListener, shared: &Arc<ProxyState>) -> Result<Self> {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let (stopping, shared) = (Arc::clone(&is_stopping), Arc::clone(shared));
        let accept = move || {
            for client in listener.incoming() {
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(client) = client {
                    open_connection(client, &shared);
                }
            }
        };
        let thread = thread::Builder::new().name("proxy-listener".to_owned()).spawn(accept)?;
        Ok(Self { is_stopping, thread })
    }

    fn stop(self, address: SocketAddr) -> Result<()> {
        self.is_stopping.store(true, Ordering::Release);
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(address));
        self.thread.join().ok().context("the proxy's listener panicked")
    }
}

/// Connects a client with the server. Without a server the client's connection is closed.
fn open_connection(client: TcpStream, shared: &Arc<ProxyState>) {
    if let Ok(server) = TcpStream::connect(shared.server) {
        // The client sees the connection as lost if its threads cannot be started.
        drop(run_connection(client, server, shared));
    }
}
