//! The thread on which the requests of one store run.
//!
//! Owns: the thread and its runtime. A caller on any executor hands a future over and waits for its
//! result; dropping the wait stops the work. The thread ends when the last handle is dropped. Not
//! here: the requests.

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
    /// The thread ends when all senders are gone.
    #[expect(dead_code, reason = "held until the last handle is dropped")]
    alive: Arc<watch::Sender<()>>,
}

/// The thread has ended, and the work with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl Worker {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, mut ended) = watch::channel(());
        thread::Builder::new().name("gesta-mongodb".to_owned()).spawn(move || {
            // An error says that no handle is left.
            runtime.block_on(async move { while ended.changed().await.is_ok() {} });
        })?;
        Ok(Self { handle, alive: Arc::new(alive) })
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
