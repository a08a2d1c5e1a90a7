//! State that all calls of one server share: the store, the access rule, the clock, the
//! counters, and the end.
//!
//! Owns: [`Node`]. Invariant: after [`Node::stop`] no subscription goes on.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use gesta_store::{EventStore, RecordedAt};
use tokio::sync::watch;
use uuid::Uuid;

use crate::access::Access;

/// The version that clients are told, which decides what they try: the first one with all calls of
/// the second version of the streams.
pub(crate) const PROTOCOL_VERSION: &str = "26.1.0";

/// One server: a node of a cluster that has no other.
#[derive(Clone)]
pub(crate) struct Node {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn EventStore>,
    access: Access,
    id: Uuid,
    started: Instant,
    counters: Counters,
    stop: watch::Sender<bool>,
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
            started: monotonic_now(),
            counters: Counters::default(),
            stop: watch::Sender::new(false),
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

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn uptime_seconds(&self) -> f64 {
        monotonic_now().duration_since(self.shared.started).as_secs_f64()
    }

    /// Ends all subscriptions, now and later.
    pub(crate) fn stop(&self) {
        // Unlike `send`, this does not fail if there is no subscription.
        self.shared.stop.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.shared.stop.borrow()
    }

    /// Waits for [`Node::stop`].
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.shared.stop.subscribe();
        async move {
            // An error means that the sender is gone, which is a stop, too.
            drop(stop.wait_for(|stopped| *stopped).await);
        }
    }
}

/// Returns the time of the machine, for messages; the store has a clock of its own.
#[expect(clippy::disallowed_methods, reason = "this is the server's clock")]
pub(crate) fn wall_now() -> RecordedAt {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RecordedAt::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "this is the server's clock")]
fn monotonic_now() -> Instant {
    Instant::now()
}
