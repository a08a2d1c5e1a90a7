//! A served store, and clients of it.

use std::{net::SocketAddr, sync::Arc};

use gesta_log::{IndexedIds, LogStore, Options};
use gesta_server::Server;
use gesta_store::{EventStore, memory::MemoryStore};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};

use crate::client::{Client, streams_client::StreamsClient};

/// A server on a free port of loopback. Dropping it ends the server.
pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    _directory: Option<TempDir>,
}

impl Scene {
    async fn of(store: Arc<dyn EventStore>, directory: Option<TempDir>) -> Self {
        let listener = Server::bind_loopback("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let until = async { drop(stopped.await) };
            Server::insecure(Arc::clone(&store)).run(listener, until).await.unwrap();
            store.close().await.unwrap();
        });
        Self { address, stop: Some(stop), running: Some(running), _directory: directory }
    }

    pub(crate) async fn of_memory() -> Self {
        Self::of(Arc::new(MemoryStore::new()), None).await
    }

    pub(crate) async fn of_log() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ids = "event-id,correlation,causation".parse::<IndexedIds>().unwrap();
        let store = LogStore::open(directory.path(), Options::default().index(ids)).unwrap();
        Self::of(Arc::new(store), Some(directory)).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        StreamsClient::new(self.channel().await)
    }

    /// Tells the server to stop.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(&mut self) {
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }
}

/// Declares a scenario that runs over each kind of store.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::scene::Scene::of_memory().await).await;
            })*
        }

        mod in_a_log {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::scene::Scene::of_log().await).await;
            })*
        }
    };
}
pub(crate) use scenarios;
