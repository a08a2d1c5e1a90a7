//! The thread on which the requests of one store run.
//!
//! Owns: the thread and its runtime. A caller on any executor hands a future over and waits for its
//! result; dropping the wait stops the work. The thread ends after [`Worker::stop`], or when the
//! last handle is dropped. Not here: the requests.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::watch,
    task::JoinHandle,
};

/// A handle of the thread.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    handle: Handle,
    /// Becomes `true` when the thread has to end. It ends as well when all senders are gone.
    stopping: Arc<watch::Sender<bool>>,
}

/// The thread has ended, and the work with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl Worker {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stopping, mut stopped) = watch::channel(false);
        thread::Builder::new().name("gesta-dynamodb".to_owned()).spawn(move || {
            // An error says that no handle is left.
            runtime.block_on(async move { drop(stopped.wait_for(|is_over| *is_over).await) });
        })?;
        Ok(Self { handle, stopping: Arc::new(stopping) })
    }

    /// Runs a future on the thread.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Running<T> {
        Running(self.handle.spawn(work))
    }

    /// Runs a future for which no one waits.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }

    /// Ends the thread. Work that is not finished is dropped.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

/// Work on the thread. Dropping it stops the work.
#[derive(Debug)]
pub(crate) struct Running<T>(JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|done| done.map_err(|_| Ended))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
