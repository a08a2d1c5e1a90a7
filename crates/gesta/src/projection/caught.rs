//! A panic of a projection as an error: it is the event's failure, not the end of the runner.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use super::ApplyError;

/// Whatever the future says, or that it panicked. Nothing of it is used after a panic but its
/// transaction, which is rolled back.
pub(super) async fn caught(
    future: impl Future<Output = Result<(), ApplyError>>,
) -> Result<(), ApplyError> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| {
            Poll::Ready(Err(ApplyError::Panicked { message: said(panic.as_ref()) }))
        })
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "without a text".to_owned())
}
