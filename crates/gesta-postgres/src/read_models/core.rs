//! The state that handles, transactions and readers of one store share.
//!
//! Owns: the idle connections, the number of those in use, and the turns of transactions in this
//! process. Invariants: a closed store gets no new work; the thread ends after the last transaction
//! and reader. Not here: statements ([`session`](super::session)).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use gesta_store::{DatabaseError, DatabaseName, ReadModelId};
use tokio::{
    sync::{
        OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore, mpsc,
    },
    time::timeout,
};
use tokio_postgres::Row;

use super::{
    builds::SchemaNames,
    errors::{at_server, of_catalogue, of_failure, unreadable},
    replica::{LogPosition, Replica},
};
use crate::{
    connection::{Connection, Connector, Prepared, Value},
    errors::Failure,
    read::cell,
    worker::Worker,
};

/// Maximum number of transactions that are open at the same time, of all read models.
const WRITERS_MAX: usize = 32;
/// Time to wait for a connection, and for the transaction before.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of turns from which those without a holder are forgotten.
const TURNS_KEPT: usize = 64;
/// The kind of use of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    /// Changes what one partition of a projection has, at the same time as transactions of the
    /// others.
    WritePartition,
    Read,
    /// Changes what is derived from the rows, at the same time as a transaction that changes rows.
    Maintain,
}

/// The server of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Primary,
    Replica,
}

/// A materialized view, as a refresh needs it.
#[derive(Clone, Debug)]
pub(super) struct StoredView {
    pub(super) name: String,
    pub(super) is_concurrent: bool,
}

/// The turns on one read model: of one transaction, or of several partitions.
type Turns = Arc<RwLock<()>>;

/// The right to begin a transaction that writes.
#[derive(Debug)]
pub(super) enum Turn {
    Whole { _guard: OwnedRwLockWriteGuard<()> },
    Partition { _guard: OwnedRwLockReadGuard<()> },
}

/// The state that handles, transactions and readers share.
#[derive(Debug)]
pub(super) struct ReadModelsCore {
    pub(super) url: String,
    /// `None` if the server keeps its identity from the user of the URL.
    pub(super) database: Option<DatabaseName>,
    pub(super) names: SchemaNames,
    pub(super) worker: Worker,
    /// For readers, if there is one.
    pub(super) replica: Option<Replica>,
    is_removing: AtomicBool,
    connector: Arc<Connector>,
    idle: Mutex<Vec<Prepared>>,
    writers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    turns: Mutex<HashMap<ReadModelId, Turns>>,
    /// The views that are refreshed after each batch, by build.
    views: Mutex<HashMap<u64, Arc<[StoredView]>>>,
    /// Keeps the thread. `None` once the store was closed.
    keeper: Mutex<Option<mpsc::Sender<()>>>,
}

impl ReadModelsCore {
    pub(super) fn new(opened: Opened, worker: Worker, keeper: mpsc::Sender<()>) -> Self {
        let Opened { url, database, names, connector, connection, readers, replica } = opened;
        let first = Prepared::new(Arc::new(connection));
        Self {
            url,
            database,
            names,
            worker,
            replica,
            is_removing: AtomicBool::new(false),
            connector,
            idle: Mutex::new(vec![first]),
            writers: Arc::new(Semaphore::new(WRITERS_MAX)),
            readers: Arc::new(Semaphore::new(readers)),
            turns: Mutex::default(),
            views: Mutex::default(),
            keeper: Mutex::new(Some(keeper)),
        }
    }

    /// Returns what keeps the thread, for a transaction or reader.
    pub(super) fn keeper(&self) -> Result<mpsc::Sender<()>, DatabaseError> {
        lock(&self.keeper).clone().ok_or_else(|| {
            let url = &self.url;
            DatabaseError::unavailable(format!(
                "the read models of {url} were closed; open them again"
            ))
        })
    }

    /// Refuses further work. Waits for the end of the thread if nothing is in use.
    pub(super) async fn close(&self) {
        let keeper = lock(&self.keeper).take();
        lock(&self.idle).clear();
        self.replica.iter().for_each(Replica::disconnect);
        let Some(keeper) = keeper else { return };
        let is_last = keeper.strong_count() == 1;
        drop(keeper);
        if is_last {
            self.worker.ended().await;
        }
    }

    /// Runs work on the thread of the store.
    pub(super) async fn run<T, W>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> W,
    ) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, DatabaseError>> + Send + 'static,
    {
        let keeper = self.keeper()?;
        let done = self.worker.run(work(Arc::clone(self))).await;
        drop(keeper);
        done.map_err(of_catalogue)?
    }

    pub(super) fn through_pooler(&self) -> bool {
        self.connector.through_pooler()
    }

    /// Waits until no other transaction of this process is open on a read model, for a partition
    /// except those of partitions. `None` if there is nothing to wait for.
    pub(super) async fn turn(
        &self,
        id: &ReadModelId,
        purpose: Purpose,
    ) -> Result<Option<Turn>, DatabaseError> {
        let turn = async {
            Some(match purpose {
                Purpose::Write => Turn::Whole { _guard: self.turns(id).write_owned().await },
                Purpose::WritePartition => {
                    Turn::Partition { _guard: self.turns(id).read_owned().await }
                }
                Purpose::Read | Purpose::Maintain => return None,
            })
        };
        let late = |_| at_server(late_turn(id), self.connector.server());
        timeout(TURN_TIMEOUT, turn).await.map_err(late)
    }

    fn turns(&self, id: &ReadModelId) -> Turns {
        let mut turns = lock(&self.turns);
        if turns.len() >= TURNS_KEPT {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(id.clone()).or_default())
    }

    /// Waits for the right to use a connection.
    pub(super) async fn place(
        &self,
        purpose: Purpose,
    ) -> Result<OwnedSemaphorePermit, DatabaseError> {
        let (places, name) = match purpose {
            Purpose::Write | Purpose::WritePartition | Purpose::Maintain => {
                (&self.writers, "transactions")
            }
            Purpose::Read => (&self.readers, "readers"),
        };
        match timeout(TURN_TIMEOUT, Arc::clone(places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(DatabaseError::unavailable(format!(
                "{}: all connections of {name} were in use for {} s; end readers sooner, or raise \
                 `readers` in the URL",
                self.connector.server(),
                TURN_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Returns an idle connection, if there is one that is open.
    pub(super) fn idle_connection(&self) -> Option<Prepared> {
        let mut idle = lock(&self.idle);
        while let Some(prepared) = idle.pop() {
            if !prepared.connection.is_closed() {
                return Some(prepared);
            }
        }
        None
    }

    /// Opens a connection. Runs on the thread of the store.
    pub(super) async fn new_connection(&self) -> Result<Prepared, DatabaseError> {
        let connection = self.connector.connect().await.map_err(of_catalogue)?;
        Ok(Prepared::new(Arc::new(connection)))
    }

    /// Keeps a connection for the next use. Its transaction has ended.
    pub(super) fn put_back(&self, prepared: Prepared, server: Server) {
        let is_open = lock(&self.keeper).is_some();
        if !is_open || prepared.connection.is_closed() {
            return;
        }
        match (server, &self.replica) {
            (Server::Replica, Some(replica)) => replica.put_back(prepared),
            (Server::Replica, None) => {}
            (Server::Primary, _) => lock(&self.idle).push(prepared),
        }
    }

    /// Runs a statement of the catalogue, as a transaction of its own.
    ///
    /// A statement whose connection broke is repeated once: it has the same outcome twice.
    ///
    /// Boxed, because the compiler does not see that the future of a statement can be sent.
    pub(super) fn query<'a>(
        &'a self,
        statement: &'a str,
        values: &'a [Value<'a>],
    ) -> BoxFuture<'a, Result<Vec<Row>, DatabaseError>> {
        Box::pin(async move {
            let statement = self.names.fill(statement);
            match self.query_once(&statement, values).await? {
                Err(Failure::Lost(_) | Failure::Yielded(_)) => {
                    // The others broke too, most likely.
                    lock(&self.idle).clear();
                    self.query_once(&statement, values).await?.map_err(of_failure)
                }
                outcome => outcome.map_err(of_failure),
            }
        })
    }

    /// Returns the position up to which the primary has written its log, and notes it for readers
    /// of the replica.
    pub(super) async fn log_position(&self) -> Result<LogPosition, DatabaseError> {
        let rows = self.query("SELECT pg_current_wal_insert_lsn()::text", &[]).await?;
        let text: &str = rows.first().map_or(Ok(""), |row| cell(row, 0)).map_err(of_catalogue)?;
        let read = LogPosition::parse(text);
        let position = read.ok_or_else(|| unreadable("the position of the log", text))?;
        self.replica.iter().for_each(|replica| replica.has_seen(position));
        Ok(position)
    }

    async fn query_once(
        &self,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<Result<Vec<Row>, Failure>, DatabaseError> {
        let prepared = match self.idle_connection() {
            Some(prepared) => prepared,
            None => self.new_connection().await?,
        };
        let outcome = prepared.connection.query(statement, values).await;
        if !matches!(outcome, Err(Failure::Lost(_))) {
            self.put_back(prepared, Server::Primary);
        }
        Ok(outcome)
    }

    /// Returns the views of a build that are refreshed after each batch, if they were looked up.
    pub(super) fn known_views(&self, build: u64) -> Option<Arc<[StoredView]>> {
        lock(&self.views).get(&build).cloned()
    }

    pub(super) fn keep_views(&self, build: u64, views: Arc<[StoredView]>) {
        lock(&self.views).insert(build, views);
    }

    pub(super) fn forget_views(&self, build: u64) {
        lock(&self.views).remove(&build);
    }

    /// Starts work on the thread of the store without a caller that waits.
    pub(super) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.worker.handle().spawn(work));
    }

    /// Returns `true` for the caller that may remove dropped read models.
    pub(super) fn begin_removal(&self) -> bool {
        !self.is_removing.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_removal(&self) {
        self.is_removing.store(false, Ordering::Release);
    }
}

/// The findings of opening the store.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) url: String,
    pub(super) database: Option<DatabaseName>,
    pub(super) names: SchemaNames,
    pub(super) connector: Arc<Connector>,
    pub(super) connection: Connection,
    pub(super) readers: usize,
    pub(super) replica: Option<Replica>,
}

/// The error of a transaction that waited for another one until its time was over.
pub(super) fn late_turn(id: &ReadModelId) -> DatabaseError {
    DatabaseError::unavailable(format!(
        "another transaction on read model {id} has been open for {} s; end it",
        TURN_TIMEOUT.as_secs()
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step, so a panic cannot leave the value inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
