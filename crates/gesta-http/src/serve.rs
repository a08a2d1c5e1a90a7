//! Serving: from a listener to the end of the last request.
//!
//! Invariants: once serving is to end, no new request is taken, those that are there may finish within
//! the limit, and feeds end at once. What keeps a connection from being accepted passes: a lack of
//! descriptors is waited out and never ends the serving. Not here: what a connection may take of the
//! process ([`connections`](crate::connections)).

use std::{future::Future, io, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    pin, select,
    time::{Instant, sleep},
};

use crate::{Api, GestaState, connections::Connections};

/// The first pause after a connection could not be accepted; each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause, so that serving is back this soon after what it lacks is.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The shortest time between two log lines about connections that cannot be accepted.
const LINES_APART: Duration = Duration::from_secs(10);

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener failed.
    #[error("serving failed")]
    Listener(#[from] io::Error),
}

/// Serves an application until it is told to end. How many connections there are and how long they
/// may take is limited: see [`Limits`](crate::Limits).
///
/// # Errors
/// [`ServeError`] when the listener cannot be used at all.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    state: GestaState,
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let mut connections = Connections::new(api.router(state.clone()), state.request_limits());
    let mut refusals = Refusals::default();
    pin!(until);
    loop {
        select! {
            () = &mut until => break,
            accepted = accept(&listener, &mut refusals) => connections.take(accepted?),
            () = connections.reap() => {}
        }
    }
    drop(listener);
    state.close();
    connections.end().await;
    Ok(())
}

/// Waits for a connection, and waits out whatever keeps it from being accepted.
async fn accept(listener: &TcpListener, refusals: &mut Refusals) -> io::Result<TcpStream> {
    let mut pause = PAUSE_MIN;
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            Err(error) => error,
        };
        match error.kind() {
            // It was gone before it was accepted.
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted => continue,
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => return Err(error),
            _ => {}
        }
        if let Some(times) = refusals.count(Instant::now()) {
            tracing::warn!(%error, times, "connections cannot be accepted; trying until they can");
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The failures to accept a connection, of which one line tells in a while.
#[derive(Debug, Default)]
struct Refusals {
    told_at: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Counts one more. Returns how many there were since the last line, if a line is due.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold = self.untold.saturating_add(1);
        if self.told_at.is_some_and(|told_at| now.duration_since(told_at) < LINES_APART) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_refused_connections_are_told_by_one_line_in_a_while_with_their_number() {
        let (mut refusals, begin) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.count(begin), Some(1), "the first one at once");
        for second in 1..10 {
            assert_eq!(refusals.count(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(refusals.count(begin + LINES_APART), Some(10));
        assert_eq!(refusals.count(begin + LINES_APART), None);
    }
}
