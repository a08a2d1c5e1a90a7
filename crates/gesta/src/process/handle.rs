//! A running process manager as others see it, without its types.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{EventStore, InvalidName};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use super::{
    ProcessManager, category_of,
    runner::{Operation, Order, Parts, Runner},
    status::Progress,
};
use crate::{Clock, EventSet, Pipeline};

/// Orders that wait for a manager; more have to wait to be given.
const ORDERS_MAX: usize = 16;

/// A running process manager. It stops when this is dropped.
pub(crate) struct Handle {
    pub(crate) name: &'static str,
    pub(crate) progress: watch::Receiver<Progress>,
    orders: mpsc::Sender<Order>,
    running: Mutex<Option<Running>>,
}

/// Tells the task to stop when it is dropped.
struct Running {
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Has an operation done; whether there was anybody to do it.
    pub(crate) async fn order(&self, operation: Operation) -> bool {
        let (done, is_done) = oneshot::channel();
        self.orders.send(Order { operation, done }).await.is_ok() && is_done.await.is_ok()
    }

    /// Stops it and waits until it holds nothing any more, the store included.
    pub(crate) async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { _stop: stop, task }) = running else { return };
        drop(stop);
        // Whether it ended by itself or by this makes no difference.
        let _ = task.await;
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle of {}", self.name)
    }
}

/// What a process manager is started with.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pipeline: Pipeline,
}

/// A process manager that was registered and is not started yet.
pub(crate) struct Planned<P>(pub(crate) P);

/// Starts what was planned, whatever its types.
pub(crate) trait Planning: Send {
    fn start(self: Box<Self>, surroundings: Surroundings) -> Result<Handle, InvalidName>;
}

impl<P: ProcessManager> Planning for Planned<P> {
    fn start(self: Box<Self>, surroundings: Surroundings) -> Result<Handle, InvalidName> {
        category_of::<P>()?;
        P::Event::event_types()?;
        let (told, progress) = watch::channel(Progress::starting());
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let Surroundings { store, clock, pipeline } = surroundings;
        let parts = Parts { manager: self.0, store, clock, pipeline };
        let sending = JoinSet::new();
        let runner = Runner { parts, orders: ordered, progress: told, sending, paused: false };
        let (stop, stopped) = oneshot::channel();
        let run = Box::pin(runner.run(stopped)) as Pin<Box<dyn Future<Output = ()> + Send>>;
        let running = Running { _stop: stop, task: tokio::spawn(run) };
        Ok(Handle { name: P::NAME, progress, orders, running: Mutex::new(Some(running)) })
    }
}
