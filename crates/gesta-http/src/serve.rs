//! Serving: from a listener to the end of the last request.
//!
//! Always holds: once serving is to end, no new request is taken, those that are there may finish
//! within the limit, and feeds end at once.

use std::{future::Future, io};

use tokio::{net::TcpListener, sync::oneshot, time::timeout};

use crate::{Api, Edge};

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener failed.
    #[error("serving failed")]
    Listener(#[from] io::Error),
}

/// Serves an application until it is told to end.
///
/// # Errors
/// [`ServeError`] when serving ends without having been told to.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    edge: Edge,
    until: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let limit = edge.limits_of().closing_max;
    let (told, ending) = oneshot::channel();
    let closed = edge.clone();
    let serving = axum::serve(listener, api.router(edge)).with_graceful_shutdown(async move {
        until.await;
        closed.close();
        // Who waits for it may be gone already.
        let _ = told.send(());
    });
    let serving = serving.into_future();
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        _ = ending => {}
    }
    match timeout(limit, serving).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            tracing::warn!("some requests did not end in time and were dropped");
            Ok(())
        }
    }
}
