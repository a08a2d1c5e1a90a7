//! A served store, and stores that are connected to it.

use std::{net::SocketAddr, sync::Arc};

use gesta_kurrentdb::KurrentStore;
use gesta_log::{IndexedIds, LogStore, Options};
use gesta_server::Server;
use gesta_store::{EventStore, conformance::block_on, memory::MemoryStore};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinHandle,
};

/// A server on a free port of loopback, with a runtime of its own. Dropping it ends the server.
pub(crate) struct TestServer {
    runtime: Runtime,
    pub(crate) address: SocketAddr,
    running: Option<Running>,
    pub(crate) store: Arc<dyn EventStore>,
    _directory: Option<TempDir>,
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl TestServer {
    /// Serves an empty store in memory.
    pub(crate) fn of_memory() -> Self {
        Self::of(Arc::new(MemoryStore::new()), None)
    }

    /// Serves an empty log.
    pub(crate) fn of_log() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ids = "event-id,correlation,causation,streams".parse::<IndexedIds>().unwrap();
        let options = Options::default().index(ids);
        let store = Arc::new(LogStore::open(directory.path(), options).unwrap());
        Self::of(store, Some(directory))
    }

    fn of(store: Arc<dyn EventStore>, directory: Option<TempDir>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut server = Self { runtime, address, running: None, store, _directory: directory };
        server.start();
        server
    }

    /// Starts the server, on the port that it had before.
    pub(crate) fn start(&mut self) {
        let listener = self.runtime.block_on(TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let server = Server::insecure(Arc::clone(&self.store));
        let (stop, stopped) = oneshot::channel();
        let ended = self.runtime.spawn(async move {
            let until = async { drop(stopped.await) };
            server.run(listener, until).await.unwrap();
        });
        self.running = Some(Running { stop, ended });
    }

    /// Ends the server in an orderly way.
    pub(crate) fn stop(&mut self) {
        if let Some(Running { stop, ended }) = self.running.take() {
            drop(stop);
            self.runtime.block_on(ended).unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("kurrentdb://{}?tls=false", self.address)
    }

    /// Connects a store.
    pub(crate) fn connect(&self) -> KurrentStore {
        block_on(KurrentStore::connect(&self.url())).unwrap()
    }
}
