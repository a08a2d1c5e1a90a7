//! The connection of a store of read models: its table, and the thread on which its calls run.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::DatabaseError;

use crate::{client::Meter, errors::CallError, table::Table, url::DynamoUrl, worker::Worker};

/// The parts that the handles of a store share.
pub(super) struct Connection {
    pub(super) worker: Worker,
    pub(super) table: Table,
    pub(super) meter: Arc<Meter>,
    pub(super) url: DynamoUrl,
    pub(super) builds: KnownBuilds,
}

/// The greatest build of each projection that this process has seen. The table may be deleted.
#[derive(Clone, Default)]
pub(super) struct KnownBuilds {
    greatest: Arc<Mutex<HashMap<String, u64>>>,
}

impl KnownBuilds {
    pub(super) fn note(&self, projection: &str, build: u64) {
        let mut greatest = self.greatest();
        let known = greatest.entry(projection.to_owned()).or_default();
        *known = build.max(*known);
    }

    /// Returns the next build of a list, or a later one if the list lacks what this process knows.
    pub(super) fn after(&self, projection: &str, next: u64) -> u64 {
        self.greatest().get(projection).map_or(next, |known| next.max(known + 1))
    }

    fn greatest(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.greatest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Runs a call on the store's thread.
    pub(super) fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DatabaseError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, DatabaseError>> + Send {
        // The futures of the vendor's client are large. Every future around an unboxed one has
        // room for it, and a deep projection overflows the stack of its thread.
        let work = Box::pin(work);
        async move {
            self.worker.run(work).await.map_err(|ended| CallError::from(ended).into_database())?
        }
    }

    /// Runs work for which no one waits. A failure is logged.
    pub(super) fn spawn(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), CallError>> + Send + 'static,
    ) {
        self.worker.spawn(async move {
            if let Err(error) = work.await {
                let error = error.into_database();
                tracing::warn!(%error, "{what} in DynamoDB failed and is tried again later");
            }
        });
    }
}
