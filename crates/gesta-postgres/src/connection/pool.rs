//! The connections of reads.
//!
//! Owns: a bounded number of connections, opened when they are needed. A read that finds its
//! connection broken is repeated once on a new one, because it changes nothing. Not here: the
//! connection of appends.

use std::sync::{Arc, Mutex, PoisonError};

use gesta_store::StoreError;
use tokio::sync::Semaphore;
use tokio_postgres::Row;

use super::{Connection, Connector, Value};
use crate::errors::Failure;

/// Connections for reads.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: Arc<Connector>,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) fn new(connector: Arc<Connector>, connections: usize) -> Self {
        Self { connector, places: Semaphore::new(connections), idle: Mutex::default() }
    }

    /// Runs a statement that changes nothing, and returns its rows.
    pub(crate) async fn query(
        &self,
        text: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let _place = self.places.acquire().await.map_err(|_| StoreError::closed())?;
        match self.query_once(text, values).await {
            Err(Failure::Lost(_) | Failure::Yielded(_)) => {
                // The others broke too, most likely.
                self.idle().clear();
                self.query_once(text, values).await.map_err(Failure::of_read)
            }
            outcome => outcome.map_err(Failure::of_read),
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
