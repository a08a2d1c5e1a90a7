//! Connections: how they are opened, and why with these settings.

use std::{path::Path, time::Duration};

use gesta_store::{Checkpoint, DatabaseError, Incarnation, Position};
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use crate::error::sorted;

/// How long a statement waits for another process, such as a backup, before it is refused.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps.
const STATEMENTS_KEPT_MAX: usize = 64;

/// Pages in the write-ahead log at which a commit writes them back, which is when it syncs:
/// 16 MiB, four times SQLite's own choice, so that catching up is not spent on syncs.
const WAL_PAGES: u32 = 4_096;

/// Kibibytes of pages that a connection caches.
const CACHE_KIB: i64 = 8_192;

/// What a committed transaction of a file survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Loss of power: the catalogue, since the switch to a read model drops the one before.
    Always,
    /// The end of the process. A loss of power takes back the last transactions, rows together
    /// with their checkpoint, so what is lost is simply applied again.
    AfterWriteBack,
}

/// Opens a file for reading and writing, and makes it if need be.
pub(crate) fn open(path: &Path, durable: Durable) -> Result<Connection, DatabaseError> {
    let connection = Connection::open(path).map_err(sorted)?;
    settle(&connection, durable).map_err(sorted)?;
    // A file that can only be read, or lacks what is written beside it, is met here.
    begin(&connection)?;
    connection.execute_batch("rollback").map_err(sorted)?;
    Ok(connection)
}

/// Begins a transaction, at once for writing: another process that has the file is met here, not in
/// the middle. No statement is at fault if it cannot be begun.
pub(crate) fn begin(connection: &Connection) -> Result<(), DatabaseError> {
    connection.execute_batch("begin immediate").map_err(|error| match sorted(error) {
        DatabaseError::Rejected { reason, source } => DatabaseError::Unavailable { reason, source },
        other => other,
    })
}

/// Opens a file that has a writer, for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sorted)?;
    connection.busy_timeout(BUSY_WAIT).map_err(sorted)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
    Ok(connection)
}

fn settle(connection: &Connection, durable: Durable) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT_MAX);
    // Readers go on while a transaction is open, and a commit is one sequential write.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let synchronous = match durable {
        Durable::Always => "full",
        // In this mode a loss of power never corrupts a file in write-ahead logging
        // (https://www.sqlite.org/pragma.html#pragma_synchronous).
        Durable::AfterWriteBack => "normal",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// A checkpoint from its two columns, the position first.
pub(crate) fn checkpoint_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Checkpoint> {
    Ok(Checkpoint { position: Position::new(row.get(0)?), incarnation: incarnation_of(row, 1)? })
}

/// An incarnation from its column.
pub(crate) fn incarnation_of(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<Incarnation> {
    Ok(Incarnation::new(Uuid::from_bytes(row.get(column)?)))
}
