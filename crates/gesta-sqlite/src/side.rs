//! Snapshots, and the checkpoints of consumers that keep no rows: one more file.
//!
//! Always holds: a damaged file is no error. It is set aside and made anew: snapshots are taken
//! again, and checkpoints are carried over as far as they can still be read.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use gesta_store::{Checkpoint, DatabaseError, Fingerprint, Revision, Snapshot, StreamName};
use rusqlite::{Connection, params};

use crate::{
    connection::{self, Durable, checkpoint_of, incarnation_of},
    error::sorted,
    read_model_file::set_aside,
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
    connection: Connection,
    path: PathBuf,
}

impl Side {
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        match open_file(path) {
            Err(error @ DatabaseError::Corrupt { .. }) => Self::anew(path, &error),
            opened => Ok(Self { connection: opened?, path: path.to_owned() }),
        }
    }

    /// Sets the damaged file aside and begins a new one.
    fn anew(path: &Path, damage: &DatabaseError) -> Result<Self, DatabaseError> {
        let place = set_aside(path)?;
        let connection = open_file(path)?;
        let side = Self { connection, path: path.to_owned() };
        let (mut carried, mut kept_at) = (0, String::new());
        if let Some(place) = place {
            for (consumer, checkpoint) in checkpoints_in(&place).unwrap_or_default() {
                side.save(&consumer, checkpoint)?;
                carried += 1;
            }
            kept_at = place.display().to_string();
        }
        tracing::warn!(
            %damage, file = %path.display(), kept_at, checkpoints = carried,
            "snapshots are damaged: they are kept aside and taken anew"
        );
        Ok(side)
    }

    /// Does something; once more on a new file if this one is damaged.
    fn mending<T>(
        &mut self,
        act: impl Fn(&Connection) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        match act(&self.connection) {
            Err(error @ DatabaseError::Corrupt { .. }) => {
                *self = Self::anew(&self.path, &error)?;
                act(&self.connection)
            }
            outcome => outcome,
        }
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

    fn save(&self, consumer: &str, checkpoint: Checkpoint) -> Result<(), DatabaseError> {
        save(&self.connection, consumer, checkpoint)
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
        self.mending(|connection| find(connection, sql, [stream.as_str()], read))
    }

    pub(crate) fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), DatabaseError> {
        let sql = "insert into snapshots values (?1, ?2, ?3, ?4, ?5) on conflict (stream) do update
                   set revision = excluded.revision, incarnation = excluded.incarnation,
                       fingerprint = excluded.fingerprint, state = excluded.state
                   where excluded.revision >= revision or excluded.incarnation <> incarnation
                       or excluded.fingerprint <> fingerprint";
        self.mending(|connection| {
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
        self.mending(|connection| {
            connection.execute(sql, [stream.as_str()]).map_err(sorted)?;
            Ok(())
        })
    }
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
