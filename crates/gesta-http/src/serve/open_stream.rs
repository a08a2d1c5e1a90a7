//! The stream of an open connection, which a handler may take over (an upgrade, such as to a
//! WebSocket).
//!
//! hyper hands the stream of an upgraded connection to the handler, whose task is not one of the
//! server's. The stream itself therefore keeps the limits of connections.
//!
//! Invariants:
//! - A connection counts as open until its stream is dropped.
//! - Once the server has cut its connections, each read and each write of an upgraded one fails.
//!
//! Not here: connections that are not upgraded, which end with their tasks
//! ([`connections`](super::connections)).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

use super::{places::ConnectionPlace, unread_heads::Progress};

/// A stream with the place of its connection.
pub(crate) struct OpenStream<S> {
    inner: S,
    progress: Progress,
    // Two, because a read and a write may belong to different tasks.
    read_cut: Cut,
    write_cut: Cut,
    /// Last, so that the stream is closed before another connection takes the place.
    _place: ConnectionPlace,
}

impl<S> OpenStream<S> {
    pub(crate) fn new(
        inner: S,
        progress: Progress,
        cut: watch::Receiver<bool>,
        place: ConnectionPlace,
    ) -> Self {
        let (read_cut, write_cut) = (Cut::new(cut.clone()), Cut::new(cut));
        Self { inner, progress, read_cut, write_cut, _place: place }
    }
}

/// The end of an upgraded connection by the server, as one task waits for it.
struct Cut {
    cut: watch::Receiver<bool>,
    /// Set once the connection is upgraded: others are spared the look.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    has_happened: bool,
}

impl Cut {
    const fn new(cut: watch::Receiver<bool>) -> Self {
        Self { cut, waiting: None, has_happened: false }
    }

    /// Returns an error if an upgraded connection was cut; wakes the task when it is.
    fn check(&mut self, progress: &Progress, cx: &mut Context<'_>) -> io::Result<()> {
        if !progress.is_upgraded() {
            return Ok(());
        }
        if !self.has_happened {
            let mut cut = self.cut.clone();
            let waiting = self.waiting.get_or_insert_with(|| {
                // An error means that the server is gone, which cuts its connections, too.
                Box::pin(async move { drop(cut.wait_for(|is_cut| *is_cut).await) })
            });
            self.has_happened = waiting.as_mut().poll(cx).is_ready();
        }
        match self.has_happened {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server has stopped")),
            false => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OpenStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.read_cut.check(&this.progress, cx)?;
        Pin::new(&mut this.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OpenStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.write_cut.check(&this.progress, cx)?;
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.write_cut.check(&this.progress, cx)?;
        Pin::new(&mut this.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
