//! Connections: their number, and their deadlines.
//!
//! Owns the tasks of all connections.
//!
//! Invariants:
//! - At most [`Limits::connections_max`] connections are open, and at most half of the process's
//!   file descriptors, so that the store has enough. An excess one gets a 503 and is closed.
//! - A connection whose request head arrives too slowly gets a 408 and is closed. An idle one is
//!   closed without a response: its client would take that for the answer to its next request.
//! - A connection whose peer leaves a response unread is closed.
//! - A body that arrives too slowly is an error of its reader.
//!
//! Not here: routing and responses.

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

/// Maximum size of a request's head, and of the part of a body that is read ahead, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Maximum number of excess connections that get a 503; further ones are closed without it.
const REFUSALS_MAX: usize = 32;
/// Maximum time to send a final response such as that 503.
const REFUSAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// The set of open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    router: Router,
    limits: Limits,
    max: usize,
    permits: Arc<Semaphore>,
    refusal_permits: Arc<Semaphore>,
    refusal: Bytes,
    /// Set by the first refusal and cleared at half load, so that each overload is logged once.
    is_full: bool,
    tasks: JoinSet<()>,
    shutdown: watch::Sender<bool>,
}

impl Connections {
    pub(crate) fn new(router: Router, limits: Limits) -> Self {
        let max = limits.connections_max.min(connections_possible());
        Self {
            router: router.layer(from_fn(hosts)),
            limits,
            max,
            permits: Arc::new(Semaphore::new(max)),
            refusal_permits: Arc::new(Semaphore::new(REFUSALS_MAX)),
            refusal: refusal(),
            is_full: false,
            tasks: JoinSet::new(),
            shutdown: watch::Sender::new(false),
        }
    }

    /// Serves a connection, or refuses it if there are too many.
    pub(crate) fn accept(&mut self, stream: TcpStream) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return self.refuse(stream);
        };
        // Hysteresis: a load around the maximum would log each crossing.
        if self.is_full && self.permits.available_permits() >= self.max / 2 {
            tracing::info!("accepting connections again");
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
        let mut shutdown = self.shutdown.subscribe();
        let service = service_fn(move |request: Request<Incoming>| {
            let request =
                request.map(|body| Body::new(DeadlineBody::new(body, limits.body_wait_max)));
            router.clone().oneshot(request)
        });
        async move {
            let stream = TokioIo::new(WriteDeadline::new(stream, limits.write_wait_max));
            let mut connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_wait_max)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(stream, service);
            let result = select! {
                result = &mut connection => Some(result),
                () = shutdown_requested(&mut shutdown) => None,
            };
            let result = match result {
                Some(result) => result,
                None => {
                    // Finishes the running request, then closes.
                    Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "connection failed");
                let http1::Parts { io, read_buf, .. } = connection.into_parts();
                let stream = io.into_inner();
                // Only a client that has sent part of a head waits for a response.
                if error.is_timeout() && !read_buf.is_empty() && !stream.is_stalled() {
                    // Best effort: the connection closes anyway.
                    let _ = timeout(REFUSAL_WAIT_MAX, send_last(stream, late_head)).await;
                }
            }
            drop(permit);
        }
    }

    fn refuse(&mut self, stream: TcpStream) {
        if !self.is_full {
            let max = self.max;
            tracing::warn!(max, "too many connections; refusing new ones");
            self.is_full = true;
        }
        // Sending refusals is limited, too: a flood must not cost a task per connection.
        let Ok(permit) = Arc::clone(&self.refusal_permits).try_acquire_owned() else { return };
        let refusal = self.refusal.clone();
        self.tasks.spawn(async move {
            // Best effort: the connection closes anyway.
            let _ = timeout(REFUSAL_WAIT_MAX, send_last(stream, refusal)).await;
            drop(permit);
        });
    }

    /// Waits for one task to end and frees it; pending while there are no tasks.
    pub(crate) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Closes idle connections and waits for running requests, up to [`Limits::closing_max`].
    pub(crate) async fn shut_down(mut self) {
        self.shutdown.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.limits.closing_max, all).await.is_err() {
            tracing::warn!("dropped requests that did not end before the shutdown deadline");
        }
    }
}

async fn shutdown_requested(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a shutdown, too.
    drop(shutdown.wait_for(|requested| *requested).await);
}

/// Returns half of the process's limit of file descriptors.
fn connections_possible() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let half = limit.map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    half.clamp(1, Semaphore::MAX_PERMITS)
}

/// Returns the response to an excess connection.
fn refusal() -> Bytes {
    let detail = "too many connections; retry in a second";
    let problem = Problem::unavailable("too-many-connections", detail);
    last_response(&problem, "503 Service Unavailable\r\nretry-after: 1")
}

/// Returns the response to a slow request head (RFC 9110, section 15.5.9).
fn late_head() -> Bytes {
    let detail = "the request head did not arrive in time";
    let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "head-too-late", detail);
    last_response(&problem, "408 Request Timeout")
}

/// Formats a response outside hyper, after which the connection is closed.
fn last_response(problem: &Problem, status: &str) -> Bytes {
    let body = problem.to_json().to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    (head + &body).into()
}

async fn send_last<S>(mut stream: S, response: Bytes) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&response).await?;
    stream.shutdown().await?;
    // Closing with unread input sends a reset, which can discard the response at the client.
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The error of a body that missed its deadline.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
pub(crate) struct BodyTimeout;

impl BodyTimeout {
    /// Returns whether an error, or one of its sources, is this one.
    pub(crate) fn is_in(error: &(dyn Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::is_in)
    }
}

/// A request body with a deadline, which starts when a reader first has to wait.
struct DeadlineBody {
    inner: Incoming,
    within: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl DeadlineBody {
    fn new(inner: Incoming, within: Duration) -> Self {
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
        HttpBody::size_hint(&self.inner)
    }
}

/// A stream that fails if its peer accepts no data for a time.
struct WriteDeadline<S> {
    inner: S,
    within: Duration,
    /// Set while a write is pending.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    fn new(inner: S, within: Duration) -> Self {
        Self { inner, within, deadline: None }
    }

    /// Returns whether a write is pending.
    const fn is_stalled(&self) -> bool {
        self.deadline.is_some()
    }

    fn apply_deadline<T>(
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

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.apply_deadline(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, pieces);
        self.apply_deadline(written, cx)
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
    async fn a_write_that_a_peer_does_not_accept_times_out() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut stream = WriteDeadline::new(ours, Duration::from_secs(120));
        stream.write_all(b"1234").await.unwrap();
        let begun = tokio::time::Instant::now();
        let stalled = stream.write_all(b"5").await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 120);
        let mut taken = [0; 4];
        theirs.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"1234", "earlier writes are kept");
    }
}
