//! A port that leads to one server, and after a switch to another.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A forwarder on a free port of loopback.
pub(crate) struct Junction {
    pub(crate) address: SocketAddr,
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    target: SocketAddr,
    /// The ends of all connections.
    open: Vec<TcpStream>,
    accepted: usize,
}

impl Junction {
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(Mutex::new(Lines { target, open: Vec::new(), accepted: 0 }));
        let shared = Arc::clone(&lines);
        // The thread ends with the process.
        thread::spawn(move || {
            for client in listener.incoming() {
                connect(client.unwrap(), &shared);
            }
        });
        Self { address, lines }
    }

    /// Returns the number of connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.lines.lock().unwrap().accepted
    }

    /// Cuts all connections, and leads new ones to another server.
    pub(crate) fn switch_to(&self, target: SocketAddr) {
        let mut lines = self.lines.lock().unwrap();
        lines.target = target;
        for end in lines.open.drain(..) {
            // One side may have closed before.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn connect(client: TcpStream, lines: &Arc<Mutex<Lines>>) {
    let mut lines = lines.lock().unwrap();
    // A client that finds no server sees its connection closed.
    let Ok(server) = TcpStream::connect(lines.target) else { return };
    lines.accepted += 1;
    lines.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
    {
        thread::spawn(move || pass(from, to));
    }
}

/// Passes bytes on until one side is closed.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    // A broken connection is closed on both sides, too.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
