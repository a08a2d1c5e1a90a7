//! A running projection as others see it: its progress, its orders, its readers, without its
//! types.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gesta_store::{
    DatabaseError, DatabaseFuture, DeadLetter, EventStore, EventType, InvalidName, ReadModelId,
    ReadModelStore,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    Apply, Operation, OperationError, Order, Progress, ProjectionState, filling::Parts,
    in_one_line, runner::Runner,
};
use crate::{Clock, EventSet};

/// Orders that wait for a projection; more have to wait to be given.
const ORDERS_MAX: usize = 16;

/// How long an operation waits for a projection that is starting.
const START_WAIT_MAX: Duration = Duration::from_secs(5);

/// A connection for queries whose type is forgotten.
pub(crate) type AnyReader = Box<dyn Any + Send>;

/// A running projection. It stops when this is dropped.
pub(crate) struct Handle {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) event_types: Vec<EventType>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) read_models: Box<dyn AnyReadModels>,
    orders: mpsc::Sender<Order>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// The read model that a query found damaged, and what the database said.
    damaged: Mutex<Option<(ReadModelId, String)>>,
}

impl Handle {
    /// Remembers that a query met damage in the read model that answers.
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
        // If the projection has no time to be told now, the next query tells it.
        let (reply, _) = oneshot::channel();
        let operation = Operation::Damaged(answering, detail);
        let _ = self.orders.try_send(Order { operation, reply });
    }

    /// Returns the error that keeps the read model from answering queries, if there is one.
    pub(crate) async fn unreadable(&self) -> Option<DatabaseError> {
        let answering = self.progress.borrow().answering.clone()?;
        match self.read_models.reader(answering).await {
            // One that was switched away from in between.
            Ok(_) | Err(DatabaseError::Missing { .. }) => None,
            Err(error) => {
                self.remember_damage(&error);
                Some(error)
            }
        }
    }

    /// Whether it was stopped, or has ended: nothing moves any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.progress.has_changed().is_err()
    }

    /// Returns the damage that queries met, as long as the damaged read model answers.
    pub(crate) fn damage_found(&self) -> Option<String> {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answering = self.progress.borrow().answering.clone();
        damaged.filter(|(known, _)| Some(known) == answering.as_ref()).map(|(_, detail)| detail)
    }

    /// Waits, for a while, until the projection has found its read models or met trouble.
    pub(crate) async fn started(&self, clock: &dyn Clock) {
        let mut progress = self.progress.clone();
        let is_starting =
            |one: &Progress| one.state == ProjectionState::Starting && one.trouble.is_none();
        tokio::select! {
            biased;
            _ = progress.wait_for(|one| !is_starting(one)) => {}
            () = clock.sleep(START_WAIT_MAX) => {}
        }
    }

    /// Has an operation done, after what the projection does now.
    pub(crate) async fn order(&self, operation: Operation) -> Result<(), OperationError> {
        let stopped = || OperationError::Unavailable { reason: "it has stopped".to_owned() };
        let (reply, done) = oneshot::channel();
        self.orders.send(Order { operation, reply }).await.map_err(|_| stopped())?;
        done.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Stops it and waits until it holds nothing any more, the stores included.
    pub(crate) async fn stop(&self) {
        let Some(task) = self.take_task() else { return };
        task.abort();
        // Whether it ended by itself or by this makes no difference.
        let _ = task.await;
    }

    fn take_task(&self) -> Option<JoinHandle<()>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Handle {
    /// A transaction that is open is rolled back; a commit is never interrupted.
    fn drop(&mut self) {
        if let Some(task) = self.take_task() {
            task.abort();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle of {}", self.name)
    }
}

/// A projection's read models without their types.
pub(crate) trait AnyReadModels: Send + Sync {
    fn reader(&self, read_model: ReadModelId) -> DatabaseFuture<'_, AnyReader>;
    fn dead_letters(&self, read_model: ReadModelId) -> DatabaseFuture<'_, Vec<DeadLetter>>;
    fn troubles(&self) -> Vec<String>;
}

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

    fn troubles(&self) -> Vec<String> {
        ReadModelStore::troubles(self)
    }
}

/// What a projection is started with.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionContext {
    pub(crate) store: SharedStore,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An event store that many share.
#[derive(Clone)]
pub(crate) struct SharedStore(pub(crate) Arc<dyn EventStore>);

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedStore")
    }
}

/// A projection that was registered and is not started yet.
pub(crate) struct Planned<P, S> {
    pub(crate) projection: P,
    pub(crate) read_models: S,
}

/// Starts what was planned, whatever its types.
pub(crate) trait Planning: Send {
    fn name(&self) -> &'static str;
    fn start(self: Box<Self>, context: &ProjectionContext) -> Result<Handle, InvalidName>;
}

impl<P, S> Planning for Planned<P, S>
where
    P: Apply<S::Tx>,
    S: ReadModelStore,
{
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn start(self: Box<Self>, context: &ProjectionContext) -> Result<Handle, InvalidName> {
        let (told, progress) = watch::channel(Progress::starting());
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let read_models = Box::new(self.read_models.clone());
        let parts = Arc::new(Parts {
            projection: self.projection,
            read_models: self.read_models,
            store: Arc::clone(&context.store.0),
            clock: Arc::clone(&context.clock),
        });
        let event_types = P::Event::event_types()?;
        let runner =
            Runner { parts, orders: ordered, progress: told, outdated: HashMap::new(), held: None };
        let task = tokio::spawn(Box::pin(runner.run()) as Pin<Box<dyn Future<Output = ()> + Send>>);
        let (name, version) = (P::NAME, P::VERSION);
        Ok(Handle {
            name,
            version,
            event_types,
            progress,
            read_models,
            orders,
            task: Mutex::new(Some(task)),
            damaged: Mutex::new(None),
        })
    }
}
