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
use gesta_store::{DatabaseError, ReadModelId};
use rusqlite::Connection;

use crate::{
    connection::{self, Durable},
    error::{file_error, sorted},
    letters,
    mark::Mark,
    properties, rows,
};

/// Connections for queries that are kept open when nobody uses them.
const READERS_KEPT_MAX: usize = 8;

/// Bytes of a file up to which it is checked for damage when it is opened: some milliseconds.
/// Damage in a larger one shows when the damaged page is read.
const CHECKED_BYTES_MAX: u64 = 4 << 20;

const TABLES: &str = "
    create table if not exists gesta_checkpoint (
        only integer primary key check (only = 1),
        position integer not null,
        incarnation blob not null
    ) strict;
";

// Fields are dropped in this order. The writer's connection is the last one to be closed, because
// only that one writes the write-ahead log back into the file; the file goes after all.
pub(crate) struct ReadModelFile {
    readers: Mutex<Vec<Connection>>,
    writer: Arc<Turns<Connection>>,
    read_model: ReadModelId,
    mark: Mark,
    file: DroppedWithLastUse,
}

struct DroppedWithLastUse {
    path: PathBuf,
    dropped: AtomicBool,
}

impl ReadModelFile {
    /// Opens the file and makes what it lacks. One that had its tables once, and is empty now,
    /// has lost them.
    pub(crate) fn open(
        read_model: &ReadModelId,
        path: PathBuf,
        is_begun: bool,
    ) -> Result<Self, DatabaseError> {
        let opened = open_writer(&path, is_begun).and_then(|writer| Ok((writer, Mark::of(&path)?)));
        let (writer, mark) = opened.map_err(|error| named(error, read_model, &path))?;
        Ok(Self {
            mark,
            writer: Arc::new(Turns::new(writer)),
            readers: Mutex::new(Vec::new()),
            read_model: read_model.clone(),
            file: DroppedWithLastUse { path, dropped: AtomicBool::new(false) },
        })
    }

    /// Looks whether the file is still the one that was opened.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] with read model, path and what became of the file.
    pub(crate) fn check(&self) -> Result<(), DatabaseError> {
        self.mark.check(&self.file.path).map_err(|error| self.named(error))
    }

    /// Adds the read model and the path to an error that is about the file.
    pub(crate) fn named(&self, error: DatabaseError) -> DatabaseError {
        named(error, &self.read_model, &self.file.path)
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

fn open_writer(path: &Path, is_begun: bool) -> Result<Connection, DatabaseError> {
    let bytes = fs::metadata(path).map_or(0, |found| found.len());
    if is_begun && bytes == 0 && path.exists() {
        return Err(DatabaseError::Corrupt {
            reason: "the file is empty".to_owned(),
            source: None,
        });
    }
    let writer = connection::open(path, Durable::AfterWriteBack)?;
    if (1..=CHECKED_BYTES_MAX).contains(&bytes) {
        check(&writer)?;
    }
    for tables in [TABLES, rows::TABLES, letters::TABLES, properties::TABLES] {
        writer.execute_batch(tables).map_err(sorted)?;
    }
    Ok(writer)
}

/// Walks every page of the file.
pub(crate) fn check(connection: &Connection) -> Result<(), DatabaseError> {
    let found: String =
        connection.query_row("pragma quick_check(1)", [], |row| row.get(0)).map_err(sorted)?;
    if found == "ok" {
        return Ok(());
    }
    Err(DatabaseError::Corrupt { reason: found.replace('\n', " "), source: None })
}

fn named(error: DatabaseError, read_model: &ReadModelId, path: &Path) -> DatabaseError {
    let place = format!("read model {read_model} in {}", path.display());
    match error {
        DatabaseError::Corrupt { reason, source } if !reason.starts_with(&place) => {
            DatabaseError::Corrupt { reason: format!("{place}: {reason}"), source }
        }
        DatabaseError::Unavailable { reason, source } if !reason.starts_with(&place) => {
            DatabaseError::Unavailable { reason: format!("{place}: {reason}"), source }
        }
        other => other,
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

/// A file and what SQLite keeps beside it: the endings of their names.
const BESIDE: [&str; 3] = ["", "-wal", "-shm"];

/// The paths of a file and of what SQLite keeps beside it.
pub(crate) fn beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    BESIDE.iter().map(move |ending| with_ending(path, ending))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Removes a file and what SQLite keeps beside it, as far as they exist.
pub(crate) fn remove(path: &Path) -> Result<(), DatabaseError> {
    for ending in BESIDE {
        match fs::remove_file(with_ending(path, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = format!("{} cannot be removed", path.display());
                return Err(file_error(&what, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Makes the path free: what cannot be removed, such as a directory, is kept aside.
pub(crate) fn make_way(path: &Path) -> Result<(), DatabaseError> {
    if let Err(error) = remove(path) {
        let kept_at = set_aside(path)?.unwrap_or_default();
        let kept_at = kept_at.display();
        tracing::warn!(%error, %kept_at, "what is in a new read model's place is kept aside");
    }
    Ok(())
}

/// Renames a damaged file, and what SQLite keeps beside it, to `NAME.corrupt-N`. Returns the new
/// path; none where there was no file.
pub(crate) fn set_aside(path: &Path) -> Result<Option<PathBuf>, DatabaseError> {
    if !path.exists() {
        return Ok(None);
    }
    let numbered = |number: u32| with_ending(path, &format!(".corrupt-{number}"));
    let place = (1..).map(numbered).find(|place| !place.exists()).unwrap_or_else(|| numbered(0));
    for ending in BESIDE {
        match fs::rename(with_ending(path, ending), with_ending(&place, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = format!("{} cannot be set aside", path.display());
                return Err(file_error(&what, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Some(place))
}
