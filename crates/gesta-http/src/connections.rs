//! Connections: how many there are, and how long each may keep the process waiting.
//!
//! Owns the tasks of all connections. Invariants: there are at most so many as the limits say, and
//! never more than half of the descriptors that the process may have, so that the store finds what it
//! needs; one more is answered 503 and closed. A head that comes too slowly is answered 408 and its
//! connection closed; a connection on which nothing comes is closed without a word, for its client
//! would take an answer for that to its next request. One that does not take what it is sent is
//! closed. A body that comes too slowly is an error of its reader. Requests have the `Host` that
//! they have to have. Not here: what requests are answered.

use std::{
    error::Error,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, StatusCode},
    middleware::from_fn,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    select,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tower::ServiceExt as _;

use crate::{Limits, Problem, host::hosts, problem::PROBLEM_JSON};

/// Bytes of a request's head, and of what is read of a body before somebody wants it.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections that are being told that there are too many. Others are closed without a word.
const REFUSALS_MAX: usize = 32;
/// How long a connection is given to take that answer.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Connections {
    router: Router,
    limits: Limits,
    max: usize,
    permits: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    refusal: Bytes,
    /// Whether somebody was refused since there was room.
    is_full: bool,
    tasks: JoinSet<()>,
    ending: watch::Sender<bool>,
}

impl Connections {
    pub(crate) fn new(router: Router, limits: Limits) -> Self {
        let max = limits.connections_max.min(connections_possible());
        Self {
            router: router.layer(from_fn(hosts)),
            limits,
            max,
            permits: Arc::new(Semaphore::new(max)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            refusal: refusal(),
            is_full: false,
            tasks: JoinSet::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// Serves a connection, or tells it that there are too many.
    pub(crate) fn take(&mut self, stream: TcpStream) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return self.refuse(stream);
        };
        if self.is_full && self.permits.available_permits() >= self.max / 2 {
            tracing::info!("there is room for connections again");
            self.is_full = false;
        }
        self.tasks.spawn(self.serve(stream, permit));
    }

    fn serve(
        &self,
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (router, limits, late_head) = (self.router.clone(), self.limits, late_head());
        let mut ending = self.ending.subscribe();
        let service = service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| Body::new(Timely::new(body, limits.body_wait_max)));
            router.clone().oneshot(request)
        });
        async move {
            let stream = TokioIo::new(Unstalled::new(stream, limits.write_wait_max));
            let mut connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_wait_max)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(stream, service);
            let ended = select! {
                ended = &mut connection => Some(ended),
                () = told_to_end(&mut ending) => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
                let http1::Parts { io, read_buf, .. } = connection.into_parts();
                let stream = io.into_inner();
                if error.is_timeout() && !read_buf.is_empty() && !stream.is_stalled() {
                    // Who does not take the answer loses nothing but the answer.
                    let _ = timeout(REFUSAL_MAX, tell(stream, late_head)).await;
                }
            }
            drop(permit);
        }
    }

    fn refuse(&mut self, stream: TcpStream) {
        if !self.is_full {
            let max = self.max;
            tracing::warn!(max, "too many connections; others are refused until some end");
            self.is_full = true;
        }
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let refusal = self.refusal.clone();
        self.tasks.spawn(async move {
            // Who does not take the answer loses nothing but the answer.
            let _ = timeout(REFUSAL_MAX, tell(stream, refusal)).await;
            drop(permit);
        });
    }

    /// Frees what ended tasks hold; never done while there is none.
    pub(crate) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets those requests end that are there, within the limit.
    pub(crate) async fn end(mut self) {
        self.ending.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.limits.closing_max, all).await.is_err() {
            tracing::warn!("some requests did not end in time and were dropped");
        }
    }
}

async fn told_to_end(ending: &mut watch::Receiver<bool>) {
    // An error says that nobody can tell any more, which comes to the same.
    drop(ending.wait_for(|ending| *ending).await);
}

/// Half of the descriptors that the process may have.
fn connections_possible() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    half.clamp(1, Semaphore::MAX_PERMITS)
}

/// The answer to one connection too many.
fn refusal() -> Bytes {
    let detail = "there are too many connections; try again in a moment";
    let problem = Problem::unavailable("too-many-connections", detail);
    last_answer(&problem, "503 Service Unavailable\r\nretry-after: 1")
}

/// The answer to a head that comes too slowly (RFC 9110, section 15.5.9).
fn late_head() -> Bytes {
    let detail = "the head of the request took too long to arrive";
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "head-too-late", detail);
    last_answer(&problem, "408 Request Timeout")
}

/// An answer that no router gives, after which the connection is closed.
fn last_answer(problem: &Problem, status: &str) -> Bytes {
    let body = problem.to_json().to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    (head + &body).into()
}

async fn tell<S>(mut stream: S, answer: Bytes) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    // To close with something unread would take back the answer.
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The error of a body that came too slowly.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body took too long to arrive")]
pub(crate) struct LateBody;

impl LateBody {
    /// Whether an error says so, itself or by its cause.
    pub(crate) fn is_in(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::is_in)
    }
}

/// A body that has to be there within a time, counted from when somebody first waits for it.
struct Timely {
    inner: Incoming,
    within: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Timely {
    fn new(inner: Incoming, within: Duration) -> Self {
        Self { inner, within, deadline: None }
    }
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(LateBody.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.inner)
    }
}

/// A stream whose peer has to take what it is sent within a time.
struct Unstalled<S> {
    inner: S,
    within: Duration,
    /// While the peer takes nothing.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    fn new(inner: S, within: Duration) -> Self {
        Self { inner, within, deadline: None }
    }

    /// Whether the peer has not taken yet what was written.
    const fn is_stalled(&self) -> bool {
        self.deadline.is_some()
    }

    fn in_time<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let within = self.within;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.in_time(written, cx)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_after_a_while() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stream = Unstalled::new(ours, Duration::from_secs(120));
        stream.write_all(b"1234").await.unwrap();
        let begun = tokio::time::Instant::now();
        let stalled = stream.write_all(b"5").await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 120);
        let mut taken = [0; 4];
        theirs.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"1234", "what was written is there");
    }
}
