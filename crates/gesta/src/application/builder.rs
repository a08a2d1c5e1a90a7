//! The builder of an application: its configuration, registrations and start.
//!
//! Invariant: everything replaceable (store, clock, randomness, layers) comes in through the
//! builder. Not here: the mapping of URLs to stores ([`open`](mod@crate::open)).

use std::{fmt, sync::Arc, time::Duration};

use gesta_store::{
    CapabilitySet, EventStore, QueryCache, ReadModelStore, ReadRows, Rows, SnapshotStore,
};
use serde::{Serialize, de::DeserializeOwned};
use tower::{BoxError, Layer, Service, ServiceExt as _, util::BoxCloneSyncService};

use super::{
    Gesta,
    handle::Parts,
    process_side::ProcessRegistrations,
    reactor_side::ReactorRegistrations,
    read_side::ReadSideRegistrations,
    requirements::{self, Requirements},
};
use crate::{
    Aggregate, Apply, Authorize, Begin, Boundary, Clock, CommandRequest, CommandSet, Decide,
    DuplicateEventName, EventSet, Nodes, OnRead, OpenError, Pipeline, ProcessManager, ProcessSetup,
    Reactor, ReactorSetup, Receipt, RetryPolicy, Rng, Role, SnapshotPolicy, SystemClock, SystemRng,
    TenantId, Unauthorized,
    cache::{AnswerCache, CacheMarks},
    event_names::Scope,
    log_hint,
    nodes::Hosting,
    open,
    pipeline::{PipelineConfig, RememberedRejections},
    process::ProcessContext,
    projection::{ProjectionContext, ProjectionRegistration, SharedStore},
    reactor::{ReactorContext, StateSource},
    snapshot::Snapshots,
    tenancy,
};

#[cfg(feature = "schemas")]
use crate::{Registry, event::EventValidators};

impl Gesta {
    /// Starts a builder for the store behind a URL; see [`open`](crate::open()).
    pub fn at(url: impl Into<String>) -> Builder {
        Builder::new(StoreSource::Url(url.into()))
    }

    /// Starts a builder on an open store.
    pub fn on(store: Arc<dyn EventStore>) -> Builder {
        Builder::new(StoreSource::Store(store))
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
    config: PipelineConfig,
    layers: Vec<Box<dyn FnOnce(Pipeline) -> Pipeline + Send>>,
    read_side: ReadSideRegistrations,
    processes: ProcessRegistrations,
    requirements: Requirements,
    reactors: ReactorRegistrations,
    nodes: Option<Nodes>,
    role: Role,
    cache: Option<Arc<dyn QueryCache>>,
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
            counters: Arc::default(),
            tenant: None,
            check_event: None,
        };
        Self {
            source,
            config,
            layers: Vec::new(),
            read_side: ReadSideRegistrations::default(),
            processes: ProcessRegistrations::default(),
            requirements: Requirements::default(),
            reactors: ReactorRegistrations::default(),
            nodes: None,
            role: Role::All,
            cache: None,
            hints_at_log: true,
            duplicate_event: None,
        }
    }

    /// Registers the events that a part of the program reads. A duplicate event name is reported by
    /// [`open`](Self::open).
    fn reads_events<E: EventSet>(mut self, scope: Scope) -> Self {
        let added = self.config.event_names.add_set::<E>(scope);
        self.duplicate_event = self.duplicate_event.or(added.err());
        self
    }

    /// Wraps the pipeline, including all layers added so far, in a tower layer.
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

    /// Sets the tenant whose application this is: the id is in the metadata of each event that the
    /// application appends, and in the context of each command.
    ///
    /// Each tenant has a store of its own: a directory, a schema, a prefix of tables. The store
    /// belongs to the tenant for which it is opened first, and [`open`](Self::open) refuses it to
    /// another one. Read models, snapshots and caches are given to the builder, so they have to be
    /// the tenant's own, too.
    ///
    /// ```
    /// use gesta::{Gesta, TenantError, OpenError};
    ///
    /// # gesta::store::conformance::block_on(async {
    /// let acme = Gesta::at("memory:").tenant("acme".parse()?).open().await?;
    /// assert_eq!(acme.tenant().map(|tenant| tenant.as_str()), Some("acme"));
    /// let other = Gesta::on(acme.store().clone()).tenant("globex".parse()?).open().await;
    /// assert!(matches!(other, Err(OpenError::Tenant(TenantError::OtherOwner { .. }))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).expect("a memory store opens");
    /// ```
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.config.tenant = Some(tenant);
        self
    }

    /// Shares projections, process managers and reactors with other nodes: each runs on one node at
    /// a time, under a lease.
    ///
    /// All nodes have the same event store and the same read models, so that queries are answered
    /// on each. Without this call everything runs on this node.
    pub fn nodes(mut self, nodes: Nodes) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// Sets the parts of the application that this node serves. Default: [`Role::All`].
    ///
    /// The registrations are the same on all nodes. A part that this node does not run shows the
    /// state `Waiting`, and its queries are answered from the read models that all nodes share.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Caches the answers of the queries that opt in ([`Query::caching`](crate::Query::caching)).
    ///
    /// Each projection then sets marks in the cache before it commits a batch that changes rows, so
    /// that a commit takes as much longer as the cache takes to answer. Nodes that share read
    /// models need one shared cache, or each a `MemoryQueryCache`, in which any change of a read
    /// model ends all of its answers.
    pub fn query_cache(mut self, cache: Arc<dyn QueryCache>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Compares the data of every event that a command appends with the JSON schema of its version
    /// in a registry, and refuses the command if they differ, as when `Serialize` writes what
    /// `Deserialize` was never asked for. An event that the registry lacks is refused, too.
    ///
    /// Costs one parse of the data for each event. Events that are appended to the store directly,
    /// and those of the framework itself, are not compared.
    ///
    /// ```
    /// use gesta::{Gesta, Registry, prelude::*};
    ///
    /// #[derive(Event, Serialize, Deserialize, Clone)]
    /// #[event(name = "door-opened")]
    /// struct DoorOpened {
    ///     key: String,
    /// }
    ///
    /// #[derive(EventSet, Clone)]
    /// enum DoorEvent {
    ///     Opened(DoorOpened),
    /// }
    ///
    /// let builder = Gesta::at("memory:").validate_events(&Registry::of::<DoorEvent>());
    /// # drop(builder);
    /// ```
    #[cfg(feature = "schemas")]
    pub fn validate_events(mut self, registry: &Registry) -> Self {
        self.config.check_event = Some(Arc::new(EventValidators::of(registry)));
        self
    }

    /// Requires optional features of the store, for a part of the program that is not registered.
    /// [`open`](Self::open) refuses a store that lacks one, and names the part.
    ///
    /// Commands are not registered. One that decides on several aggregates needs
    /// [`MultiStreamAppend`](gesta_store::Capability::MultiStreamAppend); one whose boundary
    /// selects events by tags needs [`Tags`](gesta_store::Capability::Tags),
    /// [`QueryFilter`](gesta_store::Capability::QueryFilter) and
    /// [`AppendCondition`](gesta_store::Capability::AppendCondition). Without this call the store
    /// refuses such a command when it is executed.
    pub fn requires(mut self, part: impl Into<String>, features: CapabilitySet) -> Self {
        self.requirements.add(part.into(), features);
        self
    }

    /// Accepts a store that cannot find appends. There, a command that is given twice with one
    /// command id may take effect twice.
    pub fn idempotency_optional(mut self) -> Self {
        self.requirements.without_idempotency();
        self
    }

    /// Suppresses the hint printed once to standard error if the program installs no `tracing`
    /// subscriber, without which background errors are not logged.
    pub fn without_log_hint(mut self) -> Self {
        self.hints_at_log = false;
        self
    }

    /// Runs a projection into read models of a store while the application is open. Requires a
    /// tokio runtime.
    pub fn project<P, S>(mut self, projection: P, read_models: &S) -> Self
    where
        P: Apply<S::Tx>,
        S: ReadModelStore,
    {
        self.requirements.add(format!("projection `{}`", P::NAME), requirements::PROJECTION);
        let read_models = read_models.clone();
        self.read_side.add(ProjectionRegistration { projection, read_models, is_inline: false });
        self.reads_events::<P::Event>(Scope::of::<P::Event>())
    }

    /// Runs a projection in the transactions of appends: a query right after a command sees its
    /// rows, without a wait. The events and the read models have to be in one database.
    ///
    /// An event that the projection cannot apply fails its append, with
    /// [`StoreError::Inline`](gesta_store::StoreError::Inline), and every append of every node
    /// waits for the projection. One that is new, rebuilt or behind by more than 512 events catches
    /// up as others do, while appends continue without it, and so does one with dead letters.
    ///
    /// [`open`](Self::open) waits up to 5 s until the read model can take part.
    pub fn project_inline<P, S>(mut self, projection: P, read_models: &S) -> Self
    where
        P: Apply<S::Tx>,
        S: ReadModelStore,
    {
        let part = format!("inline projection `{}`", P::NAME);
        self.requirements.add(part, requirements::INLINE_PROJECTION);
        let read_models = read_models.clone();
        self.read_side.add(ProjectionRegistration { projection, read_models, is_inline: true });
        self.reads_events::<P::Event>(Scope::of::<P::Event>())
    }

    /// Keeps the rows of an on-read projection in a store.
    pub fn project_on_read<P, S>(mut self, _projection: P, read_models: &S) -> Self
    where
        P: OnRead,
        S: ReadModelStore<Tx: Rows, Reader: ReadRows>,
    {
        self.read_side.add_on_read::<P, S>(read_models.clone());
        // Restricted to its category, since it reads streams of that category only.
        self.reads_events::<P::Event>(Scope::Named)
    }

    /// Runs a process manager while the application is open. Requires a tokio runtime.
    ///
    /// A manager that is new to the store starts at its first event; see
    /// [`process_set_up`](Self::process_set_up) for other starting positions.
    pub fn process<P: ProcessManager + Default>(self) -> Self {
        self.process_with(P::default())
    }

    /// Runs a process manager whose instances start from this value, settings included.
    pub fn process_with<P: ProcessManager>(self, manager: P) -> Self {
        self.process_set_up(ProcessSetup::of(manager))
    }

    /// Runs a process manager with a starting position or a former name.
    pub fn process_set_up<P: ProcessManager>(mut self, setup: ProcessSetup<P>) -> Self {
        self.requirements.add(format!("process manager `{}`", P::NAME), requirements::PROCESS);
        self.processes.add(setup);
        let added = self.config.event_names.add_aggregates(<P::Commands as CommandSet>::events);
        self.duplicate_event = self.duplicate_event.or(added.err());
        self.reads_events::<P::Event>(Scope::of::<P::Event>())
    }

    /// Names the aggregates of commands, such as `(Order, Account)`, so that [`open`](Self::open)
    /// fails if two types of their events have one name. Those of process managers' commands are
    /// known.
    ///
    /// Commands are not registered, so an aggregate that is not named is checked before its first
    /// command, which fails without appending. A load needs no check: it reads only events of the
    /// aggregate's own category, and only checked commands append there.
    pub fn aggregates<B: Boundary>(mut self) -> Self {
        let added = self.config.event_names.add_boundary::<B>();
        self.duplicate_event = self.duplicate_event.or(added.err());
        self
    }

    /// Runs a reactor while the application is open. Requires a tokio runtime.
    ///
    /// `begins` is the first event, if the reactor is new to the store. With
    /// [`Begin::AtTheStart`] all of history has its effects, such as a mail for each past order.
    pub fn react<R: Reactor>(self, reactor: R, begins: Begin) -> Self {
        self.react_set_up(ReactorSetup::of(reactor, begins))
    }

    /// Runs a reactor with settings: its concurrency, attempts and time limit.
    pub fn react_set_up<R: Reactor>(mut self, setup: ReactorSetup<R>) -> Self {
        self.requirements.add(format!("reactor `{}`", R::NAME), requirements::REACTOR);
        self.reactors.add(setup);
        self.reads_events::<R::Event>(Scope::of::<R::Event>())
    }

    /// Keeps snapshots of an aggregate in a store.
    ///
    /// A snapshot of an aggregate that selects events of several streams is used until the metadata
    /// of any stream change, as with a deletion, and not taken if a stream of its events has a
    /// maximum age or count.
    ///
    /// Takes no snapshots if the state or its events hide a part of their shape from serde
    /// (untagged, internally or adjacently tagged, or flattened types), because a change there
    /// could not be detected; a warning names the places. Give such parts another representation,
    /// or use [`snapshots_by_version`](Self::snapshots_by_version).
    pub fn snapshots<A>(
        mut self,
        store: &(impl SnapshotStore + Clone),
        policy: SnapshotPolicy,
    ) -> Self
    where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        self.config.snapshots.add::<A>(store, policy);
        self.aggregates::<A>()
    }

    /// Keeps snapshots of an aggregate with partly hidden shape. Only `fold_version` covers the
    /// hidden parts: raise it with every change there.
    pub fn snapshots_by_version<A>(
        mut self,
        store: &(impl SnapshotStore + Clone),
        policy: SnapshotPolicy,
    ) -> Self
    where
        A: Aggregate + Serialize + DeserializeOwned,
    {
        self.config.snapshots.add_by_version::<A>(store, policy);
        self.aggregates::<A>()
    }

    /// Remembers the rejections of a command.
    ///
    /// A repeat with the same caller-supplied command id gets the same rejection, even if the
    /// command would be accepted by then. Each rejection leaves a small event in the stream
    /// `receipts-commands`. By default, a rejected command that is repeated is decided again.
    pub fn remember_rejections<C>(mut self) -> Self
    where
        C: Decide<Rejection: Serialize + DeserializeOwned>,
    {
        let part = format!("remembered rejections of `{}`", C::NAME);
        self.requirements.add(part, requirements::REMEMBERED_REJECTIONS);
        self.config.remembered.insert::<C::Rejection>(C::NAME);
        self.aggregates::<C::On>()
    }

    /// Opens the store and starts the registered projections, process managers and reactors.
    ///
    /// # Errors
    /// [`OpenError`] if the URL or a registration is invalid, or the store does not open or lacks a
    /// feature that the application needs.
    pub async fn open(self) -> Result<Gesta, OpenError> {
        // Reported before the store opens, so that a faulty program changes nothing.
        if let Some(twice) = self.duplicate_event {
            return Err(twice.into());
        }
        if let Some(nodes) = &self.nodes {
            nodes.check()?;
        }
        if self.hints_at_log {
            log_hint::print_once();
        }
        let (store, owns_store) = match self.source {
            StoreSource::Url(url) => (open::open(&url).await?, true),
            StoreSource::Store(store) => (store, false),
        };
        self.requirements.check(store.capabilities().supported)?;
        let store = tenancy::opened_for(self.config.tenant.as_ref(), store).await?;
        self.config.snapshots.timed_by(&self.config.clock);
        // Layers wrap in the order of their registration: the last one is outermost.
        let innermost = self.config.assemble(&store);
        let pipeline = self.layers.into_iter().fold(innermost, |inner, layer| layer(inner));
        let PipelineConfig { clock, rng, snapshots, counters, tenant, .. } = self.config;
        let hosting = Hosting::new(self.nodes.clone(), self.role.runs_tasks(), Arc::clone(&clock));
        let context = ProjectionContext {
            store: SharedStore(Arc::clone(&store)),
            clock: Arc::clone(&clock),
            hosting: hosting.clone(),
            cache: CacheMarks::of(self.cache.as_ref()),
        };
        // Nodes that share the read models change rows, too, and so do those of other roles.
        let has_other_writers = self.nodes.is_some() || !self.role.runs_tasks();
        let answers =
            self.cache.map(|cache| AnswerCache::new(cache, Arc::clone(&clock), has_other_writers));
        let read_side = self.read_side.start(&context)?;
        for inline in read_side.handles().filter(|handle| handle.is_inline) {
            inline.started(clock.as_ref()).await;
        }
        let context = ProcessContext {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            pipeline: pipeline.clone(),
            hosting: hosting.clone(),
        };
        // Started last: managers send commands through the complete pipeline.
        let processes = self.processes.start(&context).await?;
        let state = StateSource { store: Arc::clone(&store), snapshots: snapshots.clone() };
        let context = ReactorContext { state, clock: Arc::clone(&clock), hosting: hosting.clone() };
        let reactors = self.reactors.start(&context).await?;
        Ok(Gesta::of(Parts {
            store,
            owns_store,
            pipeline,
            clock,
            rng,
            read_side,
            counters,
            measuring: tokio::sync::Mutex::default(),
            answers,
            processes,
            reactors,
            snapshots,
            nodes: self.nodes,
            membership: hosting.join(),
            role: self.role,
            tenant,
        }))
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
