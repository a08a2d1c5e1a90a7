//! The threads of a search store, on which its work runs.
//!
//! Owns: a runtime with one thread for connections and timers, and more for work that blocks.
//! Callers wait on any thread, with or without a runtime of their own. No destructor waits.

use std::{future::Future, io};

use gesta_store::DatabaseError;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// Maximum number of threads for work that blocks.
const BLOCKING_THREADS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Worker {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Worker {
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name(name)
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs a future on the threads. It continues when the returned one is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DatabaseError>> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        ended(self.handle.spawn(work)).await
    }

    /// Runs work that blocks. It continues when the returned future is dropped.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        ended(self.handle.spawn_blocking(work)).await
    }
}

async fn ended<T>(task: JoinHandle<Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => {
            Err(DatabaseError::rejected("the search engine panicked; please report it"))
        }
        Err(_) => Err(DatabaseError::unavailable("the search store was closed")),
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Work that has begun finishes on its own; nothing waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
