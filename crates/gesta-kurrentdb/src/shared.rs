//! The state that handles, reads and subscriptions of one store share.
//!
//! Owns: [`Shared`], which hands work to the thread of the store, and the end of that thread.
//! Invariants: a closed store gets no new work; the thread ends after the appends that it has
//! accepted, or when nobody has the store any more.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gesta_store::StoreError;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, oneshot};

use crate::{
    core::Core,
    worker::{Running, Worker},
};

pub(crate) struct Shared {
    core: Arc<Core>,
    worker: Worker,
    is_closed: AtomicBool,
    /// Dropping it ends the thread.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    /// Each append has a guard to read; the end of the thread waits for the one to write.
    appends: Arc<RwLock<()>>,
}

impl Shared {
    pub(crate) fn new(
        core: Arc<Core>,
        worker: Worker,
        stop: oneshot::Sender<()>,
        appends: Arc<RwLock<()>>,
    ) -> Self {
        Self {
            core,
            worker,
            is_closed: AtomicBool::new(false),
            stop: Mutex::new(Some(stop)),
            appends,
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Runs a future on the thread of the store.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Running<T>, StoreError> {
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(StoreError::closed()),
            false => Ok(self.worker.run(work)),
        }
    }

    /// Returns the right to append once, for which the end of the thread waits.
    pub(crate) fn begin_append(&self) -> Result<OwnedRwLockReadGuard<()>, StoreError> {
        Arc::clone(&self.appends).try_read_owned().map_err(|_| StoreError::closed())
    }

    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.worker.ended().await;
    }
}
