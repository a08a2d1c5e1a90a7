//! Asking a future now, without a runtime.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use gesta_store::{Answer, StoreError};

use crate::model::{Broken, Verdict};

/// Polls once; nobody is woken.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// The answer of something that must not wait: reads run on the caller.
pub(crate) fn answer_now<T>(mut answer: Answer<'_, T>) -> Verdict<Result<T, StoreError>> {
    poll_once(answer.as_mut()).ok_or_else(|| Broken("a read waited for something".to_owned()))
}

/// Remembers that it was woken.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicBool);

impl Bell {
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Arc::clone(self).into()
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn silence(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
