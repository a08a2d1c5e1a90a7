//! Futures that use the timers of a runtime, on whichever thread they are polled.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// A future that is polled within a runtime. Threads of read model stores have none.
pub(crate) struct InRuntime<'a, T> {
    runtime: Handle,
    call: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
}

impl<'a, T> InRuntime<'a, T> {
    pub(crate) fn new(runtime: Handle, call: impl Future<Output = T> + Send + 'a) -> Self {
        Self { runtime, call: Box::pin(call) }
    }
}

impl<T> Future for InRuntime<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        self.call.as_mut().poll(context)
    }
}
