//! Conversion of a projection's panic to an error of the event, so that the runner survives it.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use super::ApplyError;

/// Runs a projection's future and returns [`ApplyError::Panicked`] if it panics.
pub(super) async fn catch_panic(
    future: impl Future<Output = Result<(), ApplyError>>,
) -> Result<(), ApplyError> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // Unwind safety: after a panic the future is not polled again, and its transaction is only
        // rolled back.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| {
            Poll::Ready(Err(ApplyError::Panicked { message: panic_message(panic.as_ref()) }))
        })
    })
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "without a message".to_owned())
}
