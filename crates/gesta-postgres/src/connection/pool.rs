//! The connections of reads.
//!
//! Owns: a bounded number of connections, opened when they are needed. A read whose connection
//! broke is repeated on a new one for a while, because it changes nothing. Not here: the connection
//! of appends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gesta_store::StoreError;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_postgres::Row;

use super::{Connection, Connector, RECONNECT_PAUSE, Value};
use crate::errors::Failure;

/// Connections for reads.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: Arc<Connector>,
    /// Time in which a read whose connection broke is repeated.
    repeat: Duration,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) fn new(connector: Arc<Connector>, connections: usize) -> Self {
        let repeat = connector.limits().resend;
        let places = Semaphore::new(connections);
        Self { connector, repeat, places, idle: Mutex::default() }
    }

    /// Repeats no read: another server answers it.
    pub(crate) fn without_repeats(self) -> Self {
        Self { repeat: Duration::ZERO, ..self }
    }

    /// Returns the maker of connections, for work that needs one of its own.
    pub(crate) fn connector(&self) -> Arc<Connector> {
        Arc::clone(&self.connector)
    }

    /// Runs a statement that changes nothing, and returns its rows.
    pub(crate) async fn query(
        &self,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let _place = self.places.acquire().await.map_err(|_| StoreError::closed())?;
        let deadline = Instant::now() + self.repeat;
        let mut broken = false;
        loop {
            match self.query_once(text, values).await {
                Err(Failure::Lost(error)) if Instant::now() < deadline => {
                    tracing::debug!(%error, "the connection broke during a read; it is repeated");
                    // The others broke too, most likely.
                    self.idle().clear();
                    broken = true;
                }
                Err(Failure::Yielded(_) | Failure::Promoted(_)) if Instant::now() < deadline => {}
                // The server may be starting again.
                Err(Failure::Refused(error))
                    if broken && error.is_transient() && Instant::now() < deadline =>
                {
                    sleep(RECONNECT_PAUSE).await;
                }
                outcome => return outcome.map_err(Failure::of_read),
            }
        }
    }

    async fn query_once(&self, text: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let idle = self.idle().pop();
        let connection = match idle.filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connector.connect().await.map_err(Failure::Refused)?,
        };
        let outcome = connection.query(text, values).await;
        // A connection whose answer is outstanding would hold up the next read.
        if !matches!(outcome, Err(Failure::Lost(_))) {
            self.idle().push(connection);
        }
        outcome
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
