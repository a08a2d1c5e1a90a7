//! The handle of a running process manager, without its type parameters.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{EventStore, EventType, LeaseName, NodeName};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    InstanceCounts, ProcessError, ProcessManager, ProcessSetup, ProcessState,
    checkpoint::{self, has_streams},
    deps::ProcessDeps,
    journal::Census,
    operation::{ProcessControlMessage, ProcessOperation},
    session::ProcessRunner,
    setup::Identity,
    status::ProcessProgress,
    trouble::InputError,
};
use crate::{
    Begin, Clock, EventSet, OpenError, Pipeline, ProcessNotRegistered, RunsElsewhere,
    error_line::in_one_line,
    nodes::{Closing, Hosting, close},
};

/// Capacity of the control channel. Further senders wait.
const CONTROL_QUEUE_MAX: usize = 16;

/// A running process manager. Dropping the handle stops it.
pub(crate) struct ProcessHandle {
    pub(crate) name: &'static str,
    pub(crate) progress: watch::Receiver<ProcessProgress>,
    /// Types of the events that it handles.
    pub(crate) event_types: Vec<EventType>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) identity: Arc<Identity>,
    /// Its lease. `None` without nodes.
    pub(crate) lease: Option<LeaseName>,
    control: mpsc::Sender<ProcessControlMessage>,
    closing: watch::Sender<Closing>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Latest count of the instances.
    census: Mutex<Census>,
}

impl ProcessHandle {
    /// Runs an operation and returns its result.
    pub(crate) async fn order(&self, operation: ProcessOperation) -> Result<(), ProcessError> {
        let (done, is_done) = oneshot::channel();
        let gone = || ProcessNotRegistered { process: self.name.to_owned() };
        self.control.send(ProcessControlMessage { operation, done }).await.map_err(|_| gone())?;
        is_done.await.unwrap_or_else(|_| {
            let reason =
                "the operation was interrupted; check the status, then repeat it".to_owned();
            Err(ProcessError::Unavailable { reason })
        })
    }

    /// Writes a checkpoint if no work is in flight, stops the task and waits until it has released
    /// the store.
    ///
    /// Dropping the returned future ends the task without a checkpoint.
    pub(crate) async fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        close(&self.closing, task).await;
    }

    /// Returns the status once the journal is loaded or has failed to load.
    pub(super) async fn started(&self) -> ProcessProgress {
        let mut progress = self.progress.clone();
        let started = progress
            .wait_for(|progress| progress.state != ProcessState::Starting || progress.is_stuck);
        match started.await {
            Ok(started) => started.clone(),
            Err(_) => self.progress.borrow().clone(),
        }
    }

    /// Counts the instances, starting from the previous count.
    pub(crate) async fn counts(&self) -> Result<InstanceCounts, ProcessError> {
        let progress = self.started().await;
        let mut census = self.last_census(&progress);
        census.advance(self.store.as_ref(), &self.identity).await.map_err(operation_error)?;
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
        Ok(counts(census, &progress))
    }

    /// Returns the latest count of the instances, without a read: that of the last checkpoint, or a
    /// later one of [`counts`](Self::counts). Set-aside instances are those of the moment.
    pub(crate) fn last_counts(&self) -> InstanceCounts {
        let progress = self.progress.borrow();
        counts(self.last_census(&progress), &progress)
    }

    /// Returns the further count of two: that of the last checkpoint, or that of the previous call.
    fn last_census(&self, progress: &ProcessProgress) -> Census {
        let last = *self.census.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.census.position() > last.position() { progress.census } else { last }
    }
}

fn counts(census: Census, progress: &ProcessProgress) -> InstanceCounts {
    InstanceCounts {
        running: census.running,
        troubled: progress.asides.instance_ids().count() as u64,
        ended: census.ended,
        cancelled: census.cancelled,
        as_of: census.position(),
    }
}

/// Converts an infrastructure error to an operation's error.
pub(super) fn operation_error(trouble: InputError) -> ProcessError {
    match trouble {
        InputError::Store(error) => error.into(),
        trouble => ProcessError::Unavailable { reason: in_one_line(&trouble) },
    }
}

/// Returns the refusal of an operation on a node that does not run the process manager.
pub(super) fn refusal(process: &str, node: Option<NodeName>) -> RunsElsewhere {
    RunsElsewhere::new(format!("process manager {process}"), node)
}

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessHandle of {}", self.name)
    }
}

/// Shared services of all process managers.
#[derive(Clone)]
pub(crate) struct ProcessContext {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pipeline: Pipeline,
    pub(crate) hosting: Hosting,
}

/// A process manager that is registered and not started yet.
pub(crate) struct ProcessRegistration<P>(pub(crate) ProcessSetup<P>);

/// The start of a manager, as a future.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<ProcessHandle, OpenError>> + Send>>;

/// Start of a registered manager, without its type parameters.
pub(crate) trait StartProcessManager: Send {
    fn name(&self) -> &'static str;

    /// Former name of the manager, under which its streams are stored.
    fn formerly(&self) -> Option<&str>;

    fn start(self: Box<Self>, context: ProcessContext) -> Starting;
}

impl<P: ProcessManager> StartProcessManager for ProcessRegistration<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn formerly(&self) -> Option<&str> {
        self.0.formerly.as_deref()
    }

    fn start(self: Box<Self>, context: ProcessContext) -> Starting {
        Box::pin(start(self.0, context))
    }
}

async fn start<P: ProcessManager>(
    setup: ProcessSetup<P>,
    context: ProcessContext,
) -> Result<ProcessHandle, OpenError> {
    // Names are checked before the store is touched.
    let identity = Arc::new(setup.identity()?);
    let event_types = P::Event::event_types()?;
    let ProcessSetup { manager, begins, formerly, set_aside_max } = setup;
    let ProcessContext { store, clock, pipeline, hosting } = context;
    let post = hosting.post("process", P::NAME)?;
    let lease = post.lease.clone();
    if let Some(formerly) = formerly {
        check_rename::<P>(store.as_ref(), formerly).await?;
    }
    // Fix the start position before the application opens: all events appended later come after it.
    if begins != Begin::AtTheStart {
        let begun = checkpoint::begin(store.as_ref(), &identity, begins).await;
        begun.map_err(|trouble| not_begun::<P>(trouble))?;
    }
    let (published, progress) = watch::channel(ProcessProgress::starting());
    let (control, ordered) = mpsc::channel(CONTROL_QUEUE_MAX);
    let (closing, closed) = watch::channel(Closing::NotYet);
    let deps = ProcessDeps {
        manager,
        store: Arc::clone(&store),
        clock,
        pipeline,
        identity: Arc::clone(&identity),
        begins,
        set_aside_max,
    };
    let runner = ProcessRunner {
        deps: Arc::new(deps),
        control: ordered,
        progress: published,
        closing: closed,
        post,
        sending: JoinSet::new(),
        working: JoinSet::new(),
        paused: false,
        halted: None,
        ignored: 0,
    };
    let run = Box::pin(runner.run_in_turns()) as Pin<Box<dyn Future<Output = ()> + Send>>;
    // Started last: nothing below can fail and leave a task without its handle.
    let task = Mutex::new(Some(tokio::spawn(run)));
    Ok(ProcessHandle {
        name: P::NAME,
        progress,
        event_types,
        store,
        identity,
        lease,
        control,
        closing,
        task,
        census: Mutex::default(),
    })
}

/// Checks that a manager with a former name has no streams under its current one.
async fn check_rename<P: ProcessManager>(
    store: &dyn EventStore,
    formerly: String,
) -> Result<(), OpenError> {
    let process = P::NAME;
    let current = Identity::named(process)?;
    let not_read = |error| not_begun::<P>(InputError::Store(error));
    let journal = current.journal.as_str();
    // Streams under both names would be two histories of one manager.
    if formerly == process
        || has_streams(store, &current.prefix()).await.map_err(not_read)?
        || has_streams(store, journal).await.map_err(not_read)?
    {
        return Err(OpenError::ProcessFormerly { process, formerly });
    }
    Ok(())
}

fn not_begun<P: ProcessManager>(trouble: InputError) -> OpenError {
    OpenError::ProcessBegin { process: P::NAME, reason: in_one_line(&trouble) }
}
