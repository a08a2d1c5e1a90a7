//! The application handle.
//!
//! Owns: [`Gesta`], and the close of its parts. Not here: the operations on it, each in a module of
//! its own, and its start ([`Builder`](super::Builder)).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta_store::{EventStore, LeaseError, LeaseInForce, NodeName};

use super::{
    process_side::Processes, reactor_side::Reactors, read_side::ReadSide,
    watched_parts::WatchedParts,
};
use crate::{
    Clock, Nodes, Pipeline, QueryCacheCounts, Rng, Role, TenantId, cache::AnswerCache,
    metrics::PipelineCounters, nodes::Membership, snapshot::Snapshots,
};

/// The handle of an application: executes commands, loads aggregates, answers queries. Cheap to
/// clone.
///
/// ```
/// use gesta::Gesta;
///
/// # gesta::store::conformance::block_on(async {
/// let gesta = Gesta::at("memory:").open().await?;
/// assert_eq!(gesta.store().head().await?.position, gesta::Position::START);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a memory store opens");
/// ```
#[derive(Clone)]
pub struct Gesta {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    watched: WatchedParts,
    closed: AtomicBool,
}

/// The parts of an open application.
pub(super) struct Parts {
    pub(super) store: Arc<dyn EventStore>,
    /// True if the application opened the store itself, by its URL.
    pub(super) owns_store: bool,
    pub(super) pipeline: Pipeline,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) read_side: ReadSide,
    pub(super) counters: Arc<PipelineCounters>,
    /// Held while the values of the store are read for metrics, so that slow reads do not pile up.
    pub(super) measuring: tokio::sync::Mutex<()>,
    /// `None` without a cache.
    pub(super) answers: Option<AnswerCache>,
    pub(super) processes: Processes,
    pub(super) reactors: Reactors,
    pub(super) snapshots: Snapshots,
    pub(super) nodes: Option<Nodes>,
    /// `None` without nodes, or without parts that this node may run.
    pub(super) membership: Option<Membership>,
    pub(super) role: Role,
    /// `None` for an application that is not one of a tenant.
    pub(super) tenant: Option<TenantId>,
}

impl Gesta {
    pub(super) fn of(parts: Parts) -> Self {
        let (watched, closed) = (WatchedParts::default(), AtomicBool::new(false));
        Self { inner: Arc::new(Inner { parts, watched, closed }) }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.inner.parts.store
    }

    /// Returns the clock that timeouts, back-off and timers use.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.parts.clock
    }

    pub(super) fn watched(&self) -> &WatchedParts {
        &self.inner.watched
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.inner.parts.snapshots
    }

    pub(crate) fn read_side(&self) -> &ReadSide {
        &self.inner.parts.read_side
    }

    pub(crate) fn answers(&self) -> Option<&AnswerCache> {
        self.inner.parts.answers.as_ref()
    }

    /// Returns the numbers of cached queries since the application was opened. All are 0 without
    /// [`Builder::query_cache`](super::Builder::query_cache).
    #[must_use]
    pub fn query_cache_counts(&self) -> QueryCacheCounts {
        self.answers().map(AnswerCache::counts).unwrap_or_default()
    }

    pub(super) fn counters(&self) -> &PipelineCounters {
        &self.inner.parts.counters
    }

    pub(super) fn measuring(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.parts.measuring
    }

    pub(crate) fn processes(&self) -> &Processes {
        &self.inner.parts.processes
    }

    pub(crate) fn reactor_side(&self) -> &Reactors {
        &self.inner.parts.reactors
    }

    pub(crate) fn rng(&self) -> &dyn Rng {
        self.inner.parts.rng.as_ref()
    }

    /// Returns the name of this node. `None` without [`Nodes`].
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        self.inner.parts.nodes.as_ref().map(Nodes::node)
    }

    /// Returns the role of this node.
    #[must_use]
    pub fn role(&self) -> Role {
        self.inner.parts.role
    }

    /// Returns the tenant whose application this is. `None` without
    /// [`Builder::tenant`](super::Builder::tenant).
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.inner.parts.tenant.as_ref()
    }

    /// Returns the leases in force of all nodes, by name. Nothing without [`Nodes`].
    ///
    /// # Errors
    /// [`LeaseError::Unavailable`] if the place of the leases cannot be reached.
    pub async fn leases(&self) -> Result<Vec<LeaseInForce>, LeaseError> {
        match &self.inner.parts.nodes {
            Some(nodes) => nodes.leases().list().await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns whether the application was closed through this handle or a clone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Stops projections, process managers and reactors, and waits until they have released their
    /// resources. Then closes the store, if the application opened it by its URL; one that was
    /// passed to [`Gesta::on`] stays open, and its owner closes it. Uncommitted events are applied
    /// and decided commands are sent on the next start. A process manager with no work in flight
    /// writes a checkpoint, which shortens its next start. A reactor finishes the effects in
    /// progress and records them. With [`Nodes`], other nodes take over at once. Stores of read
    /// models stay open for others; their own `close` waits until their files are closed.
    ///
    /// Has no time limit of its own and may wait for the store. To limit it, wrap it in a timeout:
    /// dropping the returned future stops the rest without waiting.
    ///
    /// Commands executed through a clone afterwards fail with
    /// [`ExecuteError::Closed`](crate::ExecuteError::Closed). Dropping the handle stops everything
    /// as well, but does not wait.
    pub async fn close(self) {
        // Refuses new commands first, so that nothing is started after the stop.
        self.inner.closed.store(true, Ordering::Release);
        if let Some(membership) = &self.inner.parts.membership {
            membership.leave().await;
        }
        self.processes().stop().await;
        self.reactor_side().stop().await;
        for handle in self.read_side().handles() {
            handle.stop().await;
        }
        if self.inner.parts.owns_store
            && let Err(error) = self.store().close().await
        {
            tracing::error!(%error, "the store did not close cleanly; it recovers when it is opened");
        }
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        self.inner.parts.pipeline.clone()
    }
}

impl fmt::Debug for Gesta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gesta")
    }
}
