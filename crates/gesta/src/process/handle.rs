//! A running process manager as others see it, without its types.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::EventStore;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    Begin, InstanceCounts, ProcessError, ProcessManager, ProcessSetup, ProcessState,
    checkpoint::{self, has_streams},
    journal::Census,
    orders::{Operation, Order},
    runner::{Caller, Parts, Runner},
    setup::Identity,
    status::Progress,
    trouble::Trouble,
};
use crate::{Clock, EventSet, OpenError, Pipeline, ProcessNotRegistered, projection::in_one_line};

/// Orders that wait for a manager; more have to wait to be given.
const ORDERS_MAX: usize = 16;

/// A running process manager. It stops when this is dropped.
pub(crate) struct Handle {
    pub(crate) name: &'static str,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) identity: Arc<Identity>,
    orders: mpsc::Sender<Order>,
    running: Mutex<Option<Running>>,
    /// The last count of the instances.
    census: Mutex<Census>,
}

/// The task of a manager. Dropping this ends the task at once.
struct Running {
    /// Ends the task after a checkpoint.
    close: oneshot::Sender<Caller>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Has an operation done.
    pub(crate) async fn order(&self, operation: Operation) -> Result<(), ProcessError> {
        let (done, is_done) = oneshot::channel();
        let gone = || ProcessNotRegistered { process: self.name.to_owned() };
        self.orders.send(Order { operation, done }).await.map_err(|_| gone())?;
        is_done.await.unwrap_or_else(|_| {
            let reason = "it was interrupted; look at the status, and order it again".to_owned();
            Err(ProcessError::Unavailable { reason })
        })
    }

    /// Writes a checkpoint if no work is in flight, stops the task and waits until it has released
    /// the store.
    ///
    /// Dropping the returned future ends the task without a checkpoint.
    pub(crate) async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { close, task }) = running else { return };
        // Dropped together with this future, which shows the task that its caller is gone.
        let (_waiting, caller) = oneshot::channel();
        // Errors mean that the task has ended already.
        let _ = close.send(caller);
        let _ = task.await;
    }

    /// How it is, once it has read what is set aside, or says why it cannot.
    pub(super) async fn started(&self) -> Progress {
        let mut progress = self.progress.clone();
        let started = progress
            .wait_for(|progress| progress.state != ProcessState::Starting || progress.is_stuck);
        match started.await {
            Ok(started) => started.clone(),
            Err(_) => self.progress.borrow().clone(),
        }
    }

    /// Counts the instances, from the last count on.
    pub(crate) async fn counts(&self) -> Result<InstanceCounts, ProcessError> {
        let progress = self.started().await;
        let last = *self.census.lock().unwrap_or_else(PoisonError::into_inner);
        let later = progress.census.position() > last.position();
        let mut census = if later { progress.census } else { last };
        census.advance(self.store.as_ref(), &self.identity).await.map_err(told)?;
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
        Ok(InstanceCounts {
            running: census.running,
            troubled: progress.asides.instance_ids().count() as u64,
            ended: census.ended,
            cancelled: census.cancelled,
            as_of: census.position(),
        })
    }
}

/// Trouble of an operation.
pub(super) fn told(trouble: Trouble) -> ProcessError {
    match trouble {
        Trouble::Store(error) => error.into(),
        trouble => ProcessError::Unavailable { reason: in_one_line(&trouble) },
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle of {}", self.name)
    }
}

/// What a process manager is started with.
#[derive(Clone)]
pub(crate) struct ProcessContext {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pipeline: Pipeline,
}

/// A process manager that was registered and is not started yet.
pub(crate) struct Planned<P>(pub(crate) ProcessSetup<P>);

/// A manager on its way to run.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<Handle, OpenError>> + Send>>;

/// Starts what was planned, whatever its types.
pub(crate) trait Planning: Send {
    /// The name of the manager.
    fn name(&self) -> &'static str;

    /// The name under which its streams stand, where that is another one.
    fn formerly(&self) -> Option<&str>;

    fn start(self: Box<Self>, context: ProcessContext) -> Starting;
}

impl<P: ProcessManager> Planning for Planned<P> {
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
) -> Result<Handle, OpenError> {
    let identity = Arc::new(setup.identity()?);
    P::Event::event_types()?;
    let ProcessSetup { manager, begins, formerly, set_aside_max } = setup;
    let ProcessContext { store, clock, pipeline } = context;
    if let Some(formerly) = formerly {
        check_past::<P>(store.as_ref(), formerly).await?;
    }
    // Whatever is appended once the application is open comes after its beginning.
    if begins != Begin::AtTheStart {
        let begun = checkpoint::begin(store.as_ref(), &identity, begins).await;
        begun.map_err(|trouble| not_begun::<P>(trouble))?;
    }
    let (told, progress) = watch::channel(Progress::starting());
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let parts = Parts {
        manager,
        store: Arc::clone(&store),
        clock,
        pipeline,
        identity: Arc::clone(&identity),
        begins,
        set_aside_max,
    };
    let runner = Runner {
        parts: Arc::new(parts),
        orders: ordered,
        progress: told,
        sending: JoinSet::new(),
        working: JoinSet::new(),
        paused: false,
        halted: None,
        ignored: 0,
    };
    let (close, closed) = oneshot::channel();
    let run = Box::pin(runner.run(closed)) as Pin<Box<dyn Future<Output = ()> + Send>>;
    let running = Running { close, task: tokio::spawn(run) };
    Ok(Handle {
        name: P::NAME,
        progress,
        store,
        identity,
        orders,
        running: Mutex::new(Some(running)),
        census: Mutex::default(),
    })
}

/// A manager with a former name has no streams under its present one.
async fn check_past<P: ProcessManager>(
    store: &dyn EventStore,
    formerly: String,
) -> Result<(), OpenError> {
    let process = P::NAME;
    let present = Identity::named(process)?;
    let not_read = |error| not_begun::<P>(Trouble::Store(error));
    let journal = present.journal.as_str();
    if formerly == process
        || has_streams(store, &present.prefix()).await.map_err(not_read)?
        || has_streams(store, journal).await.map_err(not_read)?
    {
        return Err(OpenError::ProcessFormerly { process, formerly });
    }
    Ok(())
}

fn not_begun<P: ProcessManager>(trouble: Trouble) -> OpenError {
    OpenError::ProcessBegin { process: P::NAME, reason: in_one_line(&trouble) }
}
