//! Opening of connections, and the reasons for their settings.

use std::{path::Path, time::Duration};

use gesta_store::DatabaseError;
use rusqlite::{Connection, OpenFlags};

use crate::error::classify;

/// Maximum time a statement waits for a lock of another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Prepared statements cached per connection.
const CACHED_STATEMENTS_MAX: usize = 64;

/// Size of the write-ahead log, in pages of 4 KiB, at which a commit checkpoints it.
///
/// A checkpoint syncs. 16 MiB is four times SQLite's default, so that catching up does not spend
/// its time in syncs.
const WAL_PAGES: u32 = 4_096;

/// Page cache per connection, in KiB.
const CACHE_KIB: i64 = 8_192;

/// Durability of a file's committed transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives loss of power. For the catalogue: a switch-over drops the previous read model, so
    /// it must not be undone.
    PowerLoss,
    /// Survives the end of the process. A loss of power undoes the last transactions, rows
    /// together with their checkpoint, and the projection applies their events again.
    ProcessEnd,
}

/// Opens a file for reading and writing, and creates it if it does not exist.
pub(crate) fn open(path: &Path, durability: Durability) -> Result<Connection, DatabaseError> {
    let connection = Connection::open(path).map_err(classify)?;
    configure(&connection, durability).map_err(classify)?;
    // SQLite opens lazily. A first write transaction reports a read-only file, or one whose `-wal`
    // or `-shm` cannot be written, here instead of at the first event.
    begin(&connection)?;
    connection.execute_batch("rollback").map_err(classify)?;
    Ok(connection)
}

/// Begins a write transaction.
///
/// `immediate` takes the write lock now: a conflict with another process shows here and not in the
/// middle of the transaction. No caller's statement is at fault, so a rejection becomes
/// [`DatabaseError::Unavailable`].
pub(crate) fn begin(connection: &Connection) -> Result<(), DatabaseError> {
    connection.execute_batch("begin immediate").map_err(|error| match classify(error) {
        DatabaseError::Rejected { reason, source } => DatabaseError::Unavailable { reason, source },
        other => other,
    })
}

/// Opens an existing file for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(classify)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(classify)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
    Ok(connection)
}

fn configure(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS_MAX);
    // Write-ahead logging: readers do not wait for a write transaction, and a commit is one
    // sequential write.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let synchronous = match durability {
        Durability::PowerLoss => "full",
        // With write-ahead logging, a loss of power in this mode undoes commits but never corrupts
        // the file (https://www.sqlite.org/pragma.html#pragma_synchronous).
        Durability::ProcessEnd => "normal",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    // A negative size counts KiB, a positive one counts pages.
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")
}
