//! The state that handles, reads and subscriptions of one store share.
//!
//! Owns: [`Core`], for work on the thread of the store, and [`Shared`], which hands work to it.
//! Invariant: a closed store gets no new work. Not here: opening, and the calls
//! ([`store`](crate::store)).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use gesta_store::{DatabaseName, Durability, StoreError};
use tokio::sync::watch;
use tokio_postgres::Row;

use crate::{
    append::{AppendQueue, InlineConsumers},
    connection::{Pool, Value},
    head::KnownHead,
    incarnation::{History, Incarnations},
    schema::Schema,
    tail::Tail,
    worker::{Running, Worker},
};

/// The state that handles, reads and subscriptions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) worker: Worker,
    pub(crate) queue: AppendQueue,
    pub(crate) inline: Arc<InlineConsumers>,
    /// `None` if the server keeps its identity from the user of the URL.
    pub(crate) database: Option<DatabaseName>,
}

/// The connections and the head, for work on the thread of the store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) head: KnownHead,
    pub(crate) pool: Arc<Pool>,
    pub(crate) schema: Schema,
    pub(crate) tail: tokio::sync::Mutex<Tail>,
    pub(crate) history: Arc<History>,
    pub(crate) durability: Durability,
    /// The channel on which processes of the store announce appends and releases of leases.
    pub(crate) channel: String,
    /// Changes when another process, or this one, announces the release of a lease.
    pub(crate) lease_released: watch::Sender<()>,
}

impl Core {
    /// Runs a statement that appends nothing.
    ///
    /// Boxed, because the compiler does not see that the future of a statement can be sent.
    pub(crate) fn query<'a>(
        &'a self,
        statement: &'a str,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move { self.pool.query(&self.schema.fill(statement), values).await })
    }

    pub(crate) fn incarnations(&self) -> Incarnations {
        self.history.incarnations()
    }
}

impl Shared {
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        self.queue.check_open()
    }

    pub(crate) fn run<T, W>(
        &self,
        work: impl FnOnce(Arc<Core>) -> W,
    ) -> Result<Running<T>, StoreError>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        self.check_open()?;
        Ok(self.worker.run(work(Arc::clone(&self.core))))
    }
}
