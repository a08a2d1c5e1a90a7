//! One read model's file: the writer connection, the pool of readers, and removal.
//!
//! Invariant: at most one write transaction is open. A dropped read model's file is removed only
//! after its last transaction and reader have ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::lock::{Mutex as AsyncMutex, OwnedMutexGuard};
use gesta_store::{DatabaseError, ReadModelId};
use rusqlite::Connection;

use crate::{
    checkpoint,
    connection::{self, Durability},
    dead_letters,
    error::{classify, file_error},
    file_identity::FileIdentity,
    properties, rows,
};

/// Idle query connections in the pool.
const IDLE_READERS_MAX: usize = 8;

/// Size of a file, in bytes, up to which opening checks every page. The check takes milliseconds.
///
/// Damage in a larger file is reported when the damaged page is read.
const CHECKED_BYTES_MAX: u64 = 4 << 20;

/// An open read model file.
// Fields drop in this order. The writer closes after the readers: the last connection to close
// checkpoints the write-ahead log, and read-only ones cannot. The file is removed after both.
pub(crate) struct ReadModelFile {
    readers: Mutex<Vec<Connection>>,
    writer: Arc<AsyncMutex<Connection>>,
    read_model: ReadModelId,
    identity: FileIdentity,
    file: FileRemoval,
}

/// Removes the file when it is dropped, if it is marked for removal.
struct FileRemoval {
    path: PathBuf,
    is_dropped: AtomicBool,
}

impl ReadModelFile {
    /// Opens the file and creates missing tables.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`] when the file is damaged, or is empty although `has_tables`.
    pub(crate) fn open(
        read_model: &ReadModelId,
        path: PathBuf,
        has_tables: bool,
    ) -> Result<Self, DatabaseError> {
        let opened = open_writer(&path, has_tables)
            .and_then(|writer| Ok((writer, FileIdentity::of(&path)?)));
        let (writer, identity) = opened.map_err(|error| named(error, read_model, &path))?;
        Ok(Self {
            identity,
            writer: Arc::new(AsyncMutex::new(writer)),
            readers: Mutex::new(Vec::new()),
            read_model: read_model.clone(),
            file: FileRemoval { path, is_dropped: AtomicBool::new(false) },
        })
    }

    /// Checks that the file at the path is still the one that was opened.
    ///
    /// # Errors
    /// [`DatabaseError::Corrupt`], with the read model, the path and the change, when it is not.
    pub(crate) fn check(&self) -> Result<(), DatabaseError> {
        self.identity.check(&self.file.path).map_err(|error| self.named(error))
    }

    /// Adds the read model and the path to an error that concerns the file.
    pub(crate) fn named(&self, error: DatabaseError) -> DatabaseError {
        named(error, &self.read_model, &self.file.path)
    }

    /// Waits for the previous transaction to end and returns the writer connection.
    pub(crate) async fn writer(&self) -> OwnedMutexGuard<Connection> {
        Arc::clone(&self.writer).lock_owned().await
    }

    /// Makes all commits durable against loss of power, by a checkpoint of the write-ahead log.
    pub(crate) async fn write_back(&self) -> Result<(), DatabaseError> {
        // `full` waits for readers of older pages up to the busy timeout, then reports busy: with
        // pages left in the log, the file on disk is not complete.
        let writer = self.writer().await;
        let busy: bool = writer
            .query_row("pragma wal_checkpoint(full)", [], |row| row.get(0))
            .map_err(classify)?;
        if busy {
            Err(DatabaseError::unavailable("a reader blocks the checkpoint of the write-ahead log"))
        } else {
            Ok(())
        }
    }

    /// Returns a pooled query connection, or opens a new one.
    pub(crate) fn take_reader(&self) -> Result<Connection, DatabaseError> {
        let pooled = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        pooled.map_or_else(|| connection::open_reader(&self.file.path), Ok)
    }

    pub(crate) fn return_reader(&self, reader: Connection) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS_MAX {
            readers.push(reader);
        }
    }

    /// Marks the file for removal after its last transaction and reader have ended.
    pub(crate) fn remove_after_last_use(&self) {
        self.file.is_dropped.store(true, Ordering::Release);
    }
}

fn open_writer(path: &Path, has_tables: bool) -> Result<Connection, DatabaseError> {
    let bytes = fs::metadata(path).map_or(0, |found| found.len());
    // SQLite takes an empty file for a new database, and queries would find no rows. A file that
    // had tables has lost them.
    if has_tables && bytes == 0 && path.exists() {
        return Err(DatabaseError::Corrupt {
            reason: "the file is empty".to_owned(),
            source: None,
        });
    }
    let writer = connection::open(path, Durability::ProcessEnd)?;
    if (1..=CHECKED_BYTES_MAX).contains(&bytes) {
        check(&writer)?;
    }
    for tables in [checkpoint::TABLES, rows::TABLES, dead_letters::TABLES, properties::TABLES] {
        writer.execute_batch(tables).map_err(classify)?;
    }
    Ok(writer)
}

/// Checks every page of the file, without comparing indexes with their tables.
pub(crate) fn check(connection: &Connection) -> Result<(), DatabaseError> {
    let found: String =
        connection.query_row("pragma quick_check(1)", [], |row| row.get(0)).map_err(classify)?;
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

impl Drop for FileRemoval {
    fn drop(&mut self) {
        if self.is_dropped.load(Ordering::Acquire) {
            // A failed removal is repeated when the store is opened: the catalogue keeps the row.
            let _ = remove(&self.path);
        }
    }
}

/// Name endings of a database file and its write-ahead log and shared-memory files.
const DATABASE_FILE_ENDINGS: [&str; 3] = ["", "-wal", "-shm"];

/// Returns the paths of a database file and its write-ahead log and shared-memory files.
pub(crate) fn database_files(path: &Path) -> impl Iterator<Item = PathBuf> {
    DATABASE_FILE_ENDINGS.iter().map(move |ending| with_ending(path, ending))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Removes a database file with its write-ahead log and shared-memory files, if they exist.
pub(crate) fn remove(path: &Path) -> Result<(), DatabaseError> {
    for ending in DATABASE_FILE_ENDINGS {
        match fs::remove_file(with_ending(path, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let context = format!("{} cannot be removed", path.display());
                return Err(file_error(&context, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Frees the path for a new file. Renames what cannot be removed, such as a directory.
pub(crate) fn clear_path(path: &Path) -> Result<(), DatabaseError> {
    if let Err(error) = remove(path) {
        let kept_at = quarantine(path)?.unwrap_or_default();
        let kept_at = kept_at.display();
        tracing::warn!(
            %error, %kept_at,
            "a file was in the way of a new read model; it was renamed"
        );
    }
    Ok(())
}

/// Renames a damaged database file, with its log and shared-memory files, to `NAME.corrupt-N`.
///
/// Returns the new path, or `None` if the file does not exist.
pub(crate) fn quarantine(path: &Path) -> Result<Option<PathBuf>, DatabaseError> {
    if !path.exists() {
        return Ok(None);
    }
    let numbered = |number: u32| with_ending(path, &format!(".corrupt-{number}"));
    let target = (1..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(0));
    for ending in DATABASE_FILE_ENDINGS {
        match fs::rename(with_ending(path, ending), with_ending(&target, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let context = format!("{} cannot be renamed", path.display());
                return Err(file_error(&context, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Some(target))
}
