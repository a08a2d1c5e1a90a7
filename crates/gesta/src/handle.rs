//! The application handle and its builder.
//!
//! Owns: [`Gesta`], [`Builder`]. Invariant: everything replaceable (store, clock, randomness,
//! layers) comes in through the builder. Not here: the mapping of URLs to stores
//! ([`open`](crate::open)).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gesta_store::EventStore;
use tower::{BoxError, Layer, Service, ServiceExt as _, util::BoxCloneSyncService};

use crate::{
    Aggregate, Authorize, Clock, CommandRequest, Decide, DuplicateEventName, EventSet, Execute,
    Load, OpenError, Pipeline, Receipt, RetryPolicy, Rng, SystemClock, SystemRng, Unauthorized,
    event_names::Scope,
    log_hint, open,
    pipeline::{PipelineConfig, RememberedRejections},
    process::ProcessContext,
    process_side::{ProcessRegistrations, Processes},
    projection::{ProjectionContext, SharedStore},
    read_side::{ReadSide, ReadSideRegistrations},
    snapshot::Snapshots,
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
    store: Arc<dyn EventStore>,
    pipeline: Pipeline,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    read_side: ReadSide,
    processes: Processes,
    snapshots: Snapshots,
    closed: AtomicBool,
}

impl Gesta {
    /// Starts a builder for the store behind a URL: `memory:` or `gesta:DIRECTORY`.
    pub fn at(url: impl Into<String>) -> Builder {
        Builder::new(StoreSource::Url(url.into()))
    }

    /// Starts a builder on an open store.
    pub fn on(store: Arc<dyn EventStore>) -> Builder {
        Builder::new(StoreSource::Store(store))
    }

    /// Executes a command when the returned value is awaited.
    pub fn execute<C: Decide>(&self, command: C) -> Execute<'_, C> {
        Execute::new(self, command)
    }

    /// Loads an aggregate when the returned value is awaited.
    pub fn load<A: Aggregate>(&self, id: &A::Id) -> Load<'_, A> {
        Load::new(self, id.clone())
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.inner.store
    }

    /// Returns the clock that timeouts, back-off and timers use.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.inner.snapshots
    }

    pub(crate) fn read_side(&self) -> &ReadSide {
        &self.inner.read_side
    }

    pub(crate) fn processes(&self) -> &Processes {
        &self.inner.processes
    }

    pub(crate) fn rng(&self) -> &dyn Rng {
        self.inner.rng.as_ref()
    }

    /// Returns whether the application was closed through this handle or a clone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_closed(&self) {
        self.inner.closed.store(true, Ordering::Release);
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        self.inner.pipeline.clone()
    }
}

impl fmt::Debug for Gesta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gesta")
    }
}

/// Origin of the store.
enum StoreSource {
    Url(String),
    Store(Arc<dyn EventStore>),
}

/// Configuration of a [`Gesta`].
///
/// ```
/// use std::time::Duration;
/// use gesta::{Gesta, testing::VirtualClock};
///
/// # gesta::store::conformance::block_on(async {
/// let clock = VirtualClock::new();
/// let gesta =
///     Gesta::at("memory:").timeout(Duration::from_secs(5)).clock(clock.clone()).open().await?;
/// assert_eq!(gesta.clock().now(), gesta::Clock::now(&clock));
/// # Ok::<(), gesta::OpenError>(())
/// # }).expect("a memory store opens");
/// ```
#[must_use = "nothing is opened until `open`"]
pub struct Builder {
    source: StoreSource,
    pub(crate) config: PipelineConfig,
    layers: Vec<Box<dyn FnOnce(Pipeline) -> Pipeline + Send>>,
    pub(crate) read_side: ReadSideRegistrations,
    pub(crate) processes: ProcessRegistrations,
    hints_at_log: bool,
    duplicate_event: Option<DuplicateEventName>,
}

impl Builder {
    /// Default time limit of a command.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    fn new(source: StoreSource) -> Self {
        let config = PipelineConfig {
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            authorize: Arc::new(allow_all),
            timeout: Self::TIMEOUT,
            retry: RetryPolicy::default(),
            snapshots: Snapshots::default(),
            event_names: Arc::default(),
            remembered: RememberedRejections::default(),
        };
        Self {
            source,
            config,
            layers: Vec::new(),
            read_side: ReadSideRegistrations::default(),
            processes: ProcessRegistrations::default(),
            hints_at_log: true,
            duplicate_event: None,
        }
    }

    /// Registers the events that a part of the program reads. A duplicate event name is reported by
    /// [`open`](Self::open).
    pub(crate) fn reads_events<E: EventSet>(mut self, scope: Scope) -> Self {
        let added = self.config.event_names.add_set::<E>(scope);
        self.duplicate_event = self.duplicate_event.or(added.err());
        self
    }

    /// Wraps the pipeline, with all layers added before, in a tower layer.
    ///
    /// A [`CommandError`](crate::CommandError) returned by the layer is passed on unchanged; any
    /// other error becomes an unknown outcome.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Pipeline> + Send + 'static,
        L::Service: Service<CommandRequest, Response = Receipt, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.layers.push(Box::new(move |pipeline| {
            BoxCloneSyncService::new(layer.layer(pipeline).map_err(Into::into))
        }));
        self
    }

    /// Sets the authorization check, which runs before each command. Default: everything is
    /// allowed.
    pub fn authorize(mut self, check: impl Authorize) -> Self {
        self.config.authorize = Arc::new(check);
        self
    }

    /// Sets the time limit of a command. A command that exceeds it has an unknown outcome. Default:
    /// [`TIMEOUT`](Self::TIMEOUT).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.config.timeout = limit;
        self
    }

    /// Sets the retry policy for conflicts.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// Overrides the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = Arc::new(clock);
        self
    }

    /// Overrides the random number generator.
    pub fn rng(mut self, rng: impl Rng) -> Self {
        self.config.rng = Arc::new(rng);
        self
    }

    /// Suppresses the hint printed once to standard error if the program installs no `tracing`
    /// subscriber, without which background errors are not logged.
    pub fn without_log_hint(mut self) -> Self {
        self.hints_at_log = false;
        self
    }

    /// Opens the store and starts the registered projections and process managers.
    ///
    /// # Errors
    /// [`OpenError`] if the URL or a registration is invalid, or the store does not open.
    pub async fn open(self) -> Result<Gesta, OpenError> {
        // Reported before the store opens, so that a faulty program changes nothing.
        if let Some(twice) = self.duplicate_event {
            return Err(twice.into());
        }
        if self.hints_at_log {
            log_hint::print_once();
        }
        let store = match self.source {
            StoreSource::Url(url) => open::open(&url)?,
            StoreSource::Store(store) => store,
        };
        // Layers wrap in the order of their registration: the last one is outermost.
        let innermost = self.config.assemble(&store);
        let pipeline = self.layers.into_iter().fold(innermost, |inner, layer| layer(inner));
        let PipelineConfig { clock, rng, snapshots, .. } = self.config;
        let context =
            ProjectionContext { store: SharedStore(Arc::clone(&store)), clock: Arc::clone(&clock) };
        let read_side = self.read_side.start(&context)?;
        let context = ProcessContext {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            pipeline: pipeline.clone(),
        };
        // Started last: managers send commands through the complete pipeline.
        let processes = self.processes.start(&context).await?;
        let inner = Inner {
            store,
            pipeline,
            clock,
            rng,
            read_side,
            processes,
            snapshots,
            closed: AtomicBool::new(false),
        };
        Ok(Gesta { inner: Arc::new(inner) })
    }
}

fn allow_all(_: &CommandRequest) -> Result<(), Unauthorized> {
    Ok(())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
