//! A proxy between a store and its server that lets a number of writes pass and then cuts all
//! connections, as the death of the store's process does.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    thread,
};

/// Bytes before the first section of a message: length, two ids, the kind of message, flags.
const HEAD_BYTES: usize = 20;
const WRITES: [&[u8]; 4] = [b"insert\0", b"update\0", b"delete\0", b"findAndModify\0"];
/// No limit of writes.
const ALL: i64 = i64::MAX;

/// A proxy on a loopback port. It ends with the test's process.
pub(crate) struct WriteLimit {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    /// Writes that still pass.
    left: AtomicI64,
    connections: Mutex<Vec<TcpStream>>,
}

impl WriteLimit {
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = server.strip_prefix("mongodb://").unwrap().to_owned();
        let left = AtomicI64::new(ALL);
        let shared = Arc::new(Shared { server, left, connections: Mutex::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&accepting.server).unwrap();
                accepting.open(client, server);
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("mongodb://{}", self.address)
    }

    /// Lets this number of writes pass, and cuts all connections at the next one.
    pub(crate) fn cut_after(&self, writes: u32) {
        self.shared.left.store(i64::from(writes), Ordering::SeqCst);
    }

    /// Returns whether a write was cut off.
    pub(crate) fn has_cut(&self) -> bool {
        self.shared.left.load(Ordering::SeqCst) < 0
    }
}

impl Shared {
    fn open(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        drop(connections);
        let (answers, asker) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || copy(answers, asker));
        let shared = Arc::clone(self);
        thread::spawn(move || drop(shared.pass_on(client, server)));
    }

    /// Passes on whole messages of the client.
    fn pass_on(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            client.read_exact(&mut length)?;
            let mut message = length.to_vec();
            message.resize(usize::try_from(u32::from_le_bytes(length)).unwrap(), 0);
            client.read_exact(message.get_mut(4..).unwrap())?;
            if is_write(&message) && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
                self.cut_all();
                return Ok(());
            }
            // A process that is dead sends nothing else either.
            if self.left.load(Ordering::SeqCst) < 0 {
                self.cut_all();
                return Ok(());
            }
            server.write_all(&message)?;
        }
    }

    fn cut_all(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either side may be gone.
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}

/// The command is the first field of the document in the section of kind 0, which is the first one:
/// after the kind of the section, the length of the document and the type of the field.
fn is_write(message: &[u8]) -> bool {
    let command = message.get(HEAD_BYTES + 1 + 4 + 1..).unwrap_or_default();
    WRITES.iter().any(|write| command.starts_with(write))
}
