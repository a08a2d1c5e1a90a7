//! The replica that readers use.
//!
//! Owns: its idle connections, and its trouble. A reader sees every transaction that was committed
//! before it was opened: it begins when the replica has replayed what the primary had written by
//! then. If that takes too long, or the replica is away, the reader uses the primary. Not here: the
//! statements of readers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gesta_store::DatabaseError;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;

use super::errors::{of_catalogue, of_failure};
use crate::{
    connection::{Connector, Prepared},
    url::{InvalidUrl, PostgresUrl},
};

/// Time in which the replica has to replay what was committed.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between looks at the replay position.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

const HAS_REPLAYED: &str = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";

/// The connections to a replica.
#[derive(Debug)]
pub(super) struct Replica {
    url: String,
    connector: Connector,
    idle: Mutex<Vec<Prepared>>,
    /// The reason why readers use the primary, if they do.
    trouble: Mutex<Option<String>>,
}

impl Replica {
    /// # Errors
    ///
    /// If the file of certificates that the URL names cannot be read.
    pub(super) fn new(url: &PostgresUrl) -> Result<Self, InvalidUrl> {
        Ok(Self {
            url: url.to_string(),
            connector: Connector::new(url)?,
            idle: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    /// Returns a connection on which everything up to a position of the primary's log is there.
    pub(super) async fn caught_up(&self, position: &str) -> Result<Prepared, DatabaseError> {
        let deadline = Instant::now() + REPLAY_TIMEOUT;
        let prepared = self.connection().await?;
        loop {
            let values = [(&position as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT)];
            let rows = prepared.connection.query(HAS_REPLAYED, &values).await;
            if rows.map_err(of_failure)?.first().is_some_and(|row| row.get(0)) {
                return Ok(prepared);
            }
            if Instant::now() >= deadline {
                self.put_back(prepared);
                return Err(DatabaseError::unavailable(format!(
                    "it has not replayed what was committed within {} s, or is no replica",
                    REPLAY_TIMEOUT.as_secs()
                )));
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    async fn connection(&self) -> Result<Prepared, DatabaseError> {
        let idle = lock(&self.idle).pop();
        match idle.filter(|prepared| !prepared.connection.is_closed()) {
            Some(prepared) => Ok(prepared),
            None => {
                let connection = self.connector.connect().await.map_err(of_catalogue)?;
                Ok(Prepared::new(Arc::new(connection)))
            }
        }
    }

    pub(super) fn put_back(&self, prepared: Prepared) {
        lock(&self.idle).push(prepared);
    }

    pub(super) fn disconnect(&self) {
        lock(&self.idle).clear();
    }

    /// Notes why a reader uses the primary, or that it does not.
    pub(super) fn note(&self, error: Option<&DatabaseError>) {
        let mut trouble = lock(&self.trouble);
        let Some(error) = error else {
            *trouble = None;
            return;
        };
        // The other connections broke too, most likely.
        lock(&self.idle).clear();
        let text = format!("queries use the primary instead of the replica {}: {error}", self.url);
        if trouble.is_none() {
            tracing::warn!("{text}");
        }
        *trouble = Some(text);
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
