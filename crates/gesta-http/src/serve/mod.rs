//! The server: accepts connections until it is asked to stop, then shuts down gracefully.
//!
//! Invariants:
//! - A shutdown accepts no new requests, ends event feeds at once, and lets running requests and
//!   upgraded connections finish within [`Limits::closing_max`](crate::Limits).
//! - Transient errors of `accept`, such as a lack of file descriptors, are retried.
//!
//! Not here: limits of a single connection ([`connections`]).

mod connections;
mod encryption;
mod host;
mod lanes;
mod listener;
mod open_stream;
mod places;
mod turns;
mod unread_heads;
mod write_deadline;

use std::{future::Future, io, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    pin, select,
    time::{Instant, sleep},
};

pub use self::listener::HttpListener;
use self::{connections::Connections, encryption::Encryption, host::HostRule};
use crate::GestaState;

/// Connections that may wait to be accepted: those of all clients of a server that was restarted.
/// One that finds no room is tried again by its system after 1, 3, 7 and 15 seconds. The system may
/// have a lower limit.
const BACKLOG: i32 = 4_096;

/// First pause after a failed `accept`; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Maximum pause, and so the maximum delay after the cause is gone.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Minimum interval between two log lines about failures of `accept`.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An error that ended the server early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener failed permanently.
    #[error("the listener failed and accepts no more connections")]
    Listener(#[from] io::Error),
}

/// Serves a router until the future `until` completes, then shuts down gracefully: event feeds of
/// `state` end, and running requests have time to finish.
///
/// A `TcpListener` is served without encryption, an [`HttpListener`] with a certificate.
///
/// Connections are limited in number and time: see [`Limits`](crate::Limits). A listener on a
/// loopback address accepts requests for `localhost`, loopback addresses and
/// [allowed hosts](GestaState::allow_hosts) only.
///
/// Connections can be upgraded, such as to WebSockets. An upgraded connection counts as one until
/// its stream is dropped, and a peer that leaves bytes unread for
/// [`Limits::write_wait_max`](crate::Limits) ends it. Its handler should end it when
/// [`GestaState::closed`] returns; what is left after
/// [`Limits::closing_max`](crate::Limits) is cut: its reads and writes fail.
///
/// # Errors
/// [`ServeError`] if the listener fails permanently.
pub async fn serve(
    listener: impl Into<HttpListener>,
    router: Router,
    state: GestaState,
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let listener = listener.into();
    let encryption = Encryption::of(&listener);
    let HttpListener { tcp: listener, .. } = listener;
    // Again, for more room than the caller's listener has. Best effort: it works with less, too.
    let _ = rustix::net::listen(&listener, BACKLOG);
    let hosts = HostRule::new(listener.local_addr()?.ip(), &state);
    let mut connections = Connections::new(router, hosts, encryption.clone(), &state);
    let mut failures = AcceptFailures::default();
    // Outside the loop: a connection must not postpone the next look.
    let follows = encryption.follow_certificate();
    pin!(until, follows);
    loop {
        select! {
            // Stops accepting at once: connections that arrive from here on belong to a successor.
            () = &mut until => break,
            // Dropped when another branch completes, which loses no connection: tokio's `accept` is
            // cancel safe.
            accepted = accept(&listener, &mut failures) => connections.accept(accepted?),
            // A `JoinSet` keeps the results of ended tasks until they are joined.
            () = connections.reap() => {}
            never = &mut follows => match never {},
        }
    }
    // The port is free for a successor while running requests finish.
    drop(listener);
    // Feeds never end by themselves and would hold the shutdown until its deadline.
    state.close();
    // Last: the connections of feeds end only because of the line above.
    connections.shut_down().await;
    Ok(())
}

/// Accepts a connection, retrying transient errors with back-off.
async fn accept(listener: &TcpListener, failures: &mut AcceptFailures) -> io::Result<TcpStream> {
    let mut pause = BACKOFF_MIN;
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            Err(error) => error,
        };
        match error.kind() {
            // The client closed the connection before it was accepted.
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted => continue,
            // The listener itself is unusable, so a retry cannot help.
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => return Err(error),
            // Any other cause, such as a lack of file descriptors, may pass. The connection stays
            // in the backlog and keeps the listener readable, so the loop would spin without a
            // pause.
            _ => {}
        }
        if let Some(times) = failures.count(Instant::now()) {
            tracing::warn!(%error, times, "cannot accept connections; retrying");
        }
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF_MAX);
    }
}

/// Counts failures of `accept` to limit the rate of their log lines.
#[derive(Debug, Default)]
struct AcceptFailures {
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl AcceptFailures {
    /// Counts a failure. Returns the number since the last log line if another is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.unlogged = self.unlogged.saturating_add(1);
        if self.logged_at.is_some_and(|logged_at| now.duration_since(logged_at) < LOG_INTERVAL) {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_to_accept_are_logged_once_per_interval_with_their_number() {
        let (mut failures, begin) = (AcceptFailures::default(), Instant::now());
        assert_eq!(failures.count(begin), Some(1), "the first one at once");
        for second in 1..10 {
            assert_eq!(failures.count(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(failures.count(begin + LOG_INTERVAL), Some(10));
        assert_eq!(failures.count(begin + LOG_INTERVAL), None);
    }
}
