//! The thread of a store, on which all of its work runs.
//!
//! Owns: the thread and its runtime. Callers hand over futures ([`Worker::run`]) and wait for their
//! results on any thread. Dropping a [`Running`] stops its work. The runtime ends on its own
//! thread when the appends have ended, and drops what is left. Not here: the work.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use gesta_store::StoreError;
use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
    task::JoinHandle,
};

/// The handle of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    handle: Handle,
    /// `true` once the thread has ended.
    ended: watch::Receiver<bool>,
}

impl Worker {
    /// Starts a thread that runs until `main` is ready.
    pub(crate) fn start<F>(main: F) -> std::io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (ending, ended) = watch::channel(false);
        thread::Builder::new().name("gesta-postgres".to_owned()).spawn(move || {
            runtime.block_on(main);
            // Connections are dropped here, so no caller waits for them elsewhere.
            drop(runtime);
            ending.send_replace(true);
        })?;
        Ok(Self { handle, ended })
    }

    /// Runs a future on the thread.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Running<T> {
        Running(self.handle.spawn(work))
    }

    /// Returns the runtime of the thread, for work without a caller that waits.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for the end of the thread.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error says that the thread is gone, too.
        drop(ended.wait_for(|ended| *ended).await);
    }
}

/// Work on the thread of a store. Dropping it stops the work.
#[derive(Debug)]
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Only the end of the runtime cancels work that is awaited.
        Pin::new(&mut self.0).poll(context).map(|done| done.map_err(|_| StoreError::closed()))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
