//! Read models with one planted fault.

mod transaction;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use gesta_store::{
    Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture, DeadLetter,
    MemoryReadModels, Partition, ReadModel, ReadModelId, ReadModelStore, ReadModelTx, Snapshot,
    SnapshotStore, Stage, StreamName, VisitRows,
};

pub(super) use self::transaction::{FaultyReader, FaultyTx};

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokenReadModel {
    /// The list begins with the last build.
    ListsBackwards,
    /// The number of a build that is gone is given again.
    GivesNumbersAgain,
    /// A walk over rows leaves out the first one.
    SkipsFirstRow,
    /// A switch retires the read model before.
    KeepsOthers,
    /// A switch that keeps drops all others.
    DropsOnKeeping,
    /// A retired read model stays retired.
    ResumesNothing,
    /// A quarantined read model stays in use.
    QuarantinesNothing,
    /// A dropped read model has no dead letters, instead of being missing.
    HasLettersOfDropped,
    /// A reader ends with its read model.
    CutsReaders,
    /// The list has no checkpoints.
    ListsNoCheckpoint,
    /// A rollback commits.
    CommitsOnRollback,
    /// A checkpoint moves from wherever it is.
    AdvancesFromAnywhere,
    /// A second transaction is refused.
    RefusesToWait,
    /// A wait that was dropped holds up the next transaction.
    RemembersDroppedWaits,
    /// A transaction that waited reads what was there before its wait.
    ReadsFromBeforeTheWait,
    /// The same for a transaction of a partition.
    PartitionsReadFromBefore,
    /// Each read of a reader sees the last commit.
    ReadsTheLatest,
    /// A reader waits for the open transaction.
    ReadersWait,
    /// All read models share one transaction.
    OneTransactionForAll,
    /// The property of fencing tokens is not kept.
    LosesTokens,
    /// The checkpoint of the read model moves with any partition.
    FollowsTheFastest,
    /// The checkpoint of a partition moves from wherever it is.
    PartitionsAdvanceFromAnywhere,
    /// All partitions have one token.
    OneTokenForAll,
    /// Work is refused.
    RefusesWork,
    /// A transaction lists the rows that were committed before.
    ListsCommittedRows,
    /// A transaction replaces the first hundred rows only.
    LosesReplacements,
    /// Each page of a list begins with the first row.
    PagesFromTheStart,
    /// Numbers of a row lose digits.
    RoundsNumbers,
    /// Keys lose the difference between upper and lower case.
    LowersKeys,
    /// The error of a dead letter is cut.
    CutsErrors,
    /// Each deletion of a dead letter reports that it was there.
    ReportsAnyDeletion,
    /// Properties stay after a rollback.
    PropertiesOutliveRollback,
    /// A projection's read models share dead letters.
    MixesDeadLetters,
    /// A checkpoint of a consumer may go back.
    ConsumersGoBack,
    /// Names of consumers lose the difference between upper and lower case.
    ConsumersIgnoreCase,
    /// The last snapshot wins.
    OlderSnapshotsWin,
    /// An older snapshot wins if its fingerprint differs in the half of the last event.
    ComparesLastEvents,
    /// The state of a snapshot is stored as text.
    SnapshotsAreText,
    /// A deletion deletes all snapshots.
    DeletesAllSnapshots,
}

/// A store with at most one fault. Clones share it.
#[derive(Clone)]
pub(super) struct FaultyReadModels {
    fault: Option<BrokenReadModel>,
    inner: MemoryReadModels,
    shared: Arc<FaultyShared>,
}

#[derive(Default)]
struct FaultyShared {
    /// For [`BrokenReadModel::GivesNumbersAgain`]: the read model behind an identity.
    identities: Mutex<BTreeMap<ReadModelId, ReadModelId>>,
    /// For [`BrokenReadModel::RemembersDroppedWaits`].
    is_stuck: AtomicBool,
    /// For [`BrokenReadModel::OneTransactionForAll`].
    open: AtomicUsize,
    /// For [`BrokenReadModel::PropertiesOutliveRollback`].
    properties: Mutex<HashMap<(ReadModelId, String), String>>,
    checkpoints: Mutex<HashMap<String, Checkpoint>>,
    snapshots: Mutex<BTreeSet<StreamName>>,
}

impl FaultyReadModels {
    pub(super) fn new(fault: Option<BrokenReadModel>) -> Self {
        Self { fault, inner: MemoryReadModels::new(), shared: Arc::default() }
    }

    fn has(&self, fault: BrokenReadModel) -> bool {
        self.fault == Some(fault)
    }

    /// Returns the read model behind an identity.
    fn real(&self, id: &ReadModelId) -> ReadModelId {
        lock(&self.shared.identities).get(id).unwrap_or(id).clone()
    }

    /// Returns an error with the identity that the caller knows.
    fn named<T>(&self, id: &ReadModelId, outcome: Result<T, DatabaseError>) -> Outcome<T> {
        outcome.map_err(|error| match error {
            DatabaseError::Missing { .. } => DatabaseError::Missing { read_model: id.clone() },
            other => other,
        })
    }

    /// Waits for the open transaction, as this store does.
    async fn wait(&self, id: &ReadModelId) -> Outcome<FaultyTx> {
        if self.shared.is_stuck.load(Ordering::Relaxed) {
            return Err(DatabaseError::unavailable("a wait was dropped"));
        }
        let others = self.shared.open.load(Ordering::Relaxed);
        if self.has(BrokenReadModel::OneTransactionForAll) && others > 0 {
            // An error, not a wait without end.
            return Err(DatabaseError::unavailable("another transaction is open"));
        }
        let real = self.real(id);
        let before = self.inner.reader(&real).await?;
        let mut begun = pin!(self.inner.begin(&real));
        let mut dropped = DroppedWait { store: self, is_waiting: false };
        let mut waited = false;
        let tx = poll_fn(|context| {
            let polled = begun.as_mut().poll(context);
            dropped.is_waiting = polled.is_pending();
            if polled.is_pending() && self.has(BrokenReadModel::RefusesToWait) {
                return Poll::Ready(Err(DatabaseError::unavailable("a transaction is open")));
            }
            waited |= polled.is_pending();
            polled
        })
        .await;
        dropped.is_waiting = false;
        let old = waited.then_some(before);
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        // Counted down by the drop, which also follows an error.
        FaultyTx::new(self.clone(), real.clone(), tx, old)
    }
}

type Outcome<T> = Result<T, DatabaseError>;

struct DroppedWait<'a> {
    store: &'a FaultyReadModels,
    is_waiting: bool,
}

impl Drop for DroppedWait<'_> {
    fn drop(&mut self) {
        if self.is_waiting && self.store.has(BrokenReadModel::RemembersDroppedWaits) {
            self.store.shared.is_stuck.store(true, Ordering::Relaxed);
        }
    }
}

impl ReadModelStore for FaultyReadModels {
    type Tx = FaultyTx;
    type Reader = FaultyReader;

    async fn run_write<T: Send + 'static>(
        &self,
        _: &ReadModelId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        if self.has(BrokenReadModel::RefusesWork) {
            return Err(DatabaseError::unavailable("there is no thread"));
        }
        Ok(work.await)
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let mut listed = self.inner.list_read_models(projection).await?;
        for one in &mut listed {
            let identities = lock(&self.shared.identities);
            if let Some((known, _)) = identities.iter().find(|(_, real)| **real == one.id) {
                one.id = known.clone();
            }
            if self.has(BrokenReadModel::ListsNoCheckpoint) {
                one.checkpoint = None;
            }
        }
        if self.has(BrokenReadModel::ListsBackwards) {
            listed.reverse();
        }
        Ok(listed)
    }

    async fn create_read_model(&self, create: CreateReadModel<'_>) -> Outcome<ReadModelId> {
        let listed = self.list_read_models(create.projection).await?;
        let real = self.inner.create_read_model(create).await?;
        if !self.has(BrokenReadModel::GivesNumbersAgain) {
            return Ok(real);
        }
        let build = listed.last().map_or(1, |last| last.id.build + 1);
        let known = ReadModelId { build, ..real.clone() };
        lock(&self.shared.identities).insert(known.clone(), real);
        Ok(known)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let real = self.real(read_model);
        let switched = match self.has(BrokenReadModel::KeepsOthers) {
            true => self.inner.switch_keeping(&real).await,
            false => self.inner.switch_to(&real).await,
        };
        self.named(read_model, switched)
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let real = self.real(read_model);
        let switched = match self.has(BrokenReadModel::DropsOnKeeping) {
            true => self.inner.switch_to(&real).await,
            false => self.inner.switch_keeping(&real).await,
        };
        self.named(read_model, switched)
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let listed = self.inner.list_read_models(&read_model.projection).await?;
        let is_retired = |one: &ReadModel| one.id == *read_model && one.stage == Stage::Retired;
        if self.has(BrokenReadModel::ResumesNothing) && listed.iter().any(is_retired) {
            return Ok(());
        }
        self.named(read_model, self.inner.resume(&self.real(read_model)).await)
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Outcome<Option<String>> {
        if self.has(BrokenReadModel::QuarantinesNothing) {
            return Ok(None);
        }
        self.inner.quarantine(&self.real(read_model)).await
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.inner.drop_read_model(&self.real(read_model)).await
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<FaultyTx, DatabaseError> {
        self.named(read_model, self.wait(read_model).await)
    }

    async fn begin_partition(
        &self,
        id: &ReadModelId,
        _: Partition,
    ) -> Result<FaultyTx, DatabaseError> {
        Ok(self.begin(id).await?.of_partition())
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<FaultyReader, DatabaseError> {
        let real = self.real(read_model);
        if self.has(BrokenReadModel::ReadersWait) {
            self.inner.begin(&real).await?.rollback().await?;
        }
        let reader = self.named(read_model, self.inner.reader(&real).await)?;
        Ok(FaultyReader::new(self.clone(), real, reader))
    }

    async fn visit_rows<V: VisitRows>(reader: &mut FaultyReader, visitor: V) -> Outcome<V> {
        reader.visit_rows(visitor).await
    }

    async fn dead_letters(&self, read_model: &ReadModelId) -> Outcome<Vec<DeadLetter>> {
        let real = self.real(read_model);
        match self.inner.dead_letters(&real).await {
            Err(DatabaseError::Missing { .. })
                if self.has(BrokenReadModel::HasLettersOfDropped) =>
            {
                Ok(Vec::new())
            }
            Ok(_) if self.has(BrokenReadModel::MixesDeadLetters) => {
                let mut all = Vec::new();
                for one in self.inner.list_read_models(&real.projection).await? {
                    all.extend(self.inner.dead_letters(&one.id).await?);
                }
                Ok(all)
            }
            outcome => self.named(read_model, outcome),
        }
    }
}

impl CheckpointStore for FaultyReadModels {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        Box::pin(async move {
            if self.has(BrokenReadModel::ConsumersGoBack) {
                return Ok(lock(&self.shared.checkpoints).get(consumer).copied());
            }
            self.inner.load_checkpoint(&self.consumer(consumer)).await
        })
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        lock(&self.shared.checkpoints).insert(consumer.to_owned(), checkpoint);
        Box::pin(
            async move { self.inner.save_checkpoint(&self.consumer(consumer), checkpoint).await },
        )
    }
}

impl FaultyReadModels {
    fn consumer(&self, name: &str) -> String {
        match self.has(BrokenReadModel::ConsumersIgnoreCase) {
            true => name.to_lowercase(),
            false => name.to_owned(),
        }
    }
}

impl SnapshotStore for FaultyReadModels {
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        self.inner.load_snapshot(stream)
    }

    fn save_snapshot(&self, mut snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        lock(&self.shared.snapshots).insert(snapshot.stream.clone());
        Box::pin(async move {
            if self.has(BrokenReadModel::SnapshotsAreText) {
                let text = String::from_utf8_lossy(&snapshot.state).into_owned();
                snapshot.state = text.into();
            }
            let stored = self.inner.load_snapshot(&snapshot.stream).await?;
            let is_of_another_event =
                stored.is_some_and(|stored| stored.fingerprint != snapshot.fingerprint);
            if self.has(BrokenReadModel::OlderSnapshotsWin)
                || self.has(BrokenReadModel::ComparesLastEvents) && is_of_another_event
            {
                self.inner.delete_snapshot(&snapshot.stream).await?;
            }
            self.inner.save_snapshot(snapshot).await
        })
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        Box::pin(async move {
            if self.has(BrokenReadModel::DeletesAllSnapshots) {
                let all = lock(&self.shared.snapshots).clone();
                for stream in all {
                    self.inner.delete_snapshot(&stream).await?;
                }
            }
            self.inner.delete_snapshot(stream).await
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
