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
    time::sleep,
};

use crate::{Api, Edge, connections::Connections};

/// The first pause after a connection could not be accepted; each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause, so that serving is back this soon after what it lacks is.
const PAUSE_MAX: Duration = Duration::from_millis(500);

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
    edge: Edge,
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let mut connections = Connections::new(api.router(edge.clone()), edge.limits_of());
    pin!(until);
    loop {
        select! {
            () = &mut until => break,
            accepted = accept(&listener) => connections.take(accepted?),
            () = connections.reap() => {}
        }
    }
    drop(listener);
    edge.close();
    connections.end().await;
    Ok(())
}

/// Waits for a connection, and waits out whatever keeps it from being accepted.
async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
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
        if pause == PAUSE_MIN {
            tracing::warn!(%error, "connections cannot be accepted; trying until they can");
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
