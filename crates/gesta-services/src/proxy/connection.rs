//! One connection through the proxy: two threads, one for each direction.
//!
//! Invariant: what was delivered to the server before a cut reaches it. The proxy ends its sending
//! and reads on until the server closes; closing with unread answers would reset the connection,
//! and the server could lose what it has not read.

use std::{
    collections::HashMap,
    io::{self, Read, Write as _},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{
    ProxyState,
    fault::Decision,
    messages::{Messages, Negotiation, Sender},
};

/// The open connections.
#[derive(Default)]
pub(super) struct Connections {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Connection>>,
}

/// The two sides of a connection.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connections {
    fn add(&self, client: &TcpStream, server: &TcpStream) -> io::Result<u64> {
        let connection = Connection { client: client.try_clone()?, server: server.try_clone()? };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, connection);
        Ok(number)
    }

    fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    pub(super) fn cut_all(&self) {
        self.lock().values().for_each(|connection| cut(&connection.client, &connection.server));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the threads of a connection.
pub(super) fn run_connection(
    client: TcpStream,
    server: TcpStream,
    shared: &Arc<ProxyState>,
) -> io::Result<()> {
    // A delayed answer would hide the order of messages.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let number = shared.connections.add(&client, &server)?;
    let negotiation = Arc::<Negotiation>::default();
    for sender in [Sender::Client, Sender::Server] {
        let (client, server) = (client.try_clone()?, server.try_clone()?);
        let (shared, negotiation) = (Arc::clone(shared), Arc::clone(&negotiation));
        let pass_on = move || {
            let from = if sender == Sender::Client { &client } else { &server };
            let messages = Messages::new(from, sender, negotiation);
            // A connection that breaks ends like one that is closed.
            drop(pass_on(messages, &client, &server, &shared));
            cut(&client, &server);
            if sender == Sender::Server {
                drain(&server);
                shared.connections.remove(number);
            }
        };
        thread::Builder::new().name("proxy-connection".to_owned()).spawn(pass_on)?;
    }
    Ok(())
}

fn pass_on(
    mut messages: Messages<&TcpStream>,
    client: &TcpStream,
    server: &TcpStream,
    shared: &ProxyState,
) -> io::Result<()> {
    while let Some(message) = messages.next()? {
        let mut to = if message.from_client() { server } else { client };
        let decision = shared.faults.decide(&message);
        if decision == Decision::Cut {
            return Ok(());
        }
        to.write_all(message.bytes())?;
        if decision == Decision::DeliverAndCut {
            return Ok(());
        }
    }
    Ok(())
}

/// Ends a connection: the client reads and writes no more, the server gets no more.
fn cut(client: &TcpStream, server: &TcpStream) {
    // The other side may have closed already.
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Write));
}

/// Reads until the server closes.
fn drain(mut server: &TcpStream) {
    let mut bytes = [0; 4096];
    while server.read(&mut bytes).is_ok_and(|count| count > 0) {}
}
