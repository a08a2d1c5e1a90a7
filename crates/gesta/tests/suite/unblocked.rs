//! No future of the read side blocks the thread that polls it.
//!
//! Each test holds up a piece of work, by a lock on its SQLite file or inside a statement, and runs
//! another task to its end next to it on the same thread.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, ThreadId},
};

use gesta::{Gesta, Projection, prelude::*, sqlite::rusqlite::Connection};
use gesta_sqlite::{Reader, Sqlite, Tx};
use gesta_store::{
    CreateReadModel, DatabaseError, Fingerprint, Incarnation, ReadModelStore, Revision, Snapshot,
    SnapshotStore, Stage, StreamName,
};
use tempfile::TempDir;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::bank::{BalanceEvent, deposit, new_store};

/// A write lock on a SQLite file, held by a connection of another program.
struct HeldFile(Connection);

impl HeldFile {
    fn lock(path: &std::path::Path) -> Self {
        let other = Connection::open(path).unwrap();
        other.execute_batch("begin exclusive").unwrap();
        Self(other)
    }

    fn release(self) {
        self.0.execute_batch("rollback").unwrap();
    }
}

/// A gate in a statement. It refuses the thread that polls the futures.
#[derive(Clone)]
struct Gate(Arc<GateState>);

struct GateState {
    polling_thread: ThreadId,
    entered: Notify,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn closed() -> Self {
        Self(Arc::new(GateState {
            polling_thread: thread::current().id(),
            entered: Notify::new(),
            is_open: Mutex::new(false),
            opened: Condvar::new(),
        }))
    }

    fn pass(&self) {
        self.0.entered.notify_one();
        assert_ne!(thread::current().id(), self.0.polling_thread, "it would block the other task");
        let mut is_open = self.0.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_open {
            is_open = self.0.opened.wait(is_open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn open(&self) {
        *self.0.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.opened.notify_all();
    }
}

/// Runs work that is held up until `release`. Another task runs to its end next to it.
async fn beside<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    release: impl FnOnce(),
) -> T {
    let work = tokio::spawn(work);
    let other = tokio::spawn(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    other.await.unwrap();
    assert!(!work.is_finished(), "it is held up");
    release();
    work.await.unwrap()
}

fn snapshot() -> Snapshot {
    Snapshot::new(
        StreamName::new("account-1").unwrap(),
        Revision::new(1),
        Incarnation::new(Uuid::nil()),
        Fingerprint::new(1),
        "{}".into(),
    )
}

async fn opened() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let models = Sqlite::open(directory.path()).await.unwrap();
    (directory, models)
}

#[tokio::test]
async fn opening_read_models_blocks_no_other_task() {
    let (directory, models) = opened().await;
    models.close().await;
    let held = HeldFile::lock(&directory.path().join("catalogue.db"));
    let path = directory.path().to_owned();
    let opened = beside(async { Sqlite::open(path).await }, || held.release()).await;
    opened.unwrap().close().await;
}

#[tokio::test]
async fn creating_and_switching_read_models_blocks_no_other_task() {
    let (directory, models) = opened().await;
    let catalogue = directory.path().join("catalogue.db");
    let create = CreateReadModel::new("sums", 1, Stage::Rebuilding);
    let held = HeldFile::lock(&catalogue);
    let store = models.clone();
    let creating = async move { store.create_read_model(create).await };
    let id = beside(creating, || held.release()).await.unwrap();
    drop(models.begin(&id).await.unwrap());
    let held = HeldFile::lock(&catalogue);
    let (store, switched) = (models.clone(), id.clone());
    let switching = async move { store.switch_to(&switched).await };
    beside(switching, || held.release()).await.unwrap();
    assert_eq!(models.list_read_models("sums").await.unwrap()[0].stage, Stage::Live);
    models.close().await;
}

#[tokio::test]
async fn beginning_a_transaction_blocks_no_other_task() {
    let (directory, models) = opened().await;
    let create = CreateReadModel::new("sums", 1, Stage::Live);
    let id = models.create_read_model(create).await.unwrap();
    drop(models.begin(&id).await.unwrap());
    // Waits for the rollback of the transaction that was dropped.
    models.run_write(&id, async {}).await.unwrap();
    let held = HeldFile::lock(&directory.path().join("sums-1.db"));
    let store = models.clone();
    let tx = beside(async move { store.begin(&id).await }, || held.release()).await;
    drop(tx.unwrap());
    models.close().await;
}

#[tokio::test]
async fn saving_loading_and_deleting_snapshots_blocks_no_other_task() {
    let (directory, models) = opened().await;
    let file = directory.path().join("snapshots.db");
    let held = HeldFile::lock(&file);
    let store = models.clone();
    beside(async move { store.save_snapshot(snapshot()).await }, || held.release()).await.unwrap();

    // The load waits behind a save: readers do not wait for locks of writers.
    let held = HeldFile::lock(&file);
    let store = models.clone();
    let saving = tokio::spawn(async move { store.save_snapshot(snapshot()).await });
    let store = models.clone();
    let loading = async move { store.load_snapshot(&snapshot().stream).await };
    let loaded = beside(loading, || held.release()).await.unwrap();
    saving.await.unwrap().unwrap();
    assert_eq!(loaded, Some(snapshot()));

    let held = HeldFile::lock(&file);
    let store = models.clone();
    let deleting = async move { store.delete_snapshot(&snapshot().stream).await };
    beside(deleting, || held.release()).await.unwrap();
    models.close().await;
}

#[tokio::test]
async fn closing_and_dropping_read_models_blocks_no_other_task() {
    let (directory, models) = opened().await;
    let file = directory.path().join("snapshots.db");
    let held = HeldFile::lock(&file);
    let store = models.clone();
    let saving = tokio::spawn(async move { store.save_snapshot(snapshot()).await });
    tokio::task::yield_now().await;
    beside(models.close(), || held.release()).await;
    saving.await.unwrap().unwrap();

    let models = Sqlite::open(directory.path()).await.unwrap();
    let held = HeldFile::lock(&file);
    let store = models.clone();
    let saving = async move { store.save_snapshot(snapshot()).await };
    let dropping = async move {
        drop(models);
        saving.await
    };
    beside(dropping, || held.release()).await.unwrap();
}

/// A projection whose only statement waits at a gate.
struct Gated(Gate);

impl Projection for Gated {
    const NAME: &'static str = "gated";
    type Event = BalanceEvent;
}

impl Apply<Tx> for Gated {
    async fn apply(&self, tx: &mut Tx, _: &[Recorded<BalanceEvent>]) -> Result<(), ApplyError> {
        tx.find("select 1", [], |_| {
            self.0.pass();
            Ok(())
        })?;
        Ok(())
    }
}

#[tokio::test]
async fn a_projection_that_catches_up_blocks_no_other_task() {
    let models = Sqlite::temporary().await.unwrap();
    let gate = Gate::closed();
    let builder = Gesta::on(new_store()).project(Gated(gate.clone()), &models);
    let gesta = builder.open().await.unwrap();
    let receipt = deposit(&gesta, "ann", 1).await;
    gate.0.entered.notified().await;
    let caught_up = {
        let gesta = gesta.clone();
        async move { gesta.wait_for::<Gated>(&receipt).await }
    };
    beside(caught_up, || gate.open()).await.unwrap();
    assert!(gesta.dead_letters().await.unwrap().is_empty());
}

/// A query whose only statement waits at a gate.
struct AskGated(Gate);

impl gesta::Query for AskGated {
    type Reads = Gated;
    type Answer = Option<u64>;
}

impl Answer<Reader> for AskGated {
    async fn answer(&self, rows: &mut Reader) -> Result<Option<u64>, QueryError> {
        Ok(rows.find("select 7", [], |row| {
            self.0.pass();
            row.get(0)
        })?)
    }
}

#[tokio::test]
async fn a_query_blocks_no_other_task() {
    let models = Sqlite::temporary().await.unwrap();
    let gate = Gate::closed();
    let builder = Gesta::on(new_store()).project(Gated(gate.clone()), &models);
    let gesta = builder.open().await.unwrap();
    let caught_up = gesta.wait_for_position::<Gated>(Position::START);
    caught_up.await.unwrap();
    let asking = {
        let (gesta, query) = (gesta.clone(), AskGated(gate.clone()));
        async move { gesta.ask(query).await }
    };
    assert_eq!(beside(asking, || gate.open()).await.unwrap(), Some(7));
}

#[tokio::test]
async fn closing_an_application_waits_for_its_statement_and_blocks_no_other_task() {
    let models = Sqlite::temporary().await.unwrap();
    let gate = Gate::closed();
    let builder = Gesta::on(new_store()).project(Gated(gate.clone()), &models);
    let gesta = builder.open().await.unwrap();
    deposit(&gesta, "ann", 1).await;
    gate.0.entered.notified().await;
    beside(gesta.close(), || gate.open()).await;
    // Nothing of the application uses the read model any more.
    let id = models.list_read_models("gated").await.unwrap().remove(0).id;
    drop(models.begin(&id).await.unwrap());
    models.close().await;
}

/// A query that waits for a task of the caller's runtime, or panics.
enum AskRuntime {
    Wait,
    Panic,
}

impl gesta::Query for AskRuntime {
    type Reads = Gated;
    type Answer = u64;
}

impl Answer<Reader> for AskRuntime {
    async fn answer(&self, _: &mut Reader) -> Result<u64, QueryError> {
        match self {
            Self::Wait => tokio::spawn(async { 7 }).await.map_err(QueryError::because),
            Self::Panic => panic!("nobody answers"),
        }
    }
}

#[tokio::test]
async fn a_query_uses_the_callers_runtime_and_its_panic_is_its_error() {
    let models = Sqlite::temporary().await.unwrap();
    let builder = Gesta::on(new_store()).project(Gated(Gate::closed()), &models);
    let gesta = builder.open().await.unwrap();
    let caught_up = gesta.wait_for_position::<Gated>(Position::START);
    caught_up.await.unwrap();
    for _ in 0..20 {
        let error = gesta.ask(AskRuntime::Panic).await.unwrap_err();
        assert!(error.to_string().contains("nobody answers"), "{error}");
        assert_eq!(gesta.ask(AskRuntime::Wait).await.unwrap(), 7, "the thread goes on");
    }
}

#[tokio::test]
async fn a_panic_in_a_transaction_rolls_it_back_and_ends_no_thread() {
    let models = Sqlite::temporary().await.unwrap();
    let create = CreateReadModel::new("sums", 1, Stage::Live);
    let id = models.create_read_model(create).await.unwrap();
    let mut tx = models.begin(&id).await.unwrap();
    let panics = async move {
        tx.execute_script("create table sums (sum integer)").unwrap();
        panic!("no sum")
    };
    let error = models.run_write::<()>(&id, panics).await.unwrap_err();
    assert!(matches!(&error, DatabaseError::Rejected { .. }), "{error}");
    assert!(error.to_string().contains("no sum"), "{error}");
    let mut tx = models.begin(&id).await.unwrap();
    let again = async move { tx.execute_script("create table sums (sum integer)") };
    models.run_write(&id, again).await.unwrap().unwrap();
    models.close().await;
}

#[tokio::test]
async fn a_closed_store_answers_with_what_to_do() {
    let models = Sqlite::temporary().await.unwrap();
    models.clone().close().await;
    let error = models.list_read_models("sums").await.unwrap_err();
    assert!(error.to_string().contains("open them again"), "{error}");
}
