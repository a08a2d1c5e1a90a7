//! Read models, checkpoints and snapshots in memory, for tests, and as the smallest example of the
//! traits.
//!
//! At most one transaction per read model is open. It works on a copy that replaces the original on
//! commit, so it costs time and memory in proportion to the read model.

use std::{
    any::Any,
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
    Advance, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture, DeadLetter, ListRows,
    ReadModel, ReadModelId, ReadModelStore, ReadModelTx, ReadRows, Row, Rows, Snapshot,
    SnapshotStore, Stage, VisitRows, row_by_key,
};
use crate::{
    AppendTransaction, Checkpoint, DatabaseName, Position, StreamName,
    memory::{DATABASE, JoinedPart, MemoryAppend},
};

/// Read models, checkpoints and snapshots in memory. Clones share the data.
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
    read_models: BTreeMap<ReadModelId, Entry>,
    builds: u64,
    checkpoints: HashMap<String, Checkpoint>,
    snapshots: HashMap<StreamName, Snapshot>,
}

struct Entry {
    version: u32,
    stage: Stage,
    contents: Arc<Contents>,
    /// Wakers of tasks that wait for the open transaction to end.
    in_transaction: bool,
    wakers: Vec<Waker>,
}

#[derive(Clone, Default)]
struct Contents {
    tables: BTreeMap<String, BTreeMap<String, Value>>,
    checkpoint: Option<Checkpoint>,
    dead_letters: BTreeMap<Position, DeadLetter>,
    properties: BTreeMap<String, String>,
}

impl MemoryReadModels {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic cannot leave the state inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self, read_model: &ReadModelId) -> Result<Arc<Contents>, DatabaseError> {
        Ok(Arc::clone(&self.state().entry(read_model)?.contents))
    }

    fn poll_begin(
        &self,
        read_model: &ReadModelId,
        context: &Context<'_>,
    ) -> Poll<Result<MemoryTx, DatabaseError>> {
        let mut state = self.state();
        let entry = match state.entry(read_model) {
            Ok(entry) => entry,
            Err(missing) => return Poll::Ready(Err(missing)),
        };
        if entry.in_transaction {
            // Every waiter is woken when the transaction ends; one of them gets it.
            entry.wakers.push(context.waker().clone());
            return Poll::Pending;
        }
        entry.in_transaction = true;
        // Work on a copy: readers keep the state before the transaction.
        let contents = Contents::clone(&entry.contents);
        Poll::Ready(Ok(MemoryTx {
            store: self.clone(),
            id: read_model.clone(),
            contents,
            append: None,
        }))
    }
}

impl State {
    fn entry(&mut self, read_model: &ReadModelId) -> Result<&mut Entry, DatabaseError> {
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

    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let state = self.state();
        // Keys are ordered by projection and build.
        let listed = state.read_models.iter().filter(|(id, _)| id.projection == projection);
        Ok(listed
            .map(|(id, entry)| ReadModel {
                id: id.clone(),
                version: entry.version,
                stage: entry.stage,
                checkpoint: entry.contents.checkpoint,
            })
            .collect())
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        let mut state = self.state();
        // Numbers are never reused, not even after a drop.
        state.builds += 1;
        let id = ReadModelId { projection: create.projection.to_owned(), build: state.builds };
        let entry = Entry {
            version: create.version,
            stage: create.stage,
            contents: Arc::default(),
            in_transaction: false,
            wakers: Vec::new(),
        };
        state.read_models.insert(id.clone(), entry);
        Ok(id)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let mut state = self.state();
        // Both under one lock, so that a projection never has two live read models.
        state.entry(read_model)?.stage = Stage::Live;
        state
            .read_models
            .retain(|id, _| id == read_model || id.projection != read_model.projection);
        Ok(())
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let mut state = self.state();
        // Fail before any change if the read model is missing.
        state.entry(read_model)?;
        // Retire the live one, drop the others.
        state.read_models.retain(|id, entry| {
            let is_other = id != read_model && id.projection == read_model.projection;
            let stays = !is_other || entry.stage == Stage::Live;
            if is_other && stays {
                entry.stage = Stage::Retired;
            }
            stays
        });
        state.entry(read_model)?.stage = Stage::Live;
        Ok(())
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let mut state = self.state();
        let entry = state.entry(read_model)?;
        if entry.stage == Stage::Retired {
            entry.stage = Stage::Rebuilding;
        }
        Ok(())
    }

    /// Returns `None`: memory keeps no evidence.
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

    /// Waits for the end of an open transaction, however long it takes.
    async fn join(
        &self,
        read_model: &ReadModelId,
        at_least: Position,
        transaction: &Arc<dyn AppendTransaction>,
    ) -> Result<Option<MemoryTx>, DatabaseError> {
        let append: Arc<dyn Any + Send + Sync> = Arc::clone(transaction) as _;
        let append = append
            .downcast::<MemoryAppend>()
            .map_err(|_| DatabaseError::rejected("the append is one of another kind of store"))?;
        let mut tx = match self.begin(read_model).await {
            Ok(tx) => tx,
            Err(DatabaseError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_retired = self.state().entry(read_model)?.stage == Stage::Retired;
        let has_reached = tx.contents.checkpoint.is_some_and(|own| own.position >= at_least);
        if is_retired || !has_reached || !tx.contents.dead_letters.is_empty() {
            return Ok(None);
        }
        tx.append = Some(append);
        Ok(Some(tx))
    }

    fn database(&self) -> Option<DatabaseName> {
        Some(DatabaseName::new(DATABASE))
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<MemoryReader, DatabaseError> {
        Ok(MemoryReader(self.contents(read_model)?))
    }

    async fn visit_rows<V: VisitRows>(
        reader: &mut MemoryReader,
        mut visitor: V,
    ) -> Result<V, DatabaseError> {
        for (table, rows) in &reader.0.tables {
            for (key, value) in rows {
                visitor.visit(table, &row_by_key(key, &value.to_string()));
            }
        }
        Ok(visitor)
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        Ok(self.contents(read_model)?.dead_letters.values().cloned().collect())
    }
}

/// A transaction on a read model in [`MemoryReadModels`].
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows,
///     Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Live);
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
    /// The append that this transaction is a part of.
    append: Option<Arc<MemoryAppend>>,
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
        // The copy was made under the lock, so this is current until the commit.
        let stored = self.contents.checkpoint;
        if stored != advance.from {
            return Err(DatabaseError::CheckpointConflict { expected: advance.from, stored });
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
        match self.append.take() {
            // Open until the append ends.
            Some(append) => append.keep(Box::new(self)),
            None => self.publish(),
        }
        Ok(())
    }

    async fn rollback(self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

impl MemoryTx {
    fn publish(&mut self) {
        let contents = mem::take(&mut self.contents);
        // A dropped read model has no readers, so the changes can be discarded.
        if let Ok(entry) = self.store.state().entry(&self.id) {
            entry.contents = Arc::new(contents);
        }
    }
}

impl JoinedPart for MemoryTx {
    fn commit(mut self: Box<Self>) {
        self.publish();
    }
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        let mut state = self.store.state();
        let Ok(entry) = state.entry(&self.id) else { return };
        // The transaction ends here in every case: commit, rollback, drop.
        entry.in_transaction = false;
        let wakers = mem::take(&mut entry.wakers);
        // Wake outside the lock: a waker may poll, which takes the lock.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
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

/// A connection for queries on a read model in [`MemoryReadModels`].
///
/// ```
/// use gesta_store::{
///     CreateReadModel, MemoryReadModels, ReadModelStore, ReadModelTx, ReadRows, Rows,
///     Stage,
/// };
///
/// # gesta_store::conformance::block_on(async {
/// let store = MemoryReadModels::new();
/// let create = CreateReadModel::new("names", 1, Stage::Live);
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
        // A page may continue after the prefix's first key.
        let from = match list.after {
            Some(after) if after >= list.prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(list.prefix),
        };
        table
            .range::<str, _>((from, Bound::Unbounded))
            // Keys with the same prefix are contiguous.
            .take_while(|(key, _)| key.starts_with(list.prefix))
            .take(list.limit)
            .map(|(key, value)| Row { key: key.clone(), value: value.clone() })
            .collect()
    }
}

/// Returns `true` if `stored` is ahead of `other` in the same incarnation.
fn is_past(stored: &Checkpoint, other: &Checkpoint) -> bool {
    stored.incarnation == other.incarnation && stored.position > other.position
}

impl CheckpointStore for MemoryReadModels {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        Box::pin(async move { Ok(self.state().checkpoints.get(consumer).copied()) })
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            let stored = state.checkpoints.get(consumer);
            // A delayed call must not move the consumer back.
            if !stored.is_some_and(|stored| is_past(stored, &checkpoint)) {
                state.checkpoints.insert(consumer.to_owned(), checkpoint);
            }
            Ok(())
        })
    }
}

impl SnapshotStore for MemoryReadModels {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        Box::pin(async move { Ok(self.state().snapshots.get(stream).cloned()) })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        Box::pin(async move {
            let mut state = self.state();
            let stored = state.snapshots.get(&snapshot.stream);
            // A delayed call must not replace a newer snapshot.
            if !stored.is_some_and(|stored| stored.is_newer_than(&snapshot)) {
                state.snapshots.insert(snapshot.stream.clone(), snapshot);
            }
            Ok(())
        })
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        Box::pin(async move {
            self.state().snapshots.remove(stream);
            Ok(())
        })
    }
}
