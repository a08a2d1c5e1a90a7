//! Storage of data that is derived from events: read models, checkpoints, snapshots.
//!
//! Owns: [`ReadModelStore`] with its transactions ([`ReadModelTx`]) and portable rows
//! ([`ReadRows`], [`Rows`]), [`VisitRows`], [`DeadLetter`], [`CheckpointStore`],
//! [`SnapshotStore`], and their error, [`DatabaseError`].
//!
//! The rows, checkpoint and dead letters of a read model change in one transaction, so each event
//! takes effect exactly once. Everything here can be derived from events again, so it has to be
//! consistent but not durable. Not here: projections, which belong to the `gesta` crate.

mod checkpoint_store;
mod database_error;
mod dead_letter;
mod memory;
mod partition;
mod rows;
mod snapshot_store;
mod visit_rows;

use std::{
    fmt,
    future::{Future, ready},
    sync::Arc,
};

pub use checkpoint_store::CheckpointStore;
pub use database_error::{DatabaseError, DatabaseFuture, SharedError};
pub use dead_letter::{DeadLetter, DeadLetterReason};
pub use memory::{MemoryReadModels, MemoryReader, MemoryTx};
pub use partition::Partition;
pub use rows::{ListRows, ReadRows, Row, Rows};
pub use snapshot_store::{Fingerprint, Snapshot, SnapshotStore};
pub use visit_rows::{VisitRows, row_by_key};

use crate::{AppendTransaction, Checkpoint, DatabaseName, Position};
use partition::PartitionCheckpoints;

/// Identity of a read model: one build of a projection.
///
/// A rebuild creates another read model of the same projection, next to the live one.
///
/// ```
/// use gesta_store::ReadModelId;
///
/// let second = ReadModelId { projection: "order-summaries".to_owned(), build: 2 };
/// assert_eq!(second.to_string(), "order-summaries build 2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadModelId {
    /// Name of the projection.
    pub projection: String,
    /// Number of the build, assigned by the store. Later builds have greater numbers.
    pub build: u64,
}

impl fmt::Display for ReadModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} build {}", self.projection, self.build)
    }
}

/// The role of a read model among those of its projection.
///
/// ```
/// use gesta_store::{CreateReadModel, MemoryReadModels, ReadModelStore, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Rebuilding);
/// let names = store.create_read_model(create).await?;
/// store.switch_to(&names).await?;
/// assert_eq!(store.list_read_models("names").await?[0].stage, Stage::Live);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store switches");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being filled; does not answer queries yet.
    Rebuilding,
    /// Answers queries.
    Live,
    /// Replaced by another one, and kept so that it can go live again.
    Retired,
}

impl Stage {
    /// Returns the stage as a word, for stores and for people.
    ///
    /// ```
    /// use gesta_store::Stage;
    ///
    /// assert_eq!(Stage::named(Stage::Retired.name()), Some(Stage::Retired));
    /// assert_eq!(Stage::named("asleep"), None);
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rebuilding => "rebuilding",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }

    /// Returns the stage with this [name](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Rebuilding, Self::Live, Self::Retired].into_iter().find(|stage| stage.name() == name)
    }
}

/// A read model, as listed by its store.
///
/// ```
/// use gesta_store::{ReadModel, ReadModelId, Stage};
///
/// let id = ReadModelId { projection: "order-summaries".to_owned(), build: 1 };
/// let empty = ReadModel::new(id, 1, Stage::Live);
/// assert!(empty.checkpoint.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadModel {
    /// Identity of the read model.
    pub id: ReadModelId,
    /// Version of the projection that fills it.
    pub version: u32,
    /// Role of the read model.
    pub stage: Stage,
    /// Position up to which events are applied. `None` if no event was applied, or if the stored
    /// checkpoint is unreadable; opening the read model then returns the error.
    pub checkpoint: Option<Checkpoint>,
}

impl ReadModel {
    /// Describes a read model to which no event was applied.
    #[must_use]
    pub const fn new(id: ReadModelId, version: u32, stage: Stage) -> Self {
        Self { id, version, stage, checkpoint: None }
    }

    /// Sets the position up to which events are applied.
    #[must_use]
    pub fn checkpoint(self, checkpoint: impl Into<Option<Checkpoint>>) -> Self {
        Self { checkpoint: checkpoint.into(), ..self }
    }
}

/// A request for an empty read model.
///
/// ```
/// use gesta_store::{CreateReadModel, Stage};
///
/// let create = CreateReadModel::new("order-summaries", 2, Stage::Rebuilding);
/// assert_eq!(create.stage, Stage::Rebuilding);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateReadModel<'a> {
    /// Name of the projection.
    pub projection: &'a str,
    /// Version of the projection that will fill it.
    pub version: u32,
    /// [`Stage::Live`], or [`Stage::Rebuilding`] while another one answers.
    pub stage: Stage,
}

impl<'a> CreateReadModel<'a> {
    /// Requests a read model for this version of a projection.
    #[must_use]
    pub const fn new(projection: &'a str, version: u32, stage: Stage) -> Self {
        Self { projection, version, stage }
    }
}

/// A store of read models, each with its own checkpoint.
///
/// Clones are cheap handles to the same store. Transactions of different read models do not wait
/// for each other. Methods may be called concurrently.
///
/// # Errors
///
/// Every method may return [`DatabaseError::Unavailable`] (back off and retry) and
/// [`DatabaseError::Corrupt`] (quarantine the read model and rebuild it). Further errors are listed
/// with the methods.
///
/// # Blocking
///
/// No method blocks the thread that polls it, and no destructor waits. A store in the same process
/// keeps threads for its statements. Each call then changes threads twice, so a batch of events and
/// a query run as one piece of work on these threads: [`run_write`](Self::run_write) and
/// [`run_read`](Self::run_read).
///
/// # Examples
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Live);
/// let names = store.create_read_model(create).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.commit().await?;
/// let found = store.reader(&names).await?.get_json("names", "1").await?;
/// assert_eq!(found, Some("Ann".into()));
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub trait ReadModelStore: Clone + Send + Sync + 'static {
    /// An owned transaction on one read model. Dropping it without a commit rolls it back.
    type Tx: ReadModelTx;
    /// An owned connection for queries on one read model. All its reads see the same snapshot.
    type Reader: Send + 'static;

    /// Names the place of the read models, for texts of errors: the address of a server, without
    /// secrets, or a directory. By default a text that says no more than what it is.
    fn place(&self) -> String {
        "the store of read models".to_owned()
    }

    /// Everything that the store goes without at the moment although it should have it, with the
    /// cause and what to do, for health: nothing unless implemented. What keeps a read model from
    /// being used is an error of its own calls instead.
    fn troubles(&self) -> impl Future<Output = Vec<String>> + Send {
        ready(Vec::new())
    }

    /// Runs work that changes a read model where the store's statements may block.
    ///
    /// Inside the work, statements run in place, one after the other. While the work is pending, it
    /// holds up no other work. If the returned future is dropped, the work is dropped before its
    /// next poll. By default the work runs in the returned future, which suits stores whose
    /// statements never block.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Rejected`] if the work panicked. Its transaction is rolled back.
    /// - [`DatabaseError::Unavailable`] if the store was closed or has no thread for the work.
    fn run_write<T: Send + 'static>(
        &self,
        read_model: &ReadModelId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, DatabaseError>> + Send {
        let _ = read_model;
        async { Ok(work.await) }
    }

    /// Runs work that reads where the store's statements may block. Otherwise the same as
    /// [`run_write`](Self::run_write); does not wait for work that writes.
    ///
    /// # Errors
    ///
    /// The same as [`run_write`](Self::run_write).
    fn run_read<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, DatabaseError>> + Send {
        async { Ok(work.await) }
    }

    /// Returns the read models of a projection, by increasing build number.
    fn list_read_models(
        &self,
        projection: &str,
    ) -> impl Future<Output = Result<Vec<ReadModel>, DatabaseError>> + Send;

    /// Creates an empty read model and returns its identity.
    fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> impl Future<Output = Result<ReadModelId, DatabaseError>> + Send;

    /// Makes this read model live and drops all others of its projection, atomically: after a crash
    /// exactly one of them is live.
    ///
    /// Open readers and transactions of the dropped read models stay valid until they end.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Missing`] if the read model was dropped.
    fn switch_to(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Makes this read model live, atomically, and keeps the one that was live as
    /// [`Stage::Retired`]. Drops all others of its projection.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Missing`] if the read model was dropped.
    fn switch_keeping(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Moves a [retired](Stage::Retired) read model to [`Stage::Rebuilding`]. Has no effect in any
    /// other stage.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Missing`] if the read model was dropped.
    fn resume(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Takes a damaged read model out of use. It is no longer listed.
    ///
    /// Returns the place where its data are kept as evidence, or `None` if the store does not keep
    /// them.
    fn quarantine(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Option<String>, DatabaseError>> + Send;

    /// Drops a read model. Has no effect if it does not exist.
    fn drop_read_model(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Begins a transaction. Waits until the open transaction on this read model, if any, has
    /// ended.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Missing`] if the read model was dropped.
    fn begin(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Self::Tx, DatabaseError>> + Send;

    /// Begins a transaction of one partition of a projection, which changes the rows and the
    /// checkpoint of this partition only. May run at the same time as transactions of other
    /// partitions.
    ///
    /// By default the same as [`begin`](Self::begin), so that the partitions take turns.
    ///
    /// # Errors
    ///
    /// The same as [`begin`](Self::begin).
    fn begin_partition(
        &self,
        read_model: &ReadModelId,
        partition: Partition,
    ) -> impl Future<Output = Result<Self::Tx, DatabaseError>> + Send {
        let _ = partition;
        self.begin(read_model)
    }

    /// Begins a transaction on a read model that is part of an append's.
    ///
    /// Its [`commit`](ReadModelTx::commit) ends the part of this read model; the changes take
    /// effect with the append. Dropping it, or an error, leaves the append without a commit.
    /// Nothing may be written before a [`rollback`](ReadModelTx::rollback). One part at a time is
    /// open.
    ///
    /// Returns `None`, and leaves the append as it is, if the read model has not reached
    /// `at_least`, has dead letters, has retired or was dropped, or if another transaction on it
    /// does not end soon.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Rejected`] if the append is not one of the same database.
    fn join(
        &self,
        read_model: &ReadModelId,
        at_least: Position,
        transaction: &Arc<dyn AppendTransaction>,
    ) -> impl Future<Output = Result<Option<Self::Tx>, DatabaseError>> + Send {
        let _ = (read_model, at_least, transaction);
        ready(Err(DatabaseError::rejected("these read models cannot take part in an append")))
    }

    /// Returns the database that the read models are in. `None` unless [`join`](Self::join) is
    /// implemented.
    fn database(&self) -> Option<DatabaseName> {
        None
    }

    /// Opens a connection for queries. It sees every transaction that was committed before the
    /// call, and does not wait for open ones.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Missing`] if the read model was dropped.
    fn reader(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Self::Reader, DatabaseError>> + Send;

    /// Hands all rows of a read model to a visitor, table by table, and returns the visitor. The
    /// rows are those of the reader's snapshot; their order is the store's. Rows of the store's own
    /// (checkpoints, dead letters, properties) and views are left out.
    ///
    /// By default the store refuses.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Rejected`] if the store cannot walk over rows.
    fn visit_rows<V: VisitRows>(
        reader: &mut Self::Reader,
        visitor: V,
    ) -> impl Future<Output = Result<V, DatabaseError>> + Send {
        let _ = (reader, visitor);
        ready(Err(DatabaseError::rejected("this store of read models cannot walk over all rows")))
    }

    /// Returns the dead letters of a read model, by increasing position.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Missing`] if the read model was dropped.
    fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, DatabaseError>> + Send;
}

/// A compare-and-set of a checkpoint.
///
/// ```
/// use gesta_store::{Advance, Checkpoint, Incarnation, Position};
/// use uuid::Uuid;
///
/// let to = Checkpoint { position: Position::new(7), incarnation: Incarnation::new(Uuid::nil()) };
/// let first = Advance { from: None, to };
/// assert!(first.from.is_none(), "nothing was applied before");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The checkpoint that the caller has read.
    pub from: Option<Checkpoint>,
    /// The new checkpoint.
    pub to: Checkpoint,
}

/// A transaction on one read model: its rows, its checkpoint and its dead letters.
///
/// Owned and `Send`, so it can be held across an `.await`. Rows are changed through [`Rows`] or
/// through the database's own interface.
///
/// # Cancellation
///
/// Dropping the transaction rolls it back. If the future of [`commit`](Self::commit) is dropped,
/// the outcome is unknown; read the stored checkpoint to determine it.
///
/// # Examples
///
/// ```
/// use gesta_store::{
///     Advance, Checkpoint, CreateReadModel, DatabaseError, Incarnation, MemoryReadModels,
///     Position, ReadModelStore, ReadModelTx, Stage,
/// };
/// use uuid::Uuid;
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Live);
/// let names = store.create_read_model(create).await?;
/// let to = Checkpoint { position: Position::new(7), incarnation: Incarnation::new(Uuid::nil()) };
///
/// let mut tx = store.begin(&names).await?;
/// tx.advance(Advance { from: None, to }).await?;
/// tx.commit().await?;
///
/// let mut late = store.begin(&names).await?;
/// let conflict = late.advance(Advance { from: None, to }).await;
/// assert!(matches!(conflict, Err(DatabaseError::CheckpointConflict { .. })));
/// # Ok::<(), DatabaseError>(())
/// # }).expect("a memory store keeps checkpoints");
/// ```
pub trait ReadModelTx: Send + 'static {
    /// Returns the checkpoint, as seen by this transaction.
    fn checkpoint(
        &mut self,
    ) -> impl Future<Output = Result<Option<Checkpoint>, DatabaseError>> + Send;

    /// Moves the checkpoint if it equals [`Advance::from`].
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::CheckpointConflict`] if it does not: another writer has applied events.
    ///   Roll back and continue from the stored checkpoint.
    fn advance(
        &mut self,
        advance: Advance,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Returns the checkpoint of a partition, as seen by this transaction. A read model that was
    /// not divided before has the same checkpoint for all. `None` if the read model is divided into
    /// another number of partitions.
    ///
    /// By default the checkpoints of partitions are kept in a property.
    fn partition_checkpoint(
        &mut self,
        partition: Partition,
    ) -> impl Future<Output = Result<Option<Checkpoint>, DatabaseError>> + Send {
        async move {
            let all = partition_checkpoints(self, partition.count()).await?;
            Ok(all.and_then(|all| all.of(partition)))
        }
    }

    /// Moves the checkpoint of a partition if it equals [`Advance::from`]. The checkpoint of the
    /// read model becomes the lowest one of its partitions.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::CheckpointConflict`] if it does not, or the read model is divided into
    ///   another number of partitions.
    fn advance_partition(
        &mut self,
        partition: Partition,
        advance: Advance,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send {
        async move {
            let conflict =
                |stored| DatabaseError::CheckpointConflict { expected: advance.from, stored };
            let all = partition_checkpoints(self, partition.count()).await?;
            let mut all = all.ok_or_else(|| conflict(None))?;
            if all.of(partition) != advance.from {
                return Err(conflict(all.of(partition)));
            }
            all.set(partition, advance.to);
            self.set_property(partition::PROPERTY, &all.text()).await?;
            let own = self.checkpoint().await?;
            match all.lowest() {
                Some(to) if Some(to) != own => self.advance(Advance { from: own, to }).await,
                Some(_) | None => Ok(()),
            }
        }
    }

    /// Stores a dead letter, in place of an earlier one for the same position.
    fn put_dead_letter(
        &mut self,
        letter: DeadLetter,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Deletes the dead letter at this position. Returns `true` if it existed; of two transactions
    /// that delete the same one, only the first gets `true`.
    fn delete_dead_letter(
        &mut self,
        position: Position,
    ) -> impl Future<Output = Result<bool, DatabaseError>> + Send;

    /// Returns a property of the read model, as seen by this transaction.
    ///
    /// Properties are short texts about the rows as a whole, such as the event types that they are
    /// derived from. The writer chooses the names.
    fn property(
        &mut self,
        name: &str,
    ) -> impl Future<Output = Result<Option<String>, DatabaseError>> + Send;

    /// Sets a property, in place of an earlier value.
    fn set_property(
        &mut self,
        name: &str,
        value: &str,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Commits: makes all changes visible and durable, atomically.
    ///
    /// # Errors
    ///
    /// - [`DatabaseError::Unavailable`]: the outcome is unknown. Read the stored checkpoint to
    ///   determine it.
    fn commit(self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Discards all changes.
    fn rollback(self) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}

/// Returns the checkpoints of partitions that the property has. `None` if the read model is divided
/// into another number.
async fn partition_checkpoints(
    tx: &mut (impl ReadModelTx + ?Sized),
    count: u32,
) -> Result<Option<PartitionCheckpoints>, DatabaseError> {
    let Some(text) = tx.property(partition::PROPERTY).await? else {
        return Ok(Some(PartitionCheckpoints::undivided(tx.checkpoint().await?, count)));
    };
    let Some(known) = PartitionCheckpoints::parse(&text) else {
        let property = partition::PROPERTY;
        let reason =
            format!("the property {property} is {text:?}, which is no list of checkpoints");
        return Err(DatabaseError::Corrupt { reason, source: None });
    };
    Ok(Some(known).filter(|known| known.has_count(count)))
}
