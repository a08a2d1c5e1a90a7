//! The time limits of a connection's bytes.
//!
//! Owns: [`Patient`], a stream that fails when its peer stalls. Invariants: a peer that has not
//! sent [`GREETING_BYTES`] within [`GREETING_MAX`] is given up, whatever protocol it begins; so is
//! a peer that takes no byte for [`STALL_MAX`] while there are bytes to send. Not here: an idle
//! peer, which HTTP/2 finds by pings and HTTP/1.1 by the time limit for the next head.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};

/// Length of the preface of HTTP/2. Every request of HTTP/1.1 with a host is longer.
const GREETING_BYTES: usize = 24;
/// Time for these bytes.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// Time in which a peer must take a byte that waits for it.
const STALL_MAX: Duration = Duration::from_secs(30);

/// A stream whose peer has to keep moving.
pub(super) struct Patient<Stream> {
    stream: Stream,
    /// The place of the connection, which an upgraded one keeps after its requests.
    _place: Option<OwnedSemaphorePermit>,
    /// Bytes of the greeting that are missing, and the end of the wait for them.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    /// The end of the wait for a peer that takes no bytes now.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<Stream> Patient<Stream> {
    pub(super) fn new(stream: Stream) -> Self {
        let greeting = Some((GREETING_BYTES, Box::pin(sleep(GREETING_MAX))));
        Self { stream, _place: None, greeting, stall: None }
    }

    /// Gives the place of the connection to its stream.
    pub(super) fn holding(self, place: OwnedSemaphorePermit) -> Self {
        Self { _place: Some(place), ..self }
    }

    /// Counts bytes of the greeting.
    fn greeted(&mut self, bytes: usize) {
        if let Some((missing, _)) = &mut self.greeting {
            *missing = missing.saturating_sub(bytes);
            if *missing == 0 {
                self.greeting = None;
            }
        }
    }

    /// Returns the outcome of a write, or an error if writes have waited for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall = None;
            return outcome;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(timed_out("the peer takes no bytes")))
    }
}

fn timed_out(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Patient<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if outcome.is_ready() {
            self.greeted(buffer.filled().len() - before);
            return outcome;
        }
        let Some((_, end)) = &mut self.greeting else { return Poll::Pending };
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(timed_out("the peer sends no request")))
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Patient<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stalled(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.unless_stalled(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.unless_stalled(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.unless_stalled(context, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::{Instant, timeout},
    };

    use super::*;

    const ROOM_BYTES: usize = 64;

    fn pair() -> (Patient<DuplexStream>, DuplexStream) {
        let (ours, peers) = duplex(ROOM_BYTES);
        (Patient::new(ours), peers)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_finish_its_greeting_is_given_up() {
        for greeting in ["", "PRI * HTTP/2.0"] {
            let (mut stream, mut peer) = pair();
            let begun = Instant::now();
            peer.write_all(greeting.as_bytes()).await.unwrap();
            let mut read = Vec::new();
            let error = stream.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(begun.elapsed(), GREETING_MAX);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_its_greeting_byte_by_byte_is_given_up_at_the_same_time() {
        let (mut stream, mut peer) = pair();
        let begun = Instant::now();
        let slowly = async {
            while peer.write_u8(b'P').await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let mut read = Vec::new();
        tokio::select! {
            ended = stream.read_to_end(&mut read) => assert!(ended.is_err()),
            () = slowly => panic!("the stream was dropped"),
        }
        assert_eq!(begun.elapsed(), GREETING_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_greeted_may_be_silent() {
        let (mut stream, mut peer) = pair();
        peer.write_all(&[b'P'; GREETING_BYTES]).await.unwrap();
        let mut read = [0; GREETING_BYTES];
        stream.read_exact(&mut read).await.unwrap();
        let silent = timeout(GREETING_MAX * 100, stream.read_u8()).await;
        assert!(silent.is_err(), "the read waits: {silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_no_bytes_is_given_up() {
        let (mut stream, _peer) = pair();
        let begun = Instant::now();
        let error = stream.write_all(&[0; ROOM_BYTES + 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), STALL_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_bytes_slowly_is_served() {
        let (mut stream, mut peer) = pair();
        let slowly = tokio::spawn(async move {
            let mut taken = 0;
            while peer.read_u8().await.is_ok() {
                taken += 1;
                sleep(STALL_MAX / 2).await;
            }
            taken
        });
        stream.write_all(&[0; 3 * ROOM_BYTES]).await.unwrap();
        drop(stream);
        assert_eq!(slowly.await.unwrap(), 3 * ROOM_BYTES);
    }
}
