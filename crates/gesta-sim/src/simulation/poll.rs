//! Polling futures without a runtime.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use gesta_store::{StoreError, StoreFuture};

use crate::model::{CheckResult, Violation};

/// Polls once, without a wake-up.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Returns the answer of a read, which must be ready at once: reads run on the caller's thread.
pub(crate) fn answer_now<T>(mut answer: StoreFuture<'_, T>) -> CheckResult<Result<T, StoreError>> {
    poll_once(answer.as_mut()).ok_or_else(|| Violation("a read was pending".to_owned()))
}

/// A waker that sets a flag.
#[derive(Debug, Default)]
pub(crate) struct WakeFlag(AtomicBool);

impl WakeFlag {
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Arc::clone(self).into()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
