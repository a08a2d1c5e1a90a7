//! Read models, checkpoints and snapshots in memory: for tests, and the smallest example of the
//! traits.
//!
//! Always holds: one transaction a read model at a time, on a copy that replaces the original
//! when it commits. So a transaction costs as much as its read model is large.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::poll_fn,
    mem,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use serde_json::Value;

use super::{
    Advance, CheckpointStore, CreateReadModel, DatabaseAnswer, DatabaseError, DeadLetter, ListRows,
    ReadModel, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Row, Rows, Snapshot,
    SnapshotStore, Stage,
};
use crate::{Checkpoint, Position, StreamName};

/// Read models, checkpoints and snapshots that end with the process.
///
/// ```
/// use gesta_store::{MemoryReadModels, ReadModelStore};
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// assert!(store.list_read_models("order-summaries").await?.is_empty());
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store answers");
/// ```
#[derive(Clone, Default)]
pub struct MemoryReadModels(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    read_models: BTreeMap<ReadModelId, Kept>,
    builds: u64,
    checkpoints: HashMap<String, Checkpoint>,
    snapshots: HashMap<StreamName, Snapshot>,
}

struct Kept {
    version: u32,
    stage: Stage,
    contents: Arc<Contents>,
    /// Whether a transaction is open, and who waits for its end.
    in_transaction: bool,
    waiting: Vec<Waker>,
}

#[derive(Clone, Default)]
struct Contents {
    tables: BTreeMap<String, BTreeMap<String, Value>>,
    checkpoint: Option<Checkpoint>,
    dead_letters: BTreeMap<Position, DeadLetter>,
    properties: BTreeMap<String, String>,
}

impl MemoryReadModels {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made in one step, so what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self, read_model: &ReadModelId) -> Result<Arc<Contents>, DatabaseError> {
        Ok(Arc::clone(&self.state().kept(read_model)?.contents))
    }

    fn poll_begin(
        &self,
        read_model: &ReadModelId,
        context: &Context<'_>,
    ) -> Poll<Result<MemoryTx, DatabaseError>> {
        let mut state = self.state();
        let kept = match state.kept(read_model) {
            Ok(kept) => kept,
            Err(missing) => return Poll::Ready(Err(missing)),
        };
        if kept.in_transaction {
            kept.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        kept.in_transaction = true;
        let contents = Contents::clone(&kept.contents);
        Poll::Ready(Ok(MemoryTx { store: self.clone(), id: read_model.clone(), contents }))
    }
}

impl State {
    fn kept(&mut self, read_model: &ReadModelId) -> Result<&mut Kept, DatabaseError> {
        let missing = || DatabaseError::Missing { read_model: read_model.clone() };
        self.read_models.get_mut(read_model).ok_or_else(missing)
    }
}

impl fmt::Debug for MemoryReadModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryReadModels")
    }
}

impl ReadModelStore for MemoryReadModels {
    type Tx = MemoryTx;
    type Reader = MemoryReader;

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let state = self.state();
        let listed = state.read_models.iter().filter(|(id, _)| id.projection == projection);
        Ok(listed
            .map(|(id, kept)| ReadModel {
                id: id.clone(),
                version: kept.version,
                stage: kept.stage,
                checkpoint: kept.contents.checkpoint,
            })
            .collect())
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        let mut state = self.state();
        state.builds += 1;
        let id = ReadModelId { projection: create.projection.to_owned(), build: state.builds };
        let kept = Kept {
            version: create.version,
            stage: create.stage,
            contents: Arc::default(),
            in_transaction: false,
            waiting: Vec::new(),
        };
        state.read_models.insert(id.clone(), kept);
        Ok(id)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let mut state = self.state();
        state.kept(read_model)?.stage = Stage::Answering;
        state
            .read_models
            .retain(|id, _| id == read_model || id.projection != read_model.projection);
        Ok(())
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let mut state = self.state();
        state.kept(read_model)?;
        state.read_models.retain(|id, kept| {
            let is_other = id != read_model && id.projection == read_model.projection;
            let stays = !is_other || kept.stage == Stage::Answering;
            if is_other && stays {
                kept.stage = Stage::Retired;
            }
            stays
        });
        state.kept(read_model)?.stage = Stage::Answering;
        Ok(())
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let mut state = self.state();
        let kept = state.kept(read_model)?;
        if kept.stage == Stage::Retired {
            kept.stage = Stage::Rebuilding;
        }
        Ok(())
    }

    /// Memory has no place for evidence.
    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        self.state().read_models.remove(read_model);
        Ok(None)
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.state().read_models.remove(read_model);
        Ok(())
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<MemoryTx, DatabaseError> {
        poll_fn(|context| self.poll_begin(read_model, context)).await
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<MemoryReader, DatabaseError> {
        Ok(MemoryReader(self.contents(read_model)?))
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        Ok(self.contents(read_model)?.dead_letters.values().cloned().collect())
    }
}

/// A transaction of [`MemoryReadModels`].
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows,
///     Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Answering };
/// let names = store.create_read_model(create).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.rollback().await?;
/// assert_eq!(store.reader(&names).await?.get_json("names", "1").await?, None);
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub struct MemoryTx {
    store: MemoryReadModels,
    id: ReadModelId,
    contents: Contents,
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryTx on {}", self.id)
    }
}

impl ReadModelTx for MemoryTx {
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, DatabaseError> {
        Ok(self.contents.checkpoint)
    }

    async fn advance(&mut self, advance: Advance) -> Result<(), DatabaseError> {
        let stored = self.contents.checkpoint;
        if stored != advance.from {
            return Err(DatabaseError::Overtaken { expected: advance.from, stored });
        }
        self.contents.checkpoint = Some(advance.to);
        Ok(())
    }

    async fn put_dead_letter(&mut self, letter: DeadLetter) -> Result<(), DatabaseError> {
        self.contents.dead_letters.insert(letter.position, letter);
        Ok(())
    }

    async fn delete_dead_letter(&mut self, position: Position) -> Result<bool, DatabaseError> {
        Ok(self.contents.dead_letters.remove(&position).is_some())
    }

    async fn property(&mut self, name: &str) -> Result<Option<String>, DatabaseError> {
        Ok(self.contents.properties.get(name).cloned())
    }

    async fn set_property(&mut self, name: &str, value: &str) -> Result<(), DatabaseError> {
        self.contents.properties.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    async fn commit(mut self) -> Result<(), DatabaseError> {
        let contents = mem::take(&mut self.contents);
        // A read model that was dropped meanwhile has nobody left to see the change.
        if let Ok(kept) = self.store.state().kept(&self.id) {
            kept.contents = Arc::new(contents);
        }
        Ok(())
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        let mut state = self.store.state();
        let Ok(kept) = state.kept(&self.id) else { return };
        kept.in_transaction = false;
        for waker in mem::take(&mut kept.waiting) {
            waker.wake();
        }
    }
}

impl ReadRows for MemoryTx {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        Ok(self.contents.get(table, key))
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        Ok(self.contents.list(list))
    }
}

impl Rows for MemoryTx {
    async fn put_json(
        &mut self,
        table: &str,
        key: &str,
        value: &Value,
    ) -> Result<(), DatabaseError> {
        let table = self.contents.tables.entry(table.to_owned()).or_default();
        table.insert(key.to_owned(), value.clone());
        Ok(())
    }

    async fn delete(&mut self, table: &str, key: &str) -> Result<(), DatabaseError> {
        if let Some(table) = self.contents.tables.get_mut(table) {
            table.remove(key);
        }
        Ok(())
    }
}

/// A connection for queries of [`MemoryReadModels`].
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows,
///     Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Answering };
/// let names = store.create_read_model(create).await?;
/// let mut before = store.reader(&names).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.commit().await?;
/// assert_eq!(before.get_json("names", "1").await?, None, "it sees one moment");
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("a memory store keeps rows");
/// ```
pub struct MemoryReader(Arc<Contents>);

impl fmt::Debug for MemoryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryReader")
    }
}

impl ReadRows for MemoryReader {
    async fn get_json(&mut self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        Ok(self.0.get(table, key))
    }

    async fn list_json(&mut self, list: ListRows<'_>) -> Result<Vec<Row>, DatabaseError> {
        Ok(self.0.list(list))
    }
}

impl Contents {
    fn get(&self, table: &str, key: &str) -> Option<Value> {
        self.tables.get(table)?.get(key).cloned()
    }

    fn list(&self, list: ListRows<'_>) -> Vec<Row> {
        let Some(table) = self.tables.get(list.table) else { return Vec::new() };
        let from = match list.after {
            Some(after) if after >= list.prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(list.prefix),
        };
        table
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(list.prefix))
            .take(list.limit)
            .map(|(key, value)| Row { key: key.clone(), value: value.clone() })
            .collect()
    }
}

/// Whether a stored checkpoint is further than another of the same life of the store.
fn is_past(stored: &Checkpoint, other: &Checkpoint) -> bool {
    stored.incarnation == other.incarnation && stored.position > other.position
}

impl CheckpointStore for MemoryReadModels {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseAnswer<'a, Option<Checkpoint>> {
        Box::pin(async move { Ok(self.state().checkpoints.get(consumer).copied()) })
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseAnswer<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            let stored = state.checkpoints.get(consumer);
            if !stored.is_some_and(|stored| is_past(stored, &checkpoint)) {
                state.checkpoints.insert(consumer.to_owned(), checkpoint);
            }
            Ok(())
        })
    }
}

impl SnapshotStore for MemoryReadModels {
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseAnswer<'a, Option<Snapshot>> {
        Box::pin(async move { Ok(self.state().snapshots.get(stream).cloned()) })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseAnswer<'_, ()> {
        Box::pin(async move {
            let mut state = self.state();
            let stored = state.snapshots.get(&snapshot.stream);
            if !stored.is_some_and(|stored| stored.outdates(&snapshot)) {
                state.snapshots.insert(snapshot.stream.clone(), snapshot);
            }
            Ok(())
        })
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseAnswer<'a, ()> {
        Box::pin(async move {
            self.state().snapshots.remove(stream);
            Ok(())
        })
    }
}
