//! One read model's file: its writer, its readers, and its end.
//!
//! Always holds: one transaction at a time; a dropped read model's file stays until its last
//! transaction and reader have ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::lock::{Mutex as Turns, OwnedMutexGuard};
use gesta_store::DatabaseError;
use rusqlite::Connection;

use crate::{
    connection::{self, Durable},
    error::{file_error, sorted},
    letters, rows,
};

/// Connections for queries that are kept open when nobody uses them.
const READERS_KEPT_MAX: usize = 8;

const TABLES: &str = "
    create table if not exists gesta_checkpoint (
        only integer primary key check (only = 1),
        position integer not null,
        incarnation blob not null
    ) strict;
";

// Fields are dropped in this order: the connections are closed before the file goes.
pub(crate) struct ReadModelFile {
    writer: Arc<Turns<Connection>>,
    readers: Mutex<Vec<Connection>>,
    file: DroppedWithLastUse,
}

struct DroppedWithLastUse {
    path: PathBuf,
    dropped: AtomicBool,
}

impl ReadModelFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, DatabaseError> {
        let writer = connection::open(&path, Durable::AfterWriteBack)?;
        for tables in [TABLES, rows::TABLES, letters::TABLES] {
            writer.execute_batch(tables).map_err(sorted)?;
        }
        Ok(Self {
            writer: Arc::new(Turns::new(writer)),
            readers: Mutex::new(Vec::new()),
            file: DroppedWithLastUse { path, dropped: AtomicBool::new(false) },
        })
    }

    /// The writer's connection, when its turn has come.
    pub(crate) async fn writer(&self) -> OwnedMutexGuard<Connection> {
        Arc::clone(&self.writer).lock_owned().await
    }

    /// Makes what was committed survive a loss of power.
    pub(crate) async fn write_back(&self) -> Result<(), DatabaseError> {
        let writer = self.writer().await;
        let busy: bool = writer
            .query_row("pragma wal_checkpoint(full)", [], |row| row.get(0))
            .map_err(sorted)?;
        if busy { Err(DatabaseError::unavailable("a reader is in the way")) } else { Ok(()) }
    }

    /// A connection for queries: a kept one, or a new one.
    pub(crate) fn take_reader(&self) -> Result<Connection, DatabaseError> {
        let kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.map_or_else(|| connection::open_reader(&self.file.path), Ok)
    }

    pub(crate) fn give_back(&self, reader: Connection) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_KEPT_MAX {
            readers.push(reader);
        }
    }

    /// The file goes with the last use of it.
    pub(crate) fn drop_with_last_use(&self) {
        self.file.dropped.store(true, Ordering::Release);
    }
}

impl Drop for DroppedWithLastUse {
    fn drop(&mut self) {
        if self.dropped.load(Ordering::Acquire) {
            // What cannot be removed now is removed when the store is opened again.
            let _ = remove(&self.path);
        }
    }
}

/// Removes a file and what SQLite keeps beside it, as far as they exist.
pub(crate) fn remove(path: &Path) -> Result<(), DatabaseError> {
    for beside in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error("a dropped read model cannot be removed", error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
