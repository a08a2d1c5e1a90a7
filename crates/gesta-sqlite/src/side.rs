//! Snapshots, and the checkpoints of consumers that keep no rows: one more file.
//!
//! Always holds: a damaged file is no error. It is set aside and made anew: snapshots are taken
//! again, and checkpoints are carried over as far as they can still be read. A file that cannot be
//! opened at all is gone without: no snapshot is found and none is kept, until there is something
//! else in its place.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use gesta_store::{Checkpoint, DatabaseError, Fingerprint, Revision, Snapshot, StreamName};
use rusqlite::{Connection, params};

use crate::{
    connection::{self, Durable, checkpoint_of, incarnation_of},
    error::sorted,
    read_model_file::{beside, set_aside},
    tx::{find, query},
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

pub(crate) struct Side {
    path: PathBuf,
    file: SideFile,
}

enum SideFile {
    Open(Connection),
    /// It could not be opened, for this reason, when its place looked like this.
    Without(DatabaseError, Vec<Trace>),
}

/// The size of a file, when it was changed last, and whether it may only be read.
type Trace = Option<(u64, Option<SystemTime>, bool)>;

impl Side {
    pub(crate) fn open(path: &Path) -> Self {
        let opened = match open_file(path) {
            Err(error @ DatabaseError::Corrupt { .. }) => anew(path, &error),
            opened => opened,
        };
        let file = opened.map_or_else(|error| without(path, &error), SideFile::Open);
        Self { path: path.to_owned(), file }
    }

    /// Returns why there are no snapshots, if there are none.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.connection().err().map(|error| error.to_string())
    }

    /// The file. One that could not be opened is tried again once its place looks different.
    fn connection(&mut self) -> Result<&Connection, DatabaseError> {
        if let SideFile::Without(_, seen) = &self.file
            && *seen != traces(&self.path)
        {
            *self = Self::open(&self.path);
        }
        match &self.file {
            SideFile::Open(connection) => Ok(connection),
            SideFile::Without(error, _) => Err(error.clone()),
        }
    }

    /// Does something; once more on a new file if this one is damaged.
    fn mending<T>(
        &mut self,
        act: impl Fn(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        match act(self.connection()?) {
            Err(error @ DatabaseError::Corrupt { .. }) => {
                let opened = anew(&self.path, &error);
                self.file = opened.map_or_else(|error| without(&self.path, &error), SideFile::Open);
                act(self.connection()?)
            }
            outcome => outcome,
        }
    }

    /// The same with snapshots, without which everything goes on.
    fn if_there<T: Default>(
        &mut self,
        act: impl Fn(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        if self.connection().is_err() {
            return Ok(T::default());
        }
        self.mending(act)
    }

    pub(crate) fn checkpoint(
        &mut self,
        consumer: &str,
    ) -> Result<Option<Checkpoint>, DatabaseError> {
        let sql = "select position, incarnation from checkpoints where consumer = ?1";
        self.mending(|connection| find(connection, sql, [consumer], checkpoint_of))
    }

    pub(crate) fn save_checkpoint(
        &mut self,
        consumer: &str,
        checkpoint: Checkpoint,
    ) -> Result<(), DatabaseError> {
        self.mending(|connection| save(connection, consumer, checkpoint))
    }

    pub(crate) fn snapshot(
        &mut self,
        stream: &StreamName,
    ) -> Result<Option<Snapshot>, DatabaseError> {
        let sql = "select revision, incarnation, fingerprint, state from snapshots
                   where stream = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Snapshot {
                stream: stream.clone(),
                revision: Revision::new(row.get(0)?),
                incarnation: incarnation_of(row, 1)?,
                fingerprint: Fingerprint::new(row.get::<_, i64>(2)?.cast_unsigned()),
                state: Bytes::from(row.get::<_, Vec<u8>>(3)?),
            })
        };
        self.if_there(|connection| find(connection, sql, [stream.as_str()], read))
    }

    pub(crate) fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), DatabaseError> {
        let sql = "insert into snapshots values (?1, ?2, ?3, ?4, ?5) on conflict (stream) do update
                   set revision = excluded.revision, incarnation = excluded.incarnation,
                       fingerprint = excluded.fingerprint, state = excluded.state
                   where excluded.revision >= revision or excluded.incarnation <> incarnation
                       or excluded.fingerprint <> fingerprint";
        self.if_there(|connection| {
            let values = params![
                snapshot.stream.as_str(),
                snapshot.revision.number(),
                snapshot.incarnation.as_uuid().into_bytes(),
                snapshot.fingerprint.number().cast_signed(),
                &snapshot.state[..],
            ];
            connection.prepare_cached(sql).map_err(sorted)?.execute(values).map_err(sorted)?;
            Ok(())
        })
    }

    pub(crate) fn delete_snapshot(&mut self, stream: &StreamName) -> Result<(), DatabaseError> {
        let sql = "delete from snapshots where stream = ?1";
        self.if_there(|connection| {
            connection.execute(sql, [stream.as_str()]).map_err(sorted)?;
            Ok(())
        })
    }
}

/// Sets the damaged file aside and begins a new one.
fn anew(path: &Path, damage: &DatabaseError) -> Result<Connection, DatabaseError> {
    let place = set_aside(path)?;
    let connection = open_file(path)?;
    let (mut carried, mut kept_at) = (0, String::new());
    if let Some(place) = place {
        for (consumer, checkpoint) in checkpoints_in(&place).unwrap_or_default() {
            save(&connection, &consumer, checkpoint)?;
            carried += 1;
        }
        kept_at = place.display().to_string();
    }
    tracing::warn!(
        %damage, file = %path.display(), kept_at, checkpoints = carried,
        "snapshots are damaged: they are kept aside and taken anew"
    );
    Ok(connection)
}

fn without(path: &Path, error: &DatabaseError) -> SideFile {
    let reason = format!(
        "there are no snapshots, because {} cannot be opened: {error}; make it, its -wal and its \
         -shm files that can be read and written, or move them away",
        path.display()
    );
    tracing::warn!("{reason}");
    SideFile::Without(DatabaseError::unavailable(reason), traces(path))
}

fn traces(path: &Path) -> Vec<Trace> {
    let trace = |path: PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.len(), found.modified().ok(), found.permissions().readonly()))
    };
    beside(path).map(trace).collect()
}

fn open_file(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = connection::open(path, Durable::AfterWriteBack)?;
    connection.execute_batch(TABLES).map_err(sorted)?;
    Ok(connection)
}

fn save(
    connection: &Connection,
    consumer: &str,
    checkpoint: Checkpoint,
) -> Result<(), DatabaseError> {
    let sql = "insert into checkpoints values (?1, ?2, ?3) on conflict (consumer) do update
               set position = excluded.position, incarnation = excluded.incarnation
               where excluded.position > position or excluded.incarnation <> incarnation";
    let Checkpoint { position, incarnation } = checkpoint;
    let values = params![consumer, position.number(), incarnation.as_uuid().into_bytes()];
    connection.prepare_cached(sql).map_err(sorted)?.execute(values).map_err(sorted)?;
    Ok(())
}

/// The checkpoints of a damaged file, if they are in the part of it that is sound.
fn checkpoints_in(path: &Path) -> Result<Vec<(String, Checkpoint)>, DatabaseError> {
    let connection = connection::open_reader(path)?;
    let sql = "select position, incarnation, consumer from checkpoints";
    query(&connection, sql, [], |row| Ok((row.get(2)?, checkpoint_of(row)?)))
}
