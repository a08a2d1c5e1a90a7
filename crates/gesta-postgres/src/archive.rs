//! Partitions of a store, and the archive of those that are full.
//!
//! - [`partition`]: descriptions of partitions.
//! - [`session`]: the transaction of one change, and the exchange of a partition's table.
//! - [`payloads`]: payloads that leave the database, and come back.
//! - [`kept`]: payloads that stay when the others leave.
//! - [`events`]: the appends of one partition, for a file.
//! - [`error`]: the errors of a change.
//!
//! A partition is a table with the events of a range of positions. `append` makes the next one when
//! it needs it. A full one can move to another schema, and its payloads (data and metadata) to a
//! file. Invariants:
//! - Every partition stays attached to `events`, with all columns but the payloads: ids, revisions,
//!   types, tags and times answer repeats, expectations, conditions and look-ups as before.
//! - A change is one transaction. Appends wait for it only while tables are exchanged.
//! - A read that comes to a payload in a file fails, and names the remedy.
//! - Streams by which a server and the framework work are read as before.
//!
//! Not here: the file. The caller writes and verifies it before the payloads leave, and reads it
//! for them to come back.

pub(crate) mod error;
mod events;
mod kept;
pub(crate) mod partition;
pub(crate) mod payloads;
mod session;

use std::sync::Arc;

use self::{
    error::ArchiveError,
    partition::{ArchiveFile, Partition},
    payloads::PayloadRestore,
    session::ArchiveSession,
};
use crate::{
    read_models::SchemaNames, schema_name::check_schema_name, shared::Shared, store::PostgresStore,
};
use gesta_store::Position;

pub use self::{
    events::{AppendPart, PartialAppend},
    kept::KeptPayloads,
};

/// The partitions of a store.
///
/// ```no_run
/// use gesta_postgres::{PartitionPlace, PostgresStore};
/// use gesta_store::conformance::block_on;
///
/// # block_on(async {
/// let store = PostgresStore::connect("postgres://ann@localhost/shop").await?;
/// let archive = store.archive();
/// for partition in archive.partitions().await? {
///     if partition.is_full && partition.place == PartitionPlace::Store {
///         archive.move_to_schema(partition.first, "gesta_archive").await?;
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
#[derive(Clone, Debug)]
pub struct PostgresArchive {
    shared: Arc<Shared>,
}

impl PostgresStore {
    /// Returns the name of the schema that holds the store.
    #[must_use]
    pub fn schema(&self) -> &str {
        self.shared().core.schema.name()
    }

    /// Returns the partitions of the store, for listing and archiving.
    #[must_use]
    pub fn archive(&self) -> PostgresArchive {
        PostgresArchive { shared: Arc::clone(self.shared()) }
    }
}

impl PostgresArchive {
    /// Lists the partitions, in the order of their positions.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Store`], as a read has it.
    pub async fn partitions(&self) -> Result<Vec<Partition>, ArchiveError> {
        let listed = self.shared.run(|core| async move { partition::list(&core).await })?;
        Ok(listed.await??)
    }

    /// Sets the number of positions of partitions; the default is 10,000,000. The partition that
    /// takes appends ends at the next multiple of it. Its events are looked through once, while
    /// appends wait.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Size`] for less than [`Partition::POSITIONS_MIN`] or more than
    /// [`Partition::POSITIONS_MAX`], [`ArchiveError::InUse`], [`ArchiveError::Store`]; nothing
    /// changed. [`ArchiveError::Unconfirmed`].
    pub async fn set_partition_positions(&self, positions: u64) -> Result<(), ArchiveError> {
        if !(Partition::POSITIONS_MIN..=Partition::POSITIONS_MAX).contains(&positions) {
            return Err(ArchiveError::Size { positions });
        }
        let set = self.shared.run(|core| async move {
            ArchiveSession::begin_last(&core).await?.resize(positions).await
        })?;
        set.await?
    }

    /// Moves the full partition that begins at a position to another schema of the database, which
    /// is created if it does not exist. Its events are read as before. The schema is none of a
    /// store or of its read models.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; nothing changed, unless it is [`ArchiveError::Unconfirmed`].
    pub async fn move_to_schema(&self, first: Position, schema: &str) -> Result<(), ArchiveError> {
        let own = self.shared.core.schema.name();
        check_schema_name(schema)?;
        if schema == own || SchemaNames::beside(own).is_taken(schema) {
            return Err(ArchiveError::TakenSchema { schema: schema.to_owned() });
        }
        let schema = schema.to_owned();
        self.change(first, async move |mut session| session.move_to(Some(&schema)).await).await
    }

    /// Moves a partition back to the schema of the store.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; nothing changed, unless it is [`ArchiveError::Unconfirmed`].
    pub async fn move_back(&self, first: Position) -> Result<(), ArchiveError> {
        self.change(first, async move |mut session| session.move_to(None).await).await
    }

    /// Removes the payloads of a full partition, which a file has from now on. All its rows are
    /// copied; appends and reads continue.
    ///
    /// Payloads by which a server and the framework work stay in the database: those of streams
    /// whose names begin with `$`, `process:`, `processes:journal-`, `reactors:journal-` or
    /// `imported-positions-`. Returns how many they are.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; nothing changed, unless it is [`ArchiveError::Unconfirmed`].
    pub async fn remove_payloads(
        &self,
        first: Position,
        file: ArchiveFile,
    ) -> Result<KeptPayloads, ArchiveError> {
        self.change(first, async move |session| payloads::remove(session, &file).await).await
    }

    /// Begins to bring back the payloads of a partition from its file.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub async fn restore_payloads(&self, first: Position) -> Result<PayloadRestore, ArchiveError> {
        PayloadRestore::begin(Arc::clone(&self.shared), first).await
    }

    /// Runs one change in a session of its own.
    async fn change<T, W>(
        &self,
        first: Position,
        work: impl FnOnce(ArchiveSession) -> W + Send + 'static,
    ) -> Result<T, ArchiveError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ArchiveError>> + Send,
    {
        let changed = self.shared.run(|core| async move {
            let session = ArchiveSession::begin(&core, first).await?;
            work(session).await
        });
        changed?.await?
    }
}
