//! Work on the threads of a read model store, where statements may block.
//!
//! Invariant: work runs as in the caller's task: in its tokio runtime, its span and with its
//! subscriber. Not here: the threads, which belong to the store
//! ([`ReadModelStore::run_write`](gesta_store::ReadModelStore::run_write)).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tracing::instrument::{Instrument as _, WithSubscriber as _};

/// Carries the caller's runtime, span and subscriber over to the thread that polls the work.
pub(crate) fn in_callers_context<T>(
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send + 'static {
    let work = work.in_current_span().with_current_subscriber();
    InRuntime { runtime: Handle::try_current().ok(), work: Box::pin(work) }
}

/// Runs work on another thread with the timers and tasks of a runtime.
pub(super) fn in_runtime<F: Future>(runtime: Handle, work: F) -> impl Future<Output = F::Output> {
    InRuntime { runtime: Some(runtime), work: Box::pin(work) }
}

/// A future whose polls can use timers and tasks of a runtime.
struct InRuntime<F> {
    /// `None` if the caller has none either.
    runtime: Option<Handle>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for InRuntime<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let runtime = self.runtime.clone();
        let _entered = runtime.as_ref().map(Handle::enter);
        self.work.as_mut().poll(context)
    }
}
