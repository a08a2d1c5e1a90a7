//! State that all calls of one server share: the store, the access rule, the counters, the
//! scavenges, and the end.
//!
//! Owns: [`Node`]. Invariant: after [`Node::stop`] no subscription continues. A client may ask for
//! the end ([`Node::ask_for_end`]); who runs the server carries it out.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
    time::Instant,
};

use gesta_store::{EventStore, NodeName, RecordedAt};
use tokio::sync::watch;
use tonic::{Code, Status};
use uuid::Uuid;

pub(crate) use crate::clock::wall_now;
use crate::{
    access::Access,
    address::{LeaseHolders, ServerAddress},
    call_log::{CallLog, LoggedCall},
    clock::monotonic_now,
    incoming::IncomingRoom,
    labels::ServerLabels,
    large_work::LargeWork,
    outgoing::OutgoingRoom,
    recent_events::RecentEvents,
    scavenges::{NotStarted, ScavengeRequest, ScavengeStatus, Scavenges},
    upkeep::{StoreUpkeep, UpkeepRefusal, UpkeepStatus, UpkeepTask},
};

/// The version that clients are told, which decides what they try: the first one with all calls of
/// the second version of the streams.
pub(crate) const PROTOCOL_VERSION: &str = "26.1.0";

/// Maximum size of the states of a transient projection, which are nowhere else.
const TRANSIENT_STATE_BYTES_MAX: usize = 256 << 20;

/// One server: a node of a cluster that has no other.
#[derive(Clone)]
pub(crate) struct Node {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn EventStore>,
    access: Access,
    id: Uuid,
    /// The address by which clients reach this server, if it was told.
    address: OnceLock<ServerAddress>,
    holders: LeaseHolders,
    labels: OnceLock<ServerLabels>,
    started: Instant,
    started_at: RecordedAt,
    counters: Counters,
    scavenges: Scavenges,
    upkeep: StoreUpkeep,
    /// Held while work on the store is started, so that no two of its kinds start together.
    starting: Mutex<()>,
    /// A number that operators set for the elections of a cluster. It is only shown.
    priority: AtomicI32,
    asked_for_end: watch::Sender<bool>,
    /// Number of times that this server was asked to give its leases back.
    resignations: watch::Sender<u64>,
    incoming: Arc<IncomingRoom>,
    outgoing: Arc<OutgoingRoom>,
    large_work: LargeWork,
    recent_events: RecentEvents,
    connections_max: OnceLock<usize>,
    transient_state_bytes_max: OnceLock<usize>,
    /// Number of connections that are no longer HTTP.
    upgraded: watch::Sender<usize>,
    call_log: CallLog,
    phase: watch::Sender<Phase>,
}

/// The life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// It says that it is not ready, and serves all the same.
    Draining,
    Stopped,
}

/// Numbers since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: Counter,
    pub(crate) events_appended: Counter,
    pub(crate) appends_refused: Counter,
    pub(crate) reads: Counter,
    pub(crate) events_read: Counter,
    pub(crate) subscriptions: Counter,
    pub(crate) subscriptions_ended: Counter,
    /// Consumers of groups.
    pub(crate) consumers: Counter,
    pub(crate) consumers_ended: Counter,
    pub(crate) events_parked: Counter,
    /// Events that handlers of projections have seen, and projections that have failed.
    pub(crate) events_projected: Counter,
    pub(crate) projections_failed: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_ended: Counter,
    /// Connections beyond the maximum.
    pub(crate) connections_refused: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Node {
    pub(crate) fn new(store: Arc<dyn EventStore>, access: Access) -> Self {
        let shared = Shared {
            store,
            access,
            id: Uuid::new_v4(),
            address: OnceLock::new(),
            holders: LeaseHolders::default(),
            labels: OnceLock::new(),
            started: monotonic_now(),
            started_at: wall_now(),
            counters: Counters::default(),
            scavenges: Scavenges::default(),
            upkeep: StoreUpkeep::default(),
            starting: Mutex::new(()),
            priority: AtomicI32::new(0),
            asked_for_end: watch::Sender::new(false),
            resignations: watch::Sender::new(0),
            incoming: Arc::default(),
            outgoing: Arc::default(),
            large_work: LargeWork::default(),
            recent_events: RecentEvents::default(),
            connections_max: OnceLock::new(),
            transient_state_bytes_max: OnceLock::new(),
            upgraded: watch::Sender::new(0),
            call_log: CallLog::default(),
            phase: watch::Sender::new(Phase::Serving),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn store(&self) -> &dyn EventStore {
        self.shared.store.as_ref()
    }

    pub(crate) fn access(&self) -> &Access {
        &self.shared.access
    }

    pub(crate) fn id(&self) -> Uuid {
        self.shared.id
    }

    /// Sets the address by which clients reach this server. The first one stays.
    pub(crate) fn set_address(&self, address: ServerAddress) {
        let _ = self.shared.address.set(address);
    }

    pub(crate) fn address(&self) -> Option<&ServerAddress> {
        self.shared.address.get()
    }

    /// Returns the name under which this server has leases: its id, and its address.
    pub(crate) fn lease_holder(&self) -> NodeName {
        ServerAddress::holder_name(self.shared.id, self.address())
    }

    /// Returns the other servers that have leases, as of the last looks.
    pub(crate) fn holders(&self) -> &LeaseHolders {
        &self.shared.holders
    }

    /// Returns the memory for messages and appends that are not complete.
    pub(crate) fn incoming(&self) -> &Arc<IncomingRoom> {
        &self.shared.incoming
    }

    /// Returns the memory for pages that wait for the readers of feeds.
    pub(crate) fn outgoing(&self) -> &Arc<OutgoingRoom> {
        &self.shared.outgoing
    }

    /// Returns the threads for large payloads.
    pub(crate) fn large_work(&self) -> &LargeWork {
        &self.shared.large_work
    }

    /// Returns the places of the events that were appended last.
    pub(crate) fn recent_events(&self) -> &RecentEvents {
        &self.shared.recent_events
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn call_log(&self) -> &CallLog {
        &self.shared.call_log
    }

    /// Logs a call that failed, unless it failed because this server ends.
    pub(crate) fn log_failure(&self, call: LoggedCall, status: &Status) {
        if !(self.is_stopped() && status.code() == Code::Unavailable) {
            self.shared.call_log.call_failed(call, status);
        }
    }

    /// Returns the maximum number of connections, once it is known.
    pub(crate) fn connections_max(&self) -> Option<usize> {
        self.shared.connections_max.get().copied()
    }

    pub(crate) fn set_connections_max(&self, connections: usize) {
        // A server runs once.
        let _ = self.shared.connections_max.set(connections);
    }

    /// Returns the maximum size of the states of a transient projection.
    pub(crate) fn transient_state_bytes_max(&self) -> usize {
        self.shared.transient_state_bytes_max.get().copied().unwrap_or(TRANSIENT_STATE_BYTES_MAX)
    }

    /// Sets this maximum. The first one stays.
    pub(crate) fn set_transient_state_bytes_max(&self, bytes: usize) {
        let _ = self.shared.transient_state_bytes_max.set(bytes);
    }

    /// Returns what people call this server and its store.
    pub(crate) fn labels(&self) -> ServerLabels {
        self.shared.labels.get().cloned().unwrap_or_default()
    }

    /// Sets these names. The first ones stay.
    pub(crate) fn set_labels(&self, labels: ServerLabels) {
        let _ = self.shared.labels.set(labels);
    }

    pub(crate) fn started_at(&self) -> RecordedAt {
        self.shared.started_at
    }

    pub(crate) fn uptime_seconds(&self) -> f64 {
        monotonic_now().duration_since(self.shared.started).as_secs_f64()
    }

    pub(crate) fn scavenges(&self) -> &Scavenges {
        &self.shared.scavenges
    }

    pub(crate) fn upkeep(&self) -> &StoreUpkeep {
        &self.shared.upkeep
    }

    /// Starts a scavenge, unless a verification or a backup is running.
    pub(crate) fn start_scavenge(
        &self,
        request: ScavengeRequest,
    ) -> Result<ScavengeStatus, NotStarted> {
        let _held = self.shared.starting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.upkeep().running() {
            Some(running) => Err(NotStarted::Busy(running.words())),
            None => self.scavenges().start(request),
        }
    }

    /// Starts a verification or a backup, unless other work on the store is running.
    pub(crate) fn start_upkeep(&self, task: UpkeepTask) -> Result<UpkeepStatus, UpkeepRefusal> {
        let _held = self.shared.starting.lock().unwrap_or_else(PoisonError::into_inner);
        // A scavenge replaces segments, which a verification would take for damage.
        match self.scavenges().last().filter(ScavengeStatus::is_running) {
            Some(running) => Err(UpkeepRefusal::Busy(format!("the scavenge {}", running.id))),
            None => self.upkeep().start(task),
        }
    }

    pub(crate) fn priority(&self) -> i32 {
        self.shared.priority.load(Ordering::Relaxed)
    }

    pub(crate) fn set_priority(&self, priority: i32) {
        self.shared.priority.store(priority, Ordering::Relaxed);
    }

    /// Asks for the graceful end of the server, which begins soon after.
    pub(crate) fn ask_for_end(&self) {
        self.shared.asked_for_end.send_replace(true);
    }

    /// Waits for [`Node::ask_for_end`].
    pub(crate) fn asked_for_end(&self) -> impl Future<Output = ()> + Send + use<> {
        told(&self.shared.asked_for_end, |asked| *asked)
    }

    /// Asks the work that needs a lease to leave it to another server.
    pub(crate) fn resign(&self) {
        self.shared.resignations.send_modify(|number| *number += 1);
    }

    /// Waits for the next [`Node::resign`] after this call.
    pub(crate) fn resigned(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut resignations = self.shared.resignations.subscribe();
        async move {
            // An error means that the node is gone, and the work with it.
            drop(resignations.changed().await);
        }
    }

    /// Ends all subscriptions, now and later.
    pub(crate) fn stop(&self) {
        // Unlike `send`, this does not fail if there is no subscription.
        self.shared.phase.send_replace(Phase::Stopped);
    }

    /// Says that this server will stop, so that no new clients are sent to it.
    pub(crate) fn drain(&self) {
        self.shared.phase.send_replace(Phase::Draining);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.shared.phase.borrow() >= Phase::Draining
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.shared.phase.borrow() == Phase::Stopped
    }

    /// Waits for [`Node::stop`].
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        told(&self.shared.phase, |phase| *phase == Phase::Stopped)
    }
}

/// Waits until a signal is given.
fn told<Signal, IsGiven>(
    signal: &watch::Sender<Signal>,
    is_given: IsGiven,
) -> impl Future<Output = ()> + Send + use<Signal, IsGiven>
where
    Signal: Send + Sync + 'static,
    IsGiven: FnMut(&Signal) -> bool + Send + 'static,
{
    let mut signal = signal.subscribe();
    async move {
        // An error means that the node is gone, which is the end, too.
        drop(signal.wait_for(is_given).await);
    }
}

impl Node {
    /// Counts a connection that becomes a WebSocket, until the value is dropped.
    pub(crate) fn count_upgraded(&self) -> UpgradedConnection {
        self.shared.counters.connections.add(1);
        self.shared.upgraded.send_modify(|number| *number += 1);
        UpgradedConnection(self.clone())
    }

    /// Waits until no connection is a WebSocket.
    pub(crate) async fn upgraded_ended(&self) {
        let mut upgraded = self.shared.upgraded.subscribe();
        // The sender lives as long as this node.
        let _ = upgraded.wait_for(|number| *number == 0).await;
    }
}

/// A connection that was upgraded, counted until it ends for whatever reason.
pub(crate) struct UpgradedConnection(Node);

impl Drop for UpgradedConnection {
    fn drop(&mut self) {
        self.0.counters().connections_ended.add(1);
        self.0.shared.upgraded.send_modify(|number| *number -= 1);
    }
}

/// A subscription, counted until it ends for whatever reason.
pub(crate) struct OpenSubscription(Node);

impl OpenSubscription {
    pub(crate) fn count(node: Node) -> Self {
        node.counters().subscriptions.add(1);
        Self(node)
    }
}

impl Drop for OpenSubscription {
    fn drop(&mut self) {
        self.0.counters().subscriptions_ended.add(1);
    }
}
