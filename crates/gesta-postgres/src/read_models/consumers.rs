//! Checkpoints of consumers, and snapshots: one statement for each call.

use bytes::Bytes;
use gesta_store::{
    Checkpoint, DatabaseError, Fingerprint, Incarnation, Revision, Snapshot, StreamName,
};
use tokio_postgres::types::Type;

use super::{
    catalogue::{checkpoint_of, column},
    core::ReadModelsCore,
};
use crate::{
    connection::Value,
    number::{from_sql, to_sql},
};

const LOAD_CHECKPOINT: &str =
    "SELECT c.position, c.incarnation FROM {schema}.consumers c WHERE c.name = $1";

/// Ignores a position before the stored one, in the same incarnation.
const SAVE_CHECKPOINT: &str = "
INSERT INTO {schema}.consumers AS c (name, position, incarnation) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET position = excluded.position, incarnation = excluded.incarnation
 WHERE c.incarnation <> excluded.incarnation OR c.position < excluded.position";

const LOAD_SNAPSHOT: &str = "
SELECT s.revision, s.incarnation, s.fingerprint, s.state
  FROM {schema}.snapshots s WHERE s.stream = $1";

/// Ignores a snapshot that is older than the stored one, of the same fold and incarnation. The
/// upper half of a fingerprint identifies the fold.
const SAVE_SNAPSHOT: &str = "
INSERT INTO {schema}.snapshots AS s (stream, revision, incarnation, fingerprint, state)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (stream) DO UPDATE SET revision = excluded.revision,
    incarnation = excluded.incarnation, fingerprint = excluded.fingerprint, state = excluded.state
 WHERE s.fingerprint >> 32 <> excluded.fingerprint >> 32 OR s.incarnation <> excluded.incarnation
    OR s.revision <= excluded.revision";

const DELETE_SNAPSHOT: &str = "DELETE FROM {schema}.snapshots s WHERE s.stream = $1";

pub(super) async fn load_checkpoint(
    core: &ReadModelsCore,
    consumer: &str,
) -> Result<Option<Checkpoint>, DatabaseError> {
    let rows = core.query(LOAD_CHECKPOINT, &[(&consumer, Type::TEXT)]).await?;
    rows.first().map_or(Ok(None), |row| checkpoint_of(row, 0))
}

pub(super) async fn save_checkpoint(
    core: &ReadModelsCore,
    consumer: &str,
    checkpoint: Checkpoint,
) -> Result<(), DatabaseError> {
    let position = to_sql(checkpoint.position.number());
    let incarnation = checkpoint.incarnation.as_uuid();
    let values: [Value<'_>; 3] =
        [(&consumer, Type::TEXT), (&position, Type::INT8), (&incarnation, Type::UUID)];
    core.query(SAVE_CHECKPOINT, &values).await.map(drop)
}

pub(super) async fn load_snapshot(
    core: &ReadModelsCore,
    stream: StreamName,
) -> Result<Option<Snapshot>, DatabaseError> {
    let rows = core.query(LOAD_SNAPSHOT, &[(&stream.as_str(), Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (revision, fingerprint): (i64, i64) = (column(row, 0)?, column(row, 2)?);
    let state: Vec<u8> = column(row, 3)?;
    Ok(Some(Snapshot::new(
        stream,
        Revision::new(from_sql(revision)),
        Incarnation::new(column(row, 1)?),
        // The database has no unsigned numbers: the bits are the same.
        Fingerprint::new(u64::from_ne_bytes(fingerprint.to_ne_bytes())),
        Bytes::from(state),
    )))
}

pub(super) async fn save_snapshot(
    core: &ReadModelsCore,
    snapshot: Snapshot,
) -> Result<(), DatabaseError> {
    let (stream, revision) = (snapshot.stream.as_str(), to_sql(snapshot.revision.number()));
    let incarnation = snapshot.incarnation.as_uuid();
    let fingerprint = i64::from_ne_bytes(snapshot.fingerprint.number().to_ne_bytes());
    let state: &[u8] = &snapshot.state;
    let values: [Value<'_>; 5] = [
        (&stream, Type::TEXT),
        (&revision, Type::INT8),
        (&incarnation, Type::UUID),
        (&fingerprint, Type::INT8),
        (&state, Type::BYTEA),
    ];
    core.query(SAVE_SNAPSHOT, &values).await.map(drop)
}

pub(super) async fn delete_snapshot(
    core: &ReadModelsCore,
    stream: &StreamName,
) -> Result<(), DatabaseError> {
    core.query(DELETE_SNAPSHOT, &[(&stream.as_str(), Type::TEXT)]).await.map(drop)
}
