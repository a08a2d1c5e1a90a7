//! The handle of a running reactor, without its type parameter.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{EventType, LeaseName};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    Reactor, ReactorError, ReactorSetup, ReactorState,
    attempt::ReactorDeps,
    effect::StateSource,
    operation::{ReactorControlMessage, ReactorOperation},
    runner::begin,
    session::ReactorRunner,
    setup::ReactorIdentity,
    status::ReactorProgress,
};
use crate::{
    Begin, Clock, EventSet, OpenError,
    error_line::in_one_line,
    nodes::{Closing, Hosting, close},
};

/// Capacity of the control channel. Further senders wait.
const CONTROL_QUEUE_MAX: usize = 16;

/// A running reactor. Dropping the handle ends it at once.
pub(crate) struct ReactorHandle {
    pub(crate) name: &'static str,
    pub(crate) progress: watch::Receiver<ReactorProgress>,
    /// Types of the events that it handles.
    pub(crate) event_types: Arc<[EventType]>,
    /// Its lease. `None` without nodes.
    pub(crate) lease: Option<LeaseName>,
    control: mpsc::Sender<ReactorControlMessage>,
    closing: watch::Sender<Closing>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl ReactorHandle {
    /// Runs an operation and returns its result.
    pub(crate) async fn order(&self, operation: ReactorOperation) -> Result<(), ReactorError> {
        let (done, is_done) = oneshot::channel();
        let stopped = |reason: &str| ReactorError::Unavailable { reason: reason.to_owned() };
        let message = ReactorControlMessage { operation, done };
        let sent = self.control.send(message).await;
        sent.map_err(|_| stopped("the reactor has stopped"))?;
        is_done.await.unwrap_or_else(|_| {
            Err(stopped("the operation was interrupted; check the status, then repeat it"))
        })
    }

    /// Waits for the attempts in progress, records their results and stops the task.
    ///
    /// Dropping the returned future ends the task without waiting.
    pub(crate) async fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        close(&self.closing, task).await;
    }

    /// Returns the status once the journal is loaded or has failed to load.
    pub(crate) async fn started(&self) -> ReactorProgress {
        let mut progress = self.progress.clone();
        let started = progress
            .wait_for(|progress| progress.state != ReactorState::Starting || progress.is_stuck);
        match started.await {
            Ok(started) => started.clone(),
            Err(_) => self.progress.borrow().clone(),
        }
    }
}

impl fmt::Debug for ReactorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReactorHandle of {}", self.name)
    }
}

/// Shared services of all reactors.
#[derive(Clone)]
pub(crate) struct ReactorContext {
    pub(crate) state: StateSource,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hosting: Hosting,
}

/// A reactor that is registered and not started yet.
pub(crate) struct ReactorRegistration<R>(pub(crate) ReactorSetup<R>);

/// The start of a reactor, as a future.
pub(crate) type StartingReactor =
    Pin<Box<dyn Future<Output = Result<ReactorHandle, OpenError>> + Send>>;

/// Start of a registered reactor, without its type parameter.
pub(crate) trait StartReactor: Send {
    fn name(&self) -> &'static str;

    fn start(self: Box<Self>, context: ReactorContext) -> StartingReactor;
}

impl<R: Reactor> StartReactor for ReactorRegistration<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn start(self: Box<Self>, context: ReactorContext) -> StartingReactor {
        Box::pin(start(self.0, context))
    }
}

async fn start<R: Reactor>(
    setup: ReactorSetup<R>,
    context: ReactorContext,
) -> Result<ReactorHandle, OpenError> {
    // Names are checked before the store is touched.
    let identity = ReactorIdentity::of(R::NAME)?;
    let types: Arc<[EventType]> = R::Event::event_types()?.into();
    let ReactorSetup { reactor, begins, limits } = setup;
    let ReactorContext { state, clock, hosting } = context;
    let post = hosting.post("reactor", R::NAME)?;
    let lease = post.lease.clone();
    // Fix the first position before the application opens: all events appended later come after it.
    if begins != Begin::AtTheStart {
        let begun = begin(state.store.as_ref(), &identity, begins).await;
        begun.map_err(|trouble| OpenError::ReactorBegin {
            reactor: R::NAME,
            reason: in_one_line(&trouble),
        })?;
    }
    let (published, progress) = watch::channel(ReactorProgress::starting());
    let (control, ordered) = mpsc::channel(CONTROL_QUEUE_MAX);
    let (closing, closed) = watch::channel(Closing::NotYet);
    let runner = ReactorRunner {
        deps: Arc::new(ReactorDeps { reactor, state, clock, identity, begins, limits }),
        types: Arc::clone(&types),
        control: ordered,
        closing: closed,
        progress: published,
        post,
        tasks: JoinSet::new(),
        paused: false,
        halted: None,
    };
    let run = Box::pin(runner.run_in_turns()) as Pin<Box<dyn Future<Output = ()> + Send>>;
    // Started last: nothing below can fail and leave a task without its handle.
    let task = Mutex::new(Some(tokio::spawn(run)));
    let event_types = types;
    Ok(ReactorHandle { name: R::NAME, progress, event_types, lease, control, closing, task })
}
