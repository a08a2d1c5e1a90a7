//! The deadline of a request's body.
//!
//! Not here: the deadline of a request's head, which hyper keeps.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

/// The error of a body that missed its deadline.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body of the request did not arrive in time")]
pub(crate) struct BodyTimeout;

impl BodyTimeout {
    /// Returns whether an error, or one of its sources, is this one.
    pub(crate) fn is_in(error: &(dyn Error + 'static)) -> bool {
        // axum and http-body-util wrap the errors of a body.
        error.is::<Self>() || error.source().is_some_and(Self::is_in)
    }
}

/// A request body with a deadline, which starts when a reader first has to wait.
pub(crate) struct DeadlineBody {
    inner: Incoming,
    within: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl DeadlineBody {
    pub(crate) fn new(inner: Incoming, within: Duration) -> Self {
        Self { inner, within, deadline: None }
    }
}

impl HttpBody for DeadlineBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        // A pending read starts the deadline; it is not restarted, so a trickle cannot extend it.
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyTimeout.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Passed on: a declared length lets readers refuse a large body unread.
        HttpBody::size_hint(&self.inner)
    }
}
