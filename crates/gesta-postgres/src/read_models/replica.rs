//! The replica that readers use.
//!
//! Owns: its idle connections, its trouble, and how much of the primary's log this process has
//! seen. A reader sees every transaction that was committed before it was opened: it begins when
//! the replica has replayed what the primary had written by then. If that takes too long, or the
//! replica is away, the reader uses the primary. While the primary cannot be reached, a reader
//! begins when the replica has replayed everything that this process has seen, so that no query
//! goes back. Not here: the statements of readers.

use std::{
    fmt,
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

/// A position of the primary's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogPosition(u64);

impl LogPosition {
    /// Reads the server's form, two hexadecimal numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let (high, low) = (u32::from_str_radix(high, 16), u32::from_str_radix(low, 16));
        Some(Self((u64::from(high.ok()?) << 32) | u64::from(low.ok()?)))
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

/// The part of the primary's log whose effects this process may have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    UpTo(Option<LogPosition>),
    /// Appends change rows in their own transactions, whose positions are not asked for.
    Unknown,
}

/// The connections to a replica.
#[derive(Debug)]
pub(super) struct Replica {
    url: String,
    connector: Connector,
    idle: Mutex<Vec<Prepared>>,
    /// The reason why readers use the primary, if they do.
    trouble: Mutex<Option<String>>,
    seen: Mutex<Seen>,
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
            seen: Mutex::new(Seen::UpTo(None)),
        })
    }

    /// Notes that the effects of the log up to a position may have been seen.
    pub(super) fn has_seen(&self, position: LogPosition) {
        if let Seen::UpTo(seen) = &mut *lock(&self.seen) {
            *seen = (*seen).max(Some(position));
        }
    }

    /// Gives up on readers without the primary: the positions of some commits are unknown.
    pub(super) fn need_primary(&self) {
        *lock(&self.seen) = Seen::Unknown;
    }

    /// Returns the position that a reader needs while the primary cannot be reached.
    pub(super) fn without_primary(&self) -> Option<LogPosition> {
        match *lock(&self.seen) {
            Seen::UpTo(seen) => seen,
            Seen::Unknown => None,
        }
    }

    /// Returns a connection on which everything up to a position of the primary's log is there.
    pub(super) async fn caught_up(&self, position: LogPosition) -> Result<Prepared, DatabaseError> {
        let position = position.to_string();
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

    /// Notes that a reader uses the replica, and the error if the primary cannot be reached.
    pub(super) fn note_use(&self, primary: Option<&DatabaseError>) {
        let text = primary.map(|error| {
            format!("queries use the replica {} without the primary: {error}", self.url)
        });
        self.set_trouble(text);
    }

    /// Notes why a reader uses the primary.
    pub(super) fn note_failure(&self, error: &DatabaseError) {
        // The other connections broke too, most likely.
        lock(&self.idle).clear();
        let url = &self.url;
        let text = format!("queries use the primary instead of the replica {url}: {error}");
        self.set_trouble(Some(text));
    }

    fn set_trouble(&self, text: Option<String>) {
        let mut trouble = lock(&self.trouble);
        if let (None, Some(text)) = (&*trouble, &text) {
            tracing::warn!("{text}");
        }
        *trouble = text;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_the_log_comes_back_as_it_was_written() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(LogPosition::parse(text).unwrap().to_string(), text);
        }
        assert!(LogPosition::parse("1/0") > LogPosition::parse("0/FFFFFFFF"));
        for text in ["", "1", "1/", "1/x"] {
            assert_eq!(LogPosition::parse(text), None, "{text}");
        }
    }
}
