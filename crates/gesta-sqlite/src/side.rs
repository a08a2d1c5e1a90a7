//! Snapshots, and the checkpoints of consumers that keep no rows: one more file.

use std::path::Path;

use bytes::Bytes;
use gesta_store::{Checkpoint, DatabaseError, Fingerprint, Revision, Snapshot, StreamName};
use rusqlite::{Connection, params};

use crate::{
    connection::{self, Durable, checkpoint_of, incarnation_of},
    error::sorted,
    tx::find,
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

pub(crate) struct Side(Connection);

impl Side {
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = connection::open(path, Durable::AfterWriteBack)?;
        connection.execute_batch(TABLES).map_err(sorted)?;
        Ok(Self(connection))
    }

    pub(crate) fn checkpoint(&self, consumer: &str) -> Result<Option<Checkpoint>, DatabaseError> {
        let sql = "select position, incarnation from checkpoints where consumer = ?1";
        find(&self.0, sql, [consumer], checkpoint_of)
    }

    pub(crate) fn save_checkpoint(
        &self,
        consumer: &str,
        checkpoint: Checkpoint,
    ) -> Result<(), DatabaseError> {
        let sql = "insert into checkpoints values (?1, ?2, ?3) on conflict (consumer) do update
                   set position = excluded.position, incarnation = excluded.incarnation
                   where excluded.position > position or excluded.incarnation <> incarnation";
        let Checkpoint { position, incarnation } = checkpoint;
        let values = params![consumer, position.number(), incarnation.as_uuid().into_bytes()];
        self.0.prepare_cached(sql).map_err(sorted)?.execute(values).map_err(sorted)?;
        Ok(())
    }

    pub(crate) fn snapshot(&self, stream: &StreamName) -> Result<Option<Snapshot>, DatabaseError> {
        let sql = "select revision, incarnation, fingerprint, state from snapshots
                   where stream = ?1";
        find(&self.0, sql, [stream.as_str()], |row| {
            Ok(Snapshot {
                stream: stream.clone(),
                revision: Revision::new(row.get(0)?),
                incarnation: incarnation_of(row, 1)?,
                fingerprint: Fingerprint::new(row.get::<_, i64>(2)?.cast_unsigned()),
                state: Bytes::from(row.get::<_, Vec<u8>>(3)?),
            })
        })
    }

    pub(crate) fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), DatabaseError> {
        let sql = "insert into snapshots values (?1, ?2, ?3, ?4, ?5) on conflict (stream) do update
                   set revision = excluded.revision, incarnation = excluded.incarnation,
                       fingerprint = excluded.fingerprint, state = excluded.state
                   where excluded.revision >= revision or excluded.incarnation <> incarnation
                       or excluded.fingerprint <> fingerprint";
        let values = params![
            snapshot.stream.as_str(),
            snapshot.revision.number(),
            snapshot.incarnation.as_uuid().into_bytes(),
            snapshot.fingerprint.number().cast_signed(),
            &snapshot.state[..],
        ];
        self.0.prepare_cached(sql).map_err(sorted)?.execute(values).map_err(sorted)?;
        Ok(())
    }

    pub(crate) fn delete_snapshot(&self, stream: &StreamName) -> Result<(), DatabaseError> {
        let sql = "delete from snapshots where stream = ?1";
        self.0.execute(sql, [stream.as_str()]).map_err(sorted)?;
        Ok(())
    }
}
