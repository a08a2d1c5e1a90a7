//! The siblings of an event store: where what is derived from events is kept.
//!
//! Owns: [`ReadModelStore`] with its transactions ([`ReadModelTx`]) and portable rows
//! ([`ReadRows`], [`Rows`]), [`DeadLetter`], [`CheckpointStore`], [`SnapshotStore`], and
//! [`DatabaseError`], which all of them answer with.
//!
//! Always holds: a read model's rows, its checkpoint and its dead letters change in one
//! transaction, so that each event takes effect exactly once. Everything behind these traits can
//! be derived again from events, so none of it needs more durability than its own consistency.
//!
//! Not here: what a projection does with events, and when; that is the framework's.

mod checkpoint_store;
mod database_error;
mod dead_letter;
mod memory;
mod rows;
mod snapshot_store;

use std::{fmt, future::Future};

pub use checkpoint_store::CheckpointStore;
pub use database_error::{Cause, DatabaseAnswer, DatabaseError};
pub use dead_letter::{DeadLetter, SetAside};
pub use memory::{MemoryReadModels, MemoryReader, MemoryTx};
pub use rows::{ListRows, ReadRows, Row, Rows};
pub use snapshot_store::{Fingerprint, Snapshot, SnapshotStore};

use crate::{Checkpoint, Position};

/// Which read model: what one build of a projection fills.
///
/// A rebuild makes another read model of the same projection, beside the one that answers.
///
/// ```
/// use gesta_store::ReadModelId;
///
/// let second = ReadModelId { projection: "order-summaries".to_owned(), build: 2 };
/// assert_eq!(second.to_string(), "order-summaries build 2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadModelId {
    /// The projection's name.
    pub projection: String,
    /// Which build, chosen by the store; a later build has a greater number.
    pub build: u64,
}

impl fmt::Display for ReadModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} build {}", self.projection, self.build)
    }
}

/// Where a read model is in its life.
///
/// ```
/// use gesta_store::{CreateReadModel, MemoryReadModels, ReadModelStore, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Rebuilding };
/// let names = store.create_read_model(create).await?;
/// store.switch_to(&names).await?;
/// assert_eq!(store.list_read_models("names").await?[0].stage, Stage::Answering);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store switches");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being filled beside the one that answers.
    Rebuilding,
    /// Answers queries.
    Answering,
    /// Answered until another one took its place; kept so that it can answer again.
    Retired,
}

/// A read model, as its store lists it.
///
/// ```
/// use gesta_store::{ReadModel, ReadModelId, Stage};
///
/// let id = ReadModelId { projection: "order-summaries".to_owned(), build: 1 };
/// let fresh = ReadModel { id, version: 1, stage: Stage::Answering, checkpoint: None };
/// assert!(fresh.checkpoint.is_none(), "nothing was applied yet");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadModel {
    /// Which one.
    pub id: ReadModelId,
    /// The version of the projection that fills it.
    pub version: u32,
    /// Where it is in its life.
    pub stage: Stage,
    /// How far it is; none before anything was applied, and where that cannot be read: whoever opens
    /// the read model is told why.
    pub checkpoint: Option<Checkpoint>,
}

/// Asks for an empty read model.
///
/// ```
/// use gesta_store::{CreateReadModel, Stage};
///
/// let beside =
///     CreateReadModel { projection: "order-summaries", version: 2, stage: Stage::Rebuilding };
/// assert_eq!(beside.stage, Stage::Rebuilding);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateReadModel<'a> {
    /// The projection's name.
    pub projection: &'a str,
    /// The version of the projection that will fill it.
    pub version: u32,
    /// Whether it answers from the start, or is filled beside the one that does.
    pub stage: Stage,
}

/// A place where projections keep their read models, each with its own checkpoint.
///
/// Cheap to clone; clones are the same store. Read models do not block each other's transactions.
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Answering };
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
    /// An owned transaction over one read model. Dropped without a commit, it never happened.
    type Tx: ReadModelTx;
    /// An owned connection for queries on one read model; all that it reads is of one moment.
    type Reader: Send + 'static;

    /// All read models of a projection, by rising build number.
    fn list_read_models(
        &self,
        projection: &str,
    ) -> impl Future<Output = Result<Vec<ReadModel>, DatabaseError>> + Send;

    /// Makes an empty read model and says which one it is.
    fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> impl Future<Output = Result<ReadModelId, DatabaseError>> + Send;

    /// Makes this read model the one that answers and drops all others of its projection, in one
    /// step: after a crash either the earlier one answers or this one, and never none or both.
    ///
    /// Readers and transactions of the dropped ones that are open stay valid until they end.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] when it was dropped.
    fn switch_to(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Makes this read model the one that answers, in one step, and keeps the one that answered
    /// before as [`Stage::Retired`]. All others of its projection are dropped.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] when it was dropped.
    fn switch_keeping(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Turns a [retired](Stage::Retired) read model into one that is being filled again. One in
    /// any other stage is left as it is.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] when it was dropped.
    fn resume(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Takes a damaged read model out of use. It is no longer listed; what is stored of it stays
    /// as evidence where the store has a place for it. Returns that place.
    fn quarantine(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Option<String>, DatabaseError>> + Send;

    /// Drops a read model, if it is there.
    fn drop_read_model(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Begins a transaction, after the one that is open on this read model, if any, has ended.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] when it was dropped.
    fn begin(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Self::Tx, DatabaseError>> + Send;

    /// A connection for queries. It sees every transaction that was committed before this call
    /// and never waits for one that is open.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] when it was dropped.
    fn reader(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Self::Reader, DatabaseError>> + Send;

    /// A read model's dead letters, by rising position.
    ///
    /// # Errors
    /// [`DatabaseError::Missing`] when it was dropped.
    fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, DatabaseError>> + Send;
}

/// Moves a checkpoint from where the caller knows it to where it will be.
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
    /// The checkpoint that the caller has applied up to.
    pub from: Option<Checkpoint>,
    /// The checkpoint once this transaction is committed.
    pub to: Checkpoint,
}

/// A transaction over one read model: its rows, its checkpoint and its dead letters together.
///
/// Owned and `Send`, so that it can be held across an await. Rows are changed in the way of the
/// database that it belongs to, or through [`Rows`].
///
/// ```
/// use gesta_store::{
///     Advance, Checkpoint, CreateReadModel, DatabaseError, Incarnation, MemoryReadModels, Position,
///     ReadModelStore, ReadModelTx, Stage,
/// };
/// use uuid::Uuid;
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Answering };
/// let names = store.create_read_model(create).await?;
/// let to = Checkpoint { position: Position::new(7), incarnation: Incarnation::new(Uuid::nil()) };
///
/// let mut tx = store.begin(&names).await?;
/// tx.advance(Advance { from: None, to }).await?;
/// tx.commit().await?;
///
/// let mut late = store.begin(&names).await?;
/// let refused = late.advance(Advance { from: None, to }).await;
/// assert!(matches!(refused, Err(DatabaseError::Overtaken { .. })), "someone else was here");
/// # Ok::<(), DatabaseError>(())
/// # }).expect("a memory store keeps checkpoints");
/// ```
pub trait ReadModelTx: Send + 'static {
    /// The checkpoint, as this transaction sees it.
    fn checkpoint(
        &mut self,
    ) -> impl Future<Output = Result<Option<Checkpoint>, DatabaseError>> + Send;

    /// Moves the checkpoint, if it still is where the caller knows it.
    ///
    /// # Errors
    /// [`DatabaseError::Overtaken`] when it is elsewhere: another writer applied events
    /// meanwhile. Roll back and go on from the stored checkpoint.
    fn advance(
        &mut self,
        advance: Advance,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Keeps a dead letter, in place of one for the same position.
    fn put_dead_letter(
        &mut self,
        letter: DeadLetter,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Forgets the dead letter of this position. Returns whether there was one: of two
    /// transactions that forget the same one, only the first is told so.
    fn delete_dead_letter(
        &mut self,
        position: Position,
    ) -> impl Future<Output = Result<bool, DatabaseError>> + Send;

    /// A property of the read model, as this transaction sees it: a short text about the rows as a
    /// whole, such as which events they are made from. Names are the writer's.
    fn property(
        &mut self,
        name: &str,
    ) -> impl Future<Output = Result<Option<String>, DatabaseError>> + Send;

    /// Sets a property, whether it was set or not.
    fn set_property(
        &mut self,
        name: &str,
        value: &str,
    ) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Makes everything that was done in it visible and lasting, at once.
    fn commit(self) -> impl Future<Output = Result<(), DatabaseError>> + Send;

    /// Undoes everything that was done in it.
    fn rollback(self) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}
