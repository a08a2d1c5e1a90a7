//! Checkpoints of partitions, as rows of the catalogue.
//!
//! Each partition changes its own row, so that transactions of several partitions do not wait for
//! each other. The checkpoint of the read model is the lowest one; a view (`handled`) finds it, and
//! no statement stores it.

use gesta_store::{Advance, Checkpoint, DatabaseError, Partition};
use tokio_postgres::types::Type;

use super::{
    catalogue::{checkpoint_of, column},
    session::{Parameter, Session},
};
use crate::number::to_sql;

/// Returns the checkpoint of partition $2, or that of a read model that was not divided; and
/// whether the read model is divided into $3.
const CHECKPOINT: &str = "
SELECT p.position, p.incarnation, p.count = $3, true
  FROM {schema}.partitions p WHERE p.build = $1 AND p.index = $2
UNION ALL
SELECT h.position, h.incarnation,
       NOT EXISTS (SELECT 1 FROM {schema}.partitions p WHERE p.build = $1), false
  FROM {schema}.handled h
 WHERE h.build = $1
   AND NOT EXISTS (SELECT 1 FROM {schema}.partitions p WHERE p.build = $1 AND p.index = $2)";

/// Divides a read model into $2 partitions, unless it is divided. Each has handled what the whole
/// has.
const DIVIDE: &str = "
INSERT INTO {schema}.partitions (build, index, count, position, incarnation)
SELECT h.build, i.index, $2, h.position, h.incarnation
  FROM {schema}.handled h, generate_series(0, $2 - 1) AS i(index)
 WHERE h.build = $1 AND NOT EXISTS (SELECT 1 FROM {schema}.partitions p WHERE p.build = $1)
ON CONFLICT (build, index) DO NOTHING";

/// Moves the checkpoint of partition $2 of $3 to $4 and $5 if it is $6 and $7, and the transaction
/// has the mark $8. Returns the mark if it was not moved.
const ADVANCE: &str = "
UPDATE {schema}.partitions p SET position = $4, incarnation = $5
 WHERE p.build = $1 AND p.index = $2 AND p.count = $3
   AND p.position IS NOT DISTINCT FROM $6 AND p.incarnation IS NOT DISTINCT FROM $7
   AND current_setting('gesta.transaction', true) = $8
RETURNING 1";

/// The checkpoint of a partition, and whether it has a row of its own.
struct StoredCheckpoint {
    checkpoint: Option<Checkpoint>,
    is_divided: bool,
}

/// Returns the checkpoint of a partition. `None` if the read model is divided otherwise.
pub(super) async fn checkpoint(
    session: &mut Session,
    partition: Partition,
) -> Result<Option<Checkpoint>, DatabaseError> {
    Ok(stored(session, partition).await?.checkpoint)
}

async fn stored(
    session: &mut Session,
    partition: Partition,
) -> Result<StoredCheckpoint, DatabaseError> {
    let (build, [index, count]) = (to_sql(session.read_model.build), numbers(partition));
    let text = session.core.names.fill(CHECKPOINT);
    let values: [(Parameter<'_>, Type); 3] =
        [(&build, Type::INT8), (&index, Type::INT4), (&count, Type::INT4)];
    let rows = session.query_own(&text, &values).await?;
    let Some(row) = rows.first() else {
        return Ok(StoredCheckpoint { checkpoint: None, is_divided: false });
    };
    let is_of_count: bool = column(row, 2)?;
    let checkpoint = if is_of_count { checkpoint_of(row, 0)? } else { None };
    Ok(StoredCheckpoint { checkpoint, is_divided: column(row, 3)? })
}

/// Moves the checkpoint of a partition if it is the expected one.
pub(super) async fn advance(
    session: &mut Session,
    partition: Partition,
    advance: Advance,
) -> Result<(), DatabaseError> {
    if moved(session, partition, advance).await? {
        return Ok(());
    }
    let found = stored(session, partition).await?;
    let is_expected = found.checkpoint == advance.from;
    if !found.is_divided && is_expected {
        let (build, [_, count]) = (to_sql(session.read_model.build), numbers(partition));
        let text = session.core.names.fill(DIVIDE);
        let values: [(Parameter<'_>, Type); 2] = [(&build, Type::INT8), (&count, Type::INT4)];
        session.query_own(&text, &values).await?;
        if moved(session, partition, advance).await? {
            return Ok(());
        }
    }
    session.check_open().await?;
    let stored = found.checkpoint;
    Err(DatabaseError::CheckpointConflict { expected: advance.from, stored })
}

async fn moved(
    session: &mut Session,
    partition: Partition,
    Advance { from, to }: Advance,
) -> Result<bool, DatabaseError> {
    let (build, [index, count]) = (to_sql(session.read_model.build), numbers(partition));
    let (to_position, to_incarnation) = (to_sql(to.position.number()), to.incarnation.as_uuid());
    let from_position = from.map(|from| to_sql(from.position.number()));
    let from_incarnation = from.map(|from| from.incarnation.as_uuid());
    let mark = session.mark().to_owned();
    let text = session.core.names.fill(ADVANCE);
    let values: [(Parameter<'_>, Type); 8] = [
        (&build, Type::INT8),
        (&index, Type::INT4),
        (&count, Type::INT4),
        (&to_position, Type::INT8),
        (&to_incarnation, Type::UUID),
        (&from_position, Type::INT8),
        (&from_incarnation, Type::UUID),
        (&mark, Type::TEXT),
    ];
    Ok(!session.query_own(&text, &values).await?.is_empty())
}

fn numbers(partition: Partition) -> [i32; 2] {
    [partition.index(), partition.count()].map(|number| i32::try_from(number).unwrap_or(i32::MAX))
}
