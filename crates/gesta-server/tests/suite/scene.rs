//! A served store, and clients of it.

use std::{net::SocketAddr, sync::Arc};

use gesta_log::{IndexedIds, LogStore, Options};
use gesta_server::{CONNECTIONS_MAX, Scavenger, Server};
use gesta_store::{EventStore, Leases, memory::MemoryStore};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};

use crate::{
    client::{
        Client, Credentials,
        groups::persistent_subscriptions_client::PersistentSubscriptionsClient,
        streams_client::StreamsClient,
    },
    group_client::GroupClient,
};

/// A server on a free port of loopback. Dropping it ends the server.
pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    store: Store,
    leases: Option<Arc<dyn Leases>>,
    scavenger: Option<Arc<dyn Scavenger>>,
    /// `true` if other servers of the store learn the address.
    is_advertised: bool,
    connections_max: u32,
    transient_state_bytes_max: Option<usize>,
}

/// A store that a scene can open again.
enum Store {
    Memory(MemoryStore),
    Log(TempDir),
    /// A store that the scenario has.
    Lent(Arc<dyn EventStore>),
}

impl Store {
    fn open(&self) -> Arc<dyn EventStore> {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Lent(store) => Arc::clone(store),
            Self::Log(directory) => {
                let ids = "event-id,correlation,causation,streams".parse::<IndexedIds>().unwrap();
                let options = Options::default().index(ids);
                Arc::new(LogStore::open(directory.path(), options).unwrap())
            }
        }
    }
}

impl Scene {
    async fn of(store: Store, leases: Option<Arc<dyn Leases>>) -> Self {
        Self::started(store, leases, None).await
    }

    async fn started(
        store: Store,
        leases: Option<Arc<dyn Leases>>,
        scavenger: Option<Arc<dyn Scavenger>>,
    ) -> Self {
        Self { scavenger, ..Self::unstarted(store, leases) }.begun().await
    }

    fn unstarted(store: Store, leases: Option<Arc<dyn Leases>>) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let (stop, running, scavenger) = (None, None, None);
        Self {
            address,
            stop,
            running,
            store,
            leases,
            scavenger,
            is_advertised: false,
            connections_max: CONNECTIONS_MAX,
            transient_state_bytes_max: None,
        }
    }

    async fn begun(mut self) -> Self {
        self.start().await;
        self
    }

    async fn start(&mut self) {
        let store = self.store.open();
        let closes = matches!(self.store, Store::Log(_));
        let listener = Server::bind_loopback("127.0.0.1:0".parse().unwrap()).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let server = Server::insecure(Arc::clone(&store)).connections_max(self.connections_max);
        let server = match &self.leases {
            Some(leases) => server.sharing(Arc::clone(leases)),
            None => server,
        };
        let server = match &self.scavenger {
            Some(scavenger) => server.scavenging(Arc::clone(scavenger)),
            None => server,
        };
        let server = match self.transient_state_bytes_max {
            Some(bytes) => server.transient_state_bytes_max(bytes),
            None => server,
        };
        let server = match self.is_advertised {
            true => server.advertise(self.address.to_string().parse().unwrap()),
            false => server,
        };
        let (stop, stopped) = oneshot::channel();
        self.stop = Some(stop);
        self.running = Some(tokio::spawn(async move {
            let until = async { drop(stopped.await) };
            server.run(listener, until).await.unwrap();
            // A store in memory that is closed would be empty for the next server.
            if closes {
                store.close().await.unwrap();
            }
        }));
    }

    /// Serves a store that the scenario has.
    pub(crate) async fn of_store(store: Arc<dyn EventStore>) -> Self {
        Self::of(Store::Lent(store), None).await
    }

    /// Serves a store that operators may scavenge.
    pub(crate) async fn scavenged(
        store: Arc<dyn EventStore>,
        scavenger: Arc<dyn Scavenger>,
    ) -> Self {
        Self::started(Store::Lent(store), None, Some(scavenger)).await
    }

    pub(crate) async fn of_memory() -> Self {
        Self::of(Store::Memory(MemoryStore::new()), None).await
    }

    pub(crate) async fn of_log() -> Self {
        Self::of(Store::Log(tempfile::tempdir().unwrap()), None).await
    }

    /// A server on a store that others have, too, and that knows of none.
    pub(crate) async fn beside_others(store: MemoryStore) -> Self {
        Self::of(Store::Memory(store), None).await
    }

    /// One of several servers on a store.
    pub(crate) async fn sharing(store: MemoryStore, leases: Arc<dyn Leases>) -> Self {
        Self::of(Store::Memory(store), Some(leases)).await
    }

    /// One of several servers on a store that know each other.
    pub(crate) async fn advertised(store: MemoryStore, leases: Arc<dyn Leases>) -> Self {
        let scene = Self::unstarted(Store::Memory(store), Some(leases));
        Self { is_advertised: true, ..scene }.begun().await
    }

    /// Serves the same store to at most this number of connections.
    pub(crate) async fn restart_with_at_most(&mut self, connections: u32) {
        self.connections_max = connections;
        self.restart().await;
    }

    /// Serves the same store with less memory for the states of transient projections.
    pub(crate) async fn restart_with_transient_states_of(&mut self, bytes: usize) {
        self.transient_state_bytes_max = Some(bytes);
        self.restart().await;
    }

    /// Ends the server, and starts another one over the same store.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.ended().await;
        self.start().await;
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        StreamsClient::with_interceptor(self.channel().await, Credentials::default())
    }

    pub(crate) async fn groups(&self) -> GroupClient {
        // Messages with large events.
        PersistentSubscriptionsClient::new(self.channel().await)
            .max_decoding_message_size(usize::MAX)
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
