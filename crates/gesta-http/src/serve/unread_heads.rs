//! Responses to request heads that hyper cannot read.
//!
//! hyper answers such a request by itself: a status, an empty body, and no hook to change them.
//! [`KeepBack`] finds this response in what hyper writes and keeps it back, so that the connection
//! can send a problem with the same status.
//!
//! Invariant: nothing is kept back while the application answers a request, and nothing of an
//! upgraded connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The start of the responses that hyper makes.
const REFUSAL: &[u8] = b"HTTP/1.1 4";

/// A stream that keeps hyper's own responses back.
pub(crate) struct KeepBack<S> {
    inner: S,
    progress: Progress,
    kept_back: Option<StatusCode>,
}

/// The progress of the application's response on one connection. Requests follow each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU8>);

/// The application answers no request, and its last response was written.
const IDLE: u8 = 0;
/// The application has a request, or hyper reads the body of the response.
const ANSWERING: u8 = 1;
/// hyper has the whole response, and may have to write some of it.
const WRITING: u8 = 2;
/// The connection has another protocol from here on.
const UPGRADED: u8 = 3;

impl Progress {
    /// Marks the beginning of a response.
    pub(crate) fn begin(&self) {
        // Relaxed: a connection is polled by one task at a time.
        self.0.store(ANSWERING, Ordering::Relaxed);
    }

    /// Marks the connection as upgraded, for good.
    pub(crate) fn upgrade(&self) {
        self.0.store(UPGRADED, Ordering::Relaxed);
    }

    /// Returns whether the connection is upgraded, or about to be.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UPGRADED
    }

    /// Returns a body whose end is that of the response.
    pub(crate) fn until_the_end_of(&self, body: Body) -> Body {
        Body::new(ResponseBody { body, progress: self.clone() })
    }

    fn flushed(&self) {
        let _ = self.0.compare_exchange(WRITING, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) == IDLE
    }
}

struct ResponseBody {
    body: Body,
    progress: Progress,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // The body of an upgrade ends, too.
        let state = &self.progress.0;
        let _ = state.compare_exchange(ANSWERING, WRITING, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl<S> KeepBack<S> {
    pub(crate) const fn new(inner: S, progress: Progress) -> Self {
        Self { inner, progress, kept_back: None }
    }

    /// Returns the stream, and the status of the response that was kept back.
    pub(crate) fn into_parts(self) -> (S, Option<StatusCode>) {
        (self.inner, self.kept_back)
    }

    /// Returns whether bytes begin a response of hyper, or belong to one, and keeps them back.
    fn keeps_back(&mut self, bytes: &[u8]) -> bool {
        if self.kept_back.is_none() && self.progress.is_idle() && bytes.starts_with(REFUSAL) {
            let code = bytes.get(REFUSAL.len() - 1..REFUSAL.len() + 2);
            self.kept_back = code.and_then(|code| StatusCode::from_bytes(code).ok());
        }
        self.kept_back.is_some()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for KeepBack<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KeepBack<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = pieces.iter().find(|piece| !piece.is_empty());
        if first.is_some_and(|first| self.keeps_back(first)) {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes once it has written all that it had.
        self.progress.flushed();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection still has a response to send.
        if self.kept_back.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
