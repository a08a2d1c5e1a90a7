//! Turns: a response's body ends its connection's turn on the runtime now and then.
//!
//! hyper takes frames of a body until the peer's buffers are full, in one poll. Frames that are
//! computed on the way, such as compressed ones, would hold a thread of the runtime for as long as
//! a whole body takes.
//!
//! Invariant: after [`BYTES_OF_TURN`] bytes or [`FRAMES_OF_TURN`] frames, other tasks have a turn.
//!
//! Not here: the number of connections that are ready at once ([`lanes`](super::lanes)).

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// Number of bytes in a turn: about a millisecond of compression.
const BYTES_OF_TURN: usize = 16 << 10;
/// Number of frames in a turn, for frames that are short.
const FRAMES_OF_TURN: usize = 32;

/// A body that lets other tasks run between its frames.
pub(crate) struct TurnsBody {
    inner: Body,
    bytes: usize,
    frames: usize,
}

impl TurnsBody {
    pub(crate) const fn new(inner: Body) -> Self {
        Self { inner, bytes: 0, frames: 0 }
    }
}

impl HttpBody for TurnsBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.bytes >= BYTES_OF_TURN || self.frames >= FRAMES_OF_TURN {
            (self.bytes, self.frames) = (0, 0);
            // Behind the tasks that are ready already.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, Bytes::len);
                self.frames += 1;
            }
            // The body waits, so that others have a turn anyway.
            _ => (self.bytes, self.frames) = (0, 0),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use http_body_util::BodyExt as _;

    use super::*;

    fn body(frames: usize, bytes: usize) -> TurnsBody {
        let frame = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes]));
        TurnsBody::new(Body::from_stream(stream::iter((0..frames).map(frame))))
    }

    /// Returns the number of frames that are taken without a turn of others.
    fn frames_of_turn(body: &mut TurnsBody) -> usize {
        std::iter::from_fn(|| body.frame().now_or_never().flatten()).count()
    }

    #[test]
    fn others_have_a_turn_after_some_bytes_or_frames_of_a_body() {
        let mut large = body(20, 4 << 10);
        assert_eq!(frames_of_turn(&mut large), 4);
        assert_eq!(frames_of_turn(&mut large), 4, "each turn is as long");
        let mut short = body(40, 1);
        assert_eq!((frames_of_turn(&mut short), frames_of_turn(&mut short)), (32, 8));
    }

    #[tokio::test]
    async fn a_body_with_turns_is_whole() {
        let taken = body(20, 4 << 10).collect().await.unwrap().to_bytes();
        assert_eq!(taken.len(), 80 << 10);
    }
}
