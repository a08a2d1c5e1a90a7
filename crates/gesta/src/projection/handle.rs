//! The handle of a running projection, without its type parameters.
//!
//! Queries, health and operators use it: status, readers and control messages.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gesta_store::{
    DatabaseError, DatabaseFuture, DatabaseName, DeadLetter, EventStore, EventType, InlineConsumer,
    InvalidName, LeaseName, NodeName, Partition, ReadModelId, ReadModelStore, StoreError,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Apply, ControlMessage, FailurePolicy, Operation, OperationError, PARTITIONS_MAX,
    PartitionStatus, ProjectionProgress, ProjectionState, TableComparison,
    comparison::compare,
    deps::{ProjectionDeps, ReadModelWork},
    inline::InlineProjection,
    lifecycle::ReadModelLifecycle,
    partition_runner::{PartitionProgress, PartitionRunner},
    runner::ProjectionRunner,
    store_work::in_callers_context,
};
use crate::{
    Clock, EventSet, RunsElsewhere,
    cache::CacheMarks,
    error_line::in_one_line,
    nodes::{Closing, Hosting, close},
};

/// Capacity of the control channel. Further senders wait.
const CONTROL_QUEUE_MAX: usize = 16;

/// Maximum time an operation waits for a projection to start.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

/// A type-erased connection for queries.
pub(crate) type AnyReader = Box<dyn Any + Send>;

/// A running projection. Dropping the handle stops it: an open transaction rolls back; a commit is
/// never interrupted.
pub(crate) struct ProjectionHandle {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) event_types: Vec<EventType>,
    pub(crate) progress: watch::Receiver<ProjectionProgress>,
    pub(crate) read_models: Arc<dyn AnyReadModels>,
    /// Its lease. `None` without nodes.
    pub(crate) lease: Option<LeaseName>,
    /// `None` if the projection is not inline, and after its end.
    inline: Mutex<Option<Arc<dyn InlineConsumer>>>,
    pub(crate) is_inline: bool,
    control: mpsc::Sender<ControlMessage>,
    closing: watch::Sender<Closing>,
    /// Number of callers that wait for a position. While there are any, a node that follows looks
    /// often.
    waiters: watch::Sender<usize>,
    running: Mutex<Option<RunningTask>>,
    /// Empty if the projection is not divided.
    partitions: Vec<PartitionHandle>,
    /// The read model in which a query met damage, with the database error.
    damaged: Mutex<Option<(ReadModelId, String)>>,
}

/// The task of a partition. Dropping it stops the task.
struct PartitionHandle {
    index: u32,
    lease: Option<LeaseName>,
    progress: watch::Receiver<PartitionProgress>,
    closing: watch::Sender<Closing>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl PartitionHandle {
    fn status(&self) -> PartitionStatus {
        let PartitionProgress { position, runs_on, trouble } = self.progress.borrow().clone();
        let (index, lease) = (self.index, self.lease.clone());
        PartitionStatus { index, position, trouble, lease, runs_on }
    }
}

/// The task of a projection.
struct RunningTask {
    task: JoinHandle<()>,
    /// Ends once neither the task nor its work on the store's threads uses the projection.
    released: mpsc::Receiver<()>,
}

impl ProjectionHandle {
    /// Records that a query met damage in the live read model.
    pub(crate) fn remember_damage(&self, error: &DatabaseError) {
        let DatabaseError::Corrupt { .. } = error else { return };
        let Some(answering) = self.progress.borrow().answering.clone() else { return };
        let detail = in_one_line(error);
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.as_ref().is_none_or(|(known, _)| *known != answering) {
            tracing::error!(projection = self.name, error = %detail, "the read model is damaged");
        }
        *damaged = Some((answering.clone(), detail.clone()));
        drop(damaged);
        // Best effort: a query must not wait for the runner. If the channel is full, the next query
        // that meets the damage reports it.
        let (reply, _) = oneshot::channel();
        let operation = Operation::Damaged(answering, detail);
        let _ = self.control.try_send(ControlMessage { operation, reply });
    }

    /// Returns the error that prevents queries on the live read model, if there is one.
    pub(crate) async fn unreadable(&self) -> Option<DatabaseError> {
        let answering = self.progress.borrow().answering.clone()?;
        match self.read_models.reader(answering).await {
            // A switch-over dropped it after the status was read.
            Ok(_) | Err(DatabaseError::Missing { .. }) => None,
            Err(error) => {
                self.remember_damage(&error);
                Some(error)
            }
        }
    }

    /// Runs a query on a connection to the active read model, where its statements may block.
    pub(crate) async fn read<T, F>(
        &self,
        read: impl FnOnce(AnyReader) -> F + Send + 'static,
    ) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (progress, read_models) = (self.progress.clone(), Arc::clone(&self.read_models));
        let control = self.control.clone();
        let (reply, answer) = oneshot::channel();
        let work = in_callers_context(async move {
            let outcome = match any_reader(progress, read_models.as_ref(), &control).await {
                Ok(reader) => Ok(read(reader).await),
                Err(error) => Err(error),
            };
            // A caller that has gone needs no answer.
            let _ = reply.send(outcome);
        });
        self.read_models.run_read(Box::pin(work)).await?;
        answer.await.expect("work that has ended has replied")
    }

    /// Returns the dead letters of the read models that this version fills, by position.
    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, DatabaseError> {
        let filled = self.progress.borrow().filled.clone();
        let mut letters = BTreeMap::new();
        for read_model in filled {
            match self.read_models.dead_letters(read_model).await {
                // Dropped concurrently, with its dead letters.
                Err(DatabaseError::Missing { .. }) => {}
                found => letters.extend(found?.into_iter().map(|one| (one.position, one))),
            }
        }
        Ok(letters.into_values().collect())
    }

    /// Returns whether the task has stopped or ended.
    pub(crate) fn is_stopped(&self) -> bool {
        self.progress.has_changed().is_err()
    }

    /// Returns the damage that queries met, unless another read model is live by now.
    pub(crate) fn damage_found(&self) -> Option<String> {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answering = self.progress.borrow().answering.clone();
        // A switch-over replaces the damaged read model, and with it the finding.
        damaged.filter(|(known, _)| Some(known) == answering.as_ref()).map(|(_, detail)| detail)
    }

    /// Waits until the projection has opened its read models or failed, up to [`START_WAIT_MAX`].
    pub(crate) async fn started(&self, clock: &dyn Clock) {
        let mut progress = self.progress.clone();
        let is_starting = |one: &ProjectionProgress| {
            one.state == ProjectionState::Starting && one.trouble.is_none()
        };
        tokio::select! {
            biased;
            _ = progress.wait_for(|one| !is_starting(one)) => {}
            () = clock.sleep(START_WAIT_MAX) => {}
        }
    }

    /// Runs an operation after the current step of the projection, and returns its result.
    pub(crate) async fn execute(&self, operation: Operation) -> Result<(), OperationError> {
        let stopped = || {
            let reason = "the projection has stopped".to_owned();
            OperationError::Unavailable { reason }
        };
        let (reply, done) = oneshot::channel();
        self.control.send(ControlMessage { operation, reply }).await.map_err(|_| stopped())?;
        done.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Counts a caller that waits for a position, until the returned value is dropped.
    pub(crate) fn waiter(&self) -> Waiter<'_> {
        self.waiters.send_modify(|waiters| *waiters += 1);
        Waiter(&self.waiters)
    }

    /// Returns the status of the partitions, by index.
    pub(crate) fn partitions(&self) -> Vec<PartitionStatus> {
        self.partitions.iter().map(PartitionHandle::status).collect()
    }

    /// Returns the reason if its rows are not changed by its own task alone, so that it can neither
    /// be paused nor compared with a rebuild.
    pub(crate) fn changed_by_others(&self) -> Option<&'static str> {
        match (self.is_inline, self.partitions.is_empty()) {
            (true, _) => Some("it is inline, so its rows change with each append"),
            (false, false) => Some("it is divided into partitions, which may run on other nodes"),
            (false, true) => None,
        }
    }

    /// Returns the refusal of operations while the projection does not run on this node.
    pub(crate) fn runs_elsewhere(&self) -> Option<RunsElsewhere> {
        let progress = self.progress.borrow();
        let waits = progress.state == ProjectionState::Waiting;
        waits.then(|| refusal(self.name, progress.runs_on.clone()))
    }

    /// Stops the task and waits until it has released its resources, including the stores.
    pub(crate) async fn stop(&self) {
        let Some(RunningTask { task, mut released }) = self.take_task() else { return };
        // Appends continue without it from now on.
        drop(self.inline.lock().unwrap_or_else(PoisonError::into_inner).take());
        for partition in &self.partitions {
            let task = partition.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task {
                close(&partition.closing, task).await;
            }
        }
        // The task drops its work and releases its lease.
        close(&self.closing, task).await;
        // The transaction that the task left behind rolls back on the store's thread.
        let _ = released.recv().await;
    }

    fn take_task(&self) -> Option<RunningTask> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A caller that waits for a position.
pub(crate) struct Waiter<'h>(&'h watch::Sender<usize>);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiters| *waiters -= 1);
    }
}

/// Returns the refusal of an operation on a node that does not run the projection.
pub(super) fn refusal(projection: &str, node: Option<NodeName>) -> RunsElsewhere {
    RunsElsewhere::new(format!("projection {projection}"), node)
}

impl fmt::Debug for ProjectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProjectionHandle of {}", self.name)
    }
}

/// A read model store without its type.
pub(crate) trait AnyReadModels: Send + Sync {
    fn reader(&self, read_model: ReadModelId) -> DatabaseFuture<'_, AnyReader>;
    fn dead_letters(&self, read_model: ReadModelId) -> DatabaseFuture<'_, Vec<DeadLetter>>;
    fn run_read(&self, work: BoxedWork) -> DatabaseFuture<'_, ()>;
    /// Compares the rows of two builds, of which these are readers.
    fn compare(
        &self,
        live: AnyReader,
        rebuilt: AnyReader,
    ) -> DatabaseFuture<'static, Vec<TableComparison>>;
    fn place(&self) -> String;
    fn troubles(&self) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>>;
}

/// Work without a result.
type BoxedWork = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S: ReadModelStore> AnyReadModels for S {
    fn reader(&self, read_model: ReadModelId) -> DatabaseFuture<'_, AnyReader> {
        Box::pin(async move {
            let reader = ReadModelStore::reader(self, &read_model).await?;
            Ok(Box::new(reader) as AnyReader)
        })
    }

    fn dead_letters(&self, read_model: ReadModelId) -> DatabaseFuture<'_, Vec<DeadLetter>> {
        Box::pin(async move { ReadModelStore::dead_letters(self, &read_model).await })
    }

    fn compare(
        &self,
        live: AnyReader,
        rebuilt: AnyReader,
    ) -> DatabaseFuture<'static, Vec<TableComparison>> {
        Box::pin(async move {
            let (Ok(live), Ok(rebuilt)) = (live.downcast(), rebuilt.downcast()) else {
                return Err(DatabaseError::rejected("the readers are of another store"));
            };
            compare::<S>(*live, *rebuilt).await
        })
    }

    fn run_read(&self, work: BoxedWork) -> DatabaseFuture<'_, ()> {
        Box::pin(ReadModelStore::run_read(self, work))
    }

    fn place(&self) -> String {
        ReadModelStore::place(self)
    }

    fn troubles(&self) -> Pin<Box<dyn Future<Output = Vec<String>> + Send + '_>> {
        Box::pin(ReadModelStore::troubles(self))
    }
}

/// Opens a connection to the active read model. Retries if a switch dropped the read model
/// concurrently; its successor is at least as recent. Fails if another program dropped it, and has
/// the projection look for the one that is live now.
async fn any_reader(
    mut progress: watch::Receiver<ProjectionProgress>,
    read_models: &dyn AnyReadModels,
    control: &mpsc::Sender<ControlMessage>,
) -> Result<AnyReader, DatabaseError> {
    loop {
        let answering = progress.borrow_and_update().answering.clone();
        let Some(answering) = answering else {
            return Err(DatabaseError::unavailable("the projection is starting"));
        };
        let missing = match read_models.reader(answering.clone()).await {
            Err(missing @ DatabaseError::Missing { .. }) => missing,
            outcome => return outcome,
        };
        let (reply, looked) = oneshot::channel();
        let operation = Operation::Missed(answering);
        let _ = control.send(ControlMessage { operation, reply }).await;
        match looked.await {
            // A switch was published before the answer.
            Ok(Ok(())) => {}
            Ok(Err(OperationError::Unavailable { reason })) => {
                return Err(DatabaseError::unavailable(reason));
            }
            // Another node runs the projection. This one looks at its read models by itself.
            Ok(Err(_)) if progress.changed().await.is_ok() => {}
            Ok(Err(_)) | Err(_) => return Err(missing),
        }
    }
}

/// Shared services of all projections.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionContext {
    pub(crate) store: SharedStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hosting: Hosting,
    pub(crate) cache: CacheMarks,
}

#[derive(Clone)]
pub(crate) struct SharedStore(pub(crate) Arc<dyn EventStore>);

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedStore")
    }
}

/// A projection that is registered and not started yet.
pub(crate) struct ProjectionRegistration<P, S> {
    pub(crate) projection: P,
    pub(crate) read_models: S,
    pub(crate) is_inline: bool,
}

/// Start of a registered projection, without its type parameters.
pub(crate) trait StartProjection: Send {
    fn name(&self) -> &'static str;

    /// Returns why an inline projection cannot take part in the appends of a store.
    fn inline_fault(&self, store: &dyn EventStore) -> Option<String>;

    /// Returns what is wrong with the partitions of the projection.
    fn partition_fault(&self) -> Option<&'static str>;

    fn start(self: Box<Self>, context: &ProjectionContext) -> Result<ProjectionHandle, StoreError>;
}

impl<P, S> StartProjection for ProjectionRegistration<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn inline_fault(&self, store: &dyn EventStore) -> Option<String> {
        let (events, rows) = (store.database(), ReadModelStore::database(&self.read_models));
        if !self.is_inline || events.is_some() && events == rows {
            return None;
        }
        let place = |name: Option<DatabaseName>| match name {
            Some(name) => format!("in the database `{name}`"),
            None => "where no transaction can be shared".to_owned(),
        };
        let (events, rows) = (place(events), place(rows));
        Some(format!(
            "the events are {events}, and the read models {rows}; keep both in one database, or \
             register the projection with `project`"
        ))
    }

    fn partition_fault(&self) -> Option<&'static str> {
        match P::PARTITIONS {
            1 => None,
            2..=PARTITIONS_MAX if self.is_inline => {
                Some("an inline projection cannot have partitions")
            }
            2..=PARTITIONS_MAX if P::FAILURE_POLICY == FailurePolicy::Halt => {
                Some("a projection with partitions sets failing events aside and cannot halt")
            }
            2..=PARTITIONS_MAX => None,
            _ => Some("a projection has 1 to 64 partitions"),
        }
    }

    fn start(self: Box<Self>, context: &ProjectionContext) -> Result<ProjectionHandle, StoreError> {
        let (sender, progress) = watch::channel(ProjectionProgress::starting());
        let sender = Arc::new(sender);
        let (control, messages) = mpsc::channel(CONTROL_QUEUE_MAX);
        let (closing, closed) = watch::channel(Closing::NotYet);
        let (waiters, waiting) = watch::channel(0);
        let post = context.hosting.post("projection", P::NAME)?;
        let lease = post.lease.clone();
        let (in_use, released) = mpsc::channel(1);
        let read_models = Arc::new(self.read_models.clone());
        let deps = Arc::new(ProjectionDeps {
            store: Arc::clone(&context.store.0),
            clock: Arc::clone(&context.clock),
            work: Arc::new(ReadModelWork {
                projection: Arc::new(self.projection),
                read_models: self.read_models,
                token: None,
                is_inline: self.is_inline,
                partition: None,
                cache: context.cache.clone(),
                in_use,
            }),
        });
        // Checked here, so that an invalid name fails the open and not the task.
        let event_types = P::Event::event_types()?;
        let inline = attach_inline(&deps, &sender)?;
        let partitions = start_partitions(&deps, &context.hosting)?;
        let lifecycle = ReadModelLifecycle {
            deps,
            progress: sender,
            outdated: HashMap::new(),
            waiters: waiting,
        };
        let runner = ProjectionRunner {
            lifecycle,
            control: messages,
            closing: closed,
            post,
            is_paused: false,
            last_error: None,
        };
        let task = tokio::spawn(Box::pin(runner.run()) as Pin<Box<dyn Future<Output = ()> + Send>>);
        let (name, version) = (P::NAME, P::VERSION);
        Ok(ProjectionHandle {
            name,
            version,
            event_types,
            progress,
            read_models,
            lease,
            inline: Mutex::new(inline),
            is_inline: self.is_inline,
            control,
            closing,
            waiters,
            running: Mutex::new(Some(RunningTask { task, released })),
            partitions,
            damaged: Mutex::new(None),
        })
    }
}

/// Lets an inline projection take part in appends from now on.
fn attach_inline<P, S>(
    deps: &ProjectionDeps<P, S>,
    progress: &Arc<watch::Sender<ProjectionProgress>>,
) -> Result<Option<Arc<dyn InlineConsumer>>, StoreError>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    if !deps.work.is_inline {
        return Ok(None);
    }
    let inline = InlineProjection::new(&deps.store, Arc::clone(&deps.work), progress)?;
    let inline: Arc<dyn InlineConsumer> = Arc::new(inline);
    deps.store.attach_inline(Arc::downgrade(&inline))?;
    Ok(Some(inline))
}

/// Starts a task for each partition of a projection, if it is divided.
fn start_partitions<P, S>(
    deps: &Arc<ProjectionDeps<P, S>>,
    hosting: &Hosting,
) -> Result<Vec<PartitionHandle>, InvalidName>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    let partitions = Partition::all(P::PARTITIONS).filter(|_| P::PARTITIONS > 1);
    let start = |partition: Partition| {
        let (index, count) = (partition.index(), partition.count());
        let post = hosting.post("projection", &format!("{}#{index}-of-{count}", P::NAME))?;
        let lease = post.lease.clone();
        let (published, progress) = watch::channel(PartitionProgress::default());
        let (closing, closed) = watch::channel(Closing::NotYet);
        let deps = Arc::new(deps.of_partition(partition));
        let runner =
            PartitionRunner { partition, deps, progress: published, closing: closed, post };
        let run = Box::pin(runner.run_in_turns()) as Pin<Box<dyn Future<Output = ()> + Send>>;
        let task = Mutex::new(Some(tokio::spawn(run)));
        Ok(PartitionHandle { index, lease, progress, closing, task })
    };
    partitions.map(start).collect()
}
