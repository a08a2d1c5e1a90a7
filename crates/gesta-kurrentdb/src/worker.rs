//! The thread of a store, on which all of its calls run.
//!
//! Owns: the thread and its runtime. Callers hand over futures ([`Worker::run`]) and wait for them
//! on any thread. Dropping a [`Running`] stops its work. Invariant: nobody but the thread itself
//! waits for the end of the runtime. Not here: the work.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

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
    pub(crate) fn start<Main>(main: Main) -> std::io::Result<Self>
    where
        Main: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (ending, ended) = watch::channel(false);
        thread::Builder::new().name("gesta-kurrentdb".to_owned()).spawn(move || {
            runtime.block_on(main);
            // A lookup of a name may still run on a thread of its own; it is left behind.
            runtime.shutdown_background();
            ending.send_replace(true);
        })?;
        Ok(Self { handle, ended })
    }

    /// Runs a future on the thread.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Running<T> {
        Running { task: self.handle.spawn(work), is_kept: false }
    }

    /// Waits for the end of the thread.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error says that the thread is gone, too.
        drop(ended.wait_for(|ended| *ended).await);
    }
}

/// Work on the thread of a store. Ready with `None` if the thread ended first.
#[derive(Debug)]
pub(crate) struct Running<T> {
    task: JoinHandle<T>,
    is_kept: bool,
}

impl<T> Running<T> {
    /// Lets the work continue when this is dropped.
    pub(crate) fn kept(self) -> Self {
        let mut kept = self;
        kept.is_kept = true;
        kept
    }
}

impl<T> Future for Running<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        // Only the end of the runtime cancels work that is awaited.
        Pin::new(&mut self.task).poll(context).map(Result::ok)
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.task.abort();
        }
    }
}
