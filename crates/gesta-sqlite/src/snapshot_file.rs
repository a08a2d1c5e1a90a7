//! The file of snapshots and of checkpoints of consumers without rows.
//!
//! Invariant: a damaged file is replaced by a new one and never fails a caller. Its readable
//! checkpoints are copied; snapshots are taken again. While the file cannot be opened, snapshots
//! are neither found nor saved, and checkpoints return the error. Opening is tried again once the
//! metadata of the file change.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use gesta_store::{Checkpoint, DatabaseError, Fingerprint, Revision, Snapshot, StreamName};
use rusqlite::{Connection, params};

use crate::{
    connection::{self, Durability},
    error::classify,
    query::{checkpoint_of, find, incarnation_of, query},
    read_model_file::{database_files, quarantine},
};

const TABLES: &str = "
    create table if not exists snapshots (
        stream text primary key,
        revision integer not null,
        incarnation blob not null,
        fingerprint integer not null,
        state blob not null
    ) strict, without rowid;
    create table if not exists checkpoints (
        consumer text primary key,
        position integer not null,
        incarnation blob not null
    ) strict, without rowid;
";

pub(crate) struct SnapshotFile {
    path: PathBuf,
    state: FileState,
}

enum FileState {
    Open(Connection),
    /// Opening failed with this error while the files had this metadata.
    Unavailable(DatabaseError, Vec<FileMetadata>),
}

/// Size in bytes, modification time and read-only flag. `None` if the file does not exist.
type FileMetadata = Option<(u64, Option<SystemTime>, bool)>;

impl SnapshotFile {
    pub(crate) fn open(path: &Path) -> Self {
        let opened = match open_file(path) {
            Err(error @ DatabaseError::Corrupt { .. }) => replace_damaged(path, &error),
            opened => opened,
        };
        let state = opened.map_or_else(|error| unavailable(path, &error), FileState::Open);
        Self { path: path.to_owned(), state }
    }

    /// Returns the reason why snapshots are unavailable, or `None` if they are available.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.connection().err().map(|error| error.to_string())
    }

    /// Returns the connection. Opens the file again if its metadata changed since it failed.
    fn connection(&mut self) -> Result<&Connection, DatabaseError> {
        // Comparing metadata costs a few system calls; opening on every call would also log each
        // failure.
        if let FileState::Unavailable(_, seen) = &self.state
            && *seen != file_metadata(&self.path)
        {
            *self = Self::open(&self.path);
        }
        match &self.state {
            FileState::Open(connection) => Ok(connection),
            FileState::Unavailable(error, _) => Err(error.clone()),
        }
    }

    /// Runs an operation. If it meets damage, replaces the file and runs it once more.
    fn with_repair<T>(
        &mut self,
        operation: impl Fn(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        match operation(self.connection()?) {
            Err(error @ DatabaseError::Corrupt { .. }) => {
                let opened = replace_damaged(&self.path, &error);
                self.state =
                    opened.map_or_else(|error| unavailable(&self.path, &error), FileState::Open);
                operation(self.connection()?)
            }
            outcome => outcome,
        }
    }

    /// Runs an operation on snapshots, or does nothing while the file is unavailable.
    ///
    /// Snapshots only save time, so their absence is not an error.
    fn if_available<T: Default>(
        &mut self,
        operation: impl Fn(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        if self.connection().is_err() {
            return Ok(T::default());
        }
        self.with_repair(operation)
    }

    pub(crate) fn checkpoint(
        &mut self,
        consumer: &str,
    ) -> Result<Option<Checkpoint>, DatabaseError> {
        let sql = "select position, incarnation from checkpoints where consumer = ?1";
        self.with_repair(|connection| find(connection, sql, [consumer], checkpoint_of))
    }

    pub(crate) fn save_checkpoint(
        &mut self,
        consumer: &str,
        checkpoint: Checkpoint,
    ) -> Result<(), DatabaseError> {
        self.with_repair(|connection| save(connection, consumer, checkpoint))
    }

    pub(crate) fn snapshot(
        &mut self,
        stream: &StreamName,
    ) -> Result<Option<Snapshot>, DatabaseError> {
        let sql = "select revision, incarnation, fingerprint, state from snapshots
                   where stream = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Snapshot::new(
                stream.clone(),
                Revision::new(row.get(0)?),
                incarnation_of(row, 1)?,
                Fingerprint::new(row.get::<_, i64>(2)?.cast_unsigned()),
                Bytes::from(row.get::<_, Vec<u8>>(3)?),
            ))
        };
        self.if_available(|connection| find(connection, sql, [stream.as_str()], read))
    }

    pub(crate) fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), DatabaseError> {
        // An older revision does not replace a newer one, unless the newer one belongs to another
        // incarnation or fold and is therefore useless. The upper half of a fingerprint identifies
        // the fold.
        let sql = "insert into snapshots values (?1, ?2, ?3, ?4, ?5) on conflict (stream) do update
                   set revision = excluded.revision, incarnation = excluded.incarnation,
                       fingerprint = excluded.fingerprint, state = excluded.state
                   where excluded.revision >= revision or excluded.incarnation <> incarnation
                       or excluded.fingerprint >> 32 <> fingerprint >> 32";
        self.if_available(|connection| {
            let values = params![
                snapshot.stream.as_str(),
                snapshot.revision.number(),
                snapshot.incarnation.as_uuid().into_bytes(),
                snapshot.fingerprint.number().cast_signed(),
                &snapshot.state[..],
            ];
            connection.prepare_cached(sql).map_err(classify)?.execute(values).map_err(classify)?;
            Ok(())
        })
    }

    pub(crate) fn delete_snapshot(&mut self, stream: &StreamName) -> Result<(), DatabaseError> {
        let sql = "delete from snapshots where stream = ?1";
        self.if_available(|connection| {
            connection.execute(sql, [stream.as_str()]).map_err(classify)?;
            Ok(())
        })
    }
}

/// Renames the damaged file, creates a new one and copies the readable checkpoints into it.
fn replace_damaged(path: &Path, damage: &DatabaseError) -> Result<Connection, DatabaseError> {
    let quarantined = quarantine(path)?;
    let connection = open_file(path)?;
    let (mut copied, mut kept_at) = (0, String::new());
    if let Some(quarantined) = quarantined {
        // Damage is often confined to snapshots, which are large. A consumer without its checkpoint
        // would handle all events again.
        for (consumer, checkpoint) in checkpoints_in(&quarantined).unwrap_or_default() {
            save(&connection, &consumer, checkpoint)?;
            copied += 1;
        }
        kept_at = quarantined.display().to_string();
    }
    tracing::warn!(
        %damage, file = %path.display(), kept_at, checkpoints = copied,
        "the snapshot file is damaged; it was renamed, and new snapshots will be taken"
    );
    Ok(connection)
}

fn unavailable(path: &Path, error: &DatabaseError) -> FileState {
    let reason = format!(
        "snapshots are disabled, because {} cannot be opened: {error}; make it and its -wal and \
         -shm files readable and writable, or move them away",
        path.display()
    );
    tracing::warn!("{reason}");
    FileState::Unavailable(DatabaseError::unavailable(reason), file_metadata(path))
}

fn file_metadata(path: &Path) -> Vec<FileMetadata> {
    let metadata = |path: PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.len(), found.modified().ok(), found.permissions().readonly()))
    };
    database_files(path).map(metadata).collect()
}

fn open_file(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = connection::open(path, Durability::ProcessEnd)?;
    connection.execute_batch(TABLES).map_err(classify)?;
    Ok(connection)
}

fn save(
    connection: &Connection,
    consumer: &str,
    checkpoint: Checkpoint,
) -> Result<(), DatabaseError> {
    // Within one incarnation a checkpoint never moves back; another incarnation starts over.
    let sql = "insert into checkpoints values (?1, ?2, ?3) on conflict (consumer) do update
               set position = excluded.position, incarnation = excluded.incarnation
               where excluded.position > position or excluded.incarnation <> incarnation";
    let Checkpoint { position, incarnation } = checkpoint;
    let values = params![consumer, position.number(), incarnation.as_uuid().into_bytes()];
    connection.prepare_cached(sql).map_err(classify)?.execute(values).map_err(classify)?;
    Ok(())
}

/// Reads the checkpoints of a damaged file, if their pages are intact.
fn checkpoints_in(path: &Path) -> Result<Vec<(String, Checkpoint)>, DatabaseError> {
    let connection = connection::open_reader(path)?;
    let sql = "select position, incarnation, consumer from checkpoints";
    query(&connection, sql, [], |row| Ok((row.get(2)?, checkpoint_of(row)?)))
}
