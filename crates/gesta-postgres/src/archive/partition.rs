//! Descriptions of partitions.

use gesta_store::{Position, StoreError};

use crate::{number::from_sql, read::cell, shared::Core};

/// A part of a store: the events of a range of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// The first position.
    pub first: Position,
    /// The last position that belongs to it, whether there is an event or not.
    pub last: Position,
    /// `true` if no later append can add to it.
    pub is_full: bool,
    /// The place of its events.
    pub place: PartitionPlace,
    /// Size of its table and indexes in the database, in bytes.
    pub bytes: u64,
}

/// The place of a partition's events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartitionPlace {
    /// The schema of the store.
    Store,
    /// Another schema of the same database.
    Schema(String),
    /// Payloads are in a file, everything else is in the schema of the store.
    File(ArchiveFile),
}

/// A file with payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveFile {
    /// Its path, as an operator finds it.
    pub path: String,
    /// A digest of its appends.
    pub digest: String,
}

impl ArchiveFile {
    /// Names a file and the digest of its appends.
    #[must_use]
    pub const fn new(path: String, digest: String) -> Self {
        Self { path, digest }
    }
}

impl Partition {
    /// Minimum number of positions of a partition.
    pub const POSITIONS_MIN: u64 = 1_000;
    /// Maximum number of positions of a partition.
    pub const POSITIONS_MAX: u64 = 1_000_000_000;
}

const LIST: &str = "
SELECT p.first_position, p.end_position, p.archive_schema, p.archive_file, p.archive_digest,
       coalesce(pg_total_relation_size(c.oid), 0),
       (SELECT max(e.position) FROM {schema}.events e) >= p.end_position - 1
  FROM {schema}.partitions p
  LEFT JOIN pg_namespace n ON n.nspname = coalesce(p.archive_schema, {schema}.own_name())
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.table_name
 ORDER BY p.first_position";

/// Lists the partitions, in the order of their positions.
pub(super) async fn list(core: &Core) -> Result<Vec<Partition>, StoreError> {
    let mut partitions = Vec::new();
    for row in &core.query(LIST, &[]).await? {
        let (first, end): (i64, i64) = (cell(row, 0)?, cell(row, 1)?);
        let file: (Option<String>, Option<String>) = (cell(row, 3)?, cell(row, 4)?);
        let place = match (cell(row, 2)?, file) {
            (_, (Some(path), digest)) => {
                PartitionPlace::File(ArchiveFile { path, digest: digest.unwrap_or_default() })
            }
            (Some(schema), _) => PartitionPlace::Schema(schema),
            (None, _) => PartitionPlace::Store,
        };
        let bytes: i64 = cell(row, 5)?;
        partitions.push(Partition {
            first: Position::new(from_sql(first)),
            last: Position::new(from_sql(end - 1)),
            is_full: cell::<Option<bool>>(row, 6)?.unwrap_or_default(),
            place,
            bytes: from_sql(bytes),
        });
    }
    Ok(partitions)
}
