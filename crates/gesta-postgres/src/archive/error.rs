//! The errors of a change of the archive, sorted by what the operator does next.

use gesta_store::{Position, StoreError};

use super::partition::Partition;
use crate::{errors::Failure, schema_name::InvalidSchemaName};

/// An error of a change of the archive. Nothing changed, except as
/// [`Unconfirmed`](Self::Unconfirmed) says.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The server failed. Correct the cause and repeat the change.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer to the commit is missing. List the partitions, and repeat the change if it did
    /// not take effect.
    #[error(
        "the change may have taken effect or not: {0}; run `gesta archive list`, and run the \
         command again if it did not"
    )]
    Unconfirmed(#[source] StoreError),
    /// The text does not name a schema. Use another name.
    #[error(transparent)]
    SchemaName(#[from] InvalidSchemaName),
    /// The schema is that of a store, or of read models. Use another schema.
    #[error(
        "schema {schema} belongs to a store or to its read models; use a schema of its own for the \
         archive"
    )]
    TakenSchema {
        /// Name of the schema.
        schema: String,
    },
    /// No partition begins there. List the partitions.
    #[error("no partition begins at position {first}; `gesta archive list` shows all partitions")]
    NoPartition {
        /// The position.
        first: Position,
    },
    /// The partition takes appends. Wait until it is full.
    #[error(
        "the partition from position {first} on takes appends until its last position {last}; it \
         can be archived after that"
    )]
    NotFull {
        /// Its first position.
        first: Position,
        /// Its last position.
        last: Position,
    },
    /// The payloads are in a file already.
    #[error(
        "the payloads from position {first} on are in {file}; `gesta archive restore` brings them \
         back"
    )]
    InFile {
        /// The first position of the partition.
        first: Position,
        /// The file.
        file: String,
    },
    /// The payloads are not in a file.
    #[error(
        "the payloads from position {first} on are in the database; there is nothing to restore"
    )]
    NotInFile {
        /// The first position of the partition.
        first: Position,
    },
    /// The other schema has a table of this name. Use another schema.
    #[error("schema {schema} has a table {table} already; use another schema for this store")]
    Occupied {
        /// Name of the schema.
        schema: String,
        /// Name of the table.
        table: String,
    },
    /// Other sessions use the table all the time. Repeat the change when they are done.
    #[error(
        "the table of the partition was in use for {seconds} s; look in pg_stat_activity for a \
         transaction that was left open, end it, and run the command again"
    )]
    InUse {
        /// Time that was waited, in seconds.
        seconds: u64,
    },
    /// The file has other events than the store. Use the right file.
    #[error(
        "the file differs from the store at position {position}: {what}; use the file that \
         `gesta archive list` names, as it was written"
    )]
    Differs {
        /// The first position at which they differ.
        position: Position,
        /// The difference.
        what: &'static str,
    },
    /// The number of positions of a partition is out of range.
    #[error(
        "a partition has {min} to {max} positions; got {positions}",
        min = Partition::POSITIONS_MIN, max = Partition::POSITIONS_MAX
    )]
    Size {
        /// The number.
        positions: u64,
    },
}

impl From<Failure> for ArchiveError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.of_read())
    }
}
