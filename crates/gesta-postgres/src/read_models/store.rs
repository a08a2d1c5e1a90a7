//! The handle of a store of read models, which callers clone.

use std::{fmt, str::FromStr, sync::Arc};

use gesta_store::{
    AppendTransaction, Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture,
    DatabaseName, DeadLetter, Partition, Position, ReadModel, ReadModelId, ReadModelStore,
    Snapshot, SnapshotStore, StoreError, StreamName, VisitRows,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Reader, Tx, catalogue, consumers,
    core::{Opened, Purpose, ReadModelsCore},
    dead_letters, opening, removal,
    replica::Replica,
    session::Session,
    views,
};
use crate::{append_transaction::open_append, errors::OpenError, url::PostgresUrl, worker::Worker};

/// Read models, checkpoints of consumers and snapshots in PostgreSQL.
///
/// Cheap to clone; clones share the store. The URL is that of an event store, which may be in the
/// same database: the catalogue is in the schema `SCHEMA_read_models` next to it, and each read
/// model in one of its own, such as `gesta_7_ordersummaries`. Several processes share the read
/// models. A transaction waits for that of another process, up to 30 s.
///
/// A commit does not wait for the disk. A crash of the server may undo the last transactions, rows
/// together with their checkpoint, and the projection applies their events again.
///
/// Futures need no runtime: the store has a thread of its own, which ends after
/// [`close`](Self::close) or with the last clone, transaction and reader.
///
/// ```no_run
/// use gesta_postgres::PostgresReadModels;
/// use gesta_store::{
///     CreateReadModel, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage, conformance::block_on,
/// };
///
/// # block_on(async {
/// let store = PostgresReadModels::connect("postgres://ann:secret@localhost/shop").await?;
/// let names = store.create_read_model(CreateReadModel::new("names", 1, Stage::Live)).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.commit().await?;
/// assert_eq!(store.reader(&names).await?.get_json("names", "1").await?, Some("Ann".into()));
/// store.close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).expect("a server runs");
/// ```
#[derive(Clone)]
pub struct PostgresReadModels {
    core: Arc<ReadModelsCore>,
}

impl PostgresReadModels {
    /// Opens the read models next to the store behind a URL; see [`PostgresUrl`]. Creates their
    /// catalogue if it does not exist. With `replica=HOST:PORT` queries are answered there, as by
    /// [`connect_with_replica`](Self::connect_with_replica).
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The tables of a newer version are left unchanged.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        let url = PostgresUrl::from_str(url)?;
        let replica = url.of_replica();
        Self::connect_to(url, replica).await
    }

    /// Opens the read models behind a URL, and answers queries from a replica of their server.
    ///
    /// A reader begins when the replica has replayed what was committed before, so a query sees
    /// what it waited for. If that takes longer than 2 s, or the replica is away, the reader uses
    /// the primary, and [`troubles`](ReadModelStore::troubles) says so. The database of both URLs
    /// has to be the same.
    ///
    /// A reader begins, while the primary cannot be reached, when the replica has replayed
    /// everything that this process has seen of the primary. It fails instead with inline
    /// projections, because the process does not learn where their commits are in the log.
    ///
    /// # Errors
    ///
    /// The same as [`connect`](Self::connect). A replica that is away is no error.
    pub async fn connect_with_replica(url: &str, replica: &str) -> Result<Self, OpenError> {
        let (url, replica) = (PostgresUrl::from_str(url)?, PostgresUrl::from_str(replica)?);
        Self::connect_to(url, Some(replica)).await
    }

    async fn connect_to(url: PostgresUrl, replica: Option<PostgresUrl>) -> Result<Self, OpenError> {
        let shown = url.to_string();
        let (keeper, kept) = mpsc::channel(1);
        let (ready, opened) = oneshot::channel();
        let worker =
            Worker::start(run_thread(url, replica, kept, ready)).map_err(OpenError::Thread)?;
        // The thread answers before it ends.
        let opened = opened
            .await
            .unwrap_or_else(|_| Err(OpenError::Server { url: shown, error: StoreError::closed() }));
        let core = Arc::new(ReadModelsCore::new(opened?, worker, keeper));
        // A crash may have left some.
        removal::begin(&core);
        core.detach(views::refresh_at_intervals(Arc::downgrade(&core)));
        Ok(Self { core })
    }

    /// Refreshes a materialized view of a read model, and waits for it. See
    /// [`View`](super::View).
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Rejected`] if there is no such view, [`DatabaseError::Missing`] if the read
    /// model was dropped.
    pub async fn refresh_view(
        &self,
        read_model: &ReadModelId,
        view: &str,
    ) -> Result<(), DatabaseError> {
        let (id, view) = (read_model.clone(), view.to_owned());
        self.core.run(|core| views::refresh(core, id, view)).await
    }

    /// Closes the store for all clones. Close the application first, so that its projections end.
    ///
    /// Later calls return [`DatabaseError::Unavailable`]. Transactions and readers that are open
    /// keep their connection until they end.
    pub async fn close(self) {
        self.core.close().await;
    }
}

/// Opens the store, says so, and drives connections until nothing keeps the thread.
async fn run_thread(
    url: PostgresUrl,
    replica: Option<PostgresUrl>,
    mut kept: mpsc::Receiver<()>,
    ready: oneshot::Sender<Result<Opened, OpenError>>,
) {
    if ready.send(opening::open(&url, replica.as_ref()).await).is_ok() {
        // Nothing is sent: it ends when all senders are gone.
        let _ = kept.recv().await;
    }
}

impl fmt::Debug for PostgresReadModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresReadModels of {}", self.core.url)
    }
}

impl ReadModelStore for PostgresReadModels {
    type Tx = Tx;
    type Reader = Reader;

    fn place(&self) -> String {
        self.core.url.clone()
    }

    async fn troubles(&self) -> Vec<String> {
        self.core.replica.as_ref().and_then(Replica::trouble).into_iter().collect()
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let projection = projection.to_owned();
        let list = |core: Arc<ReadModelsCore>| async move {
            let listed = catalogue::list(&core, &projection).await?;
            // Its checkpoints are those of other processes, too, for which queries wait.
            if core.replica.is_some() {
                core.log_position().await?;
            }
            Ok(listed)
        };
        self.core.run(list).await
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        let CreateReadModel { projection, version, stage, .. } = create;
        let projection = projection.to_owned();
        self.core
            .run(move |core| async move {
                let create = CreateReadModel::new(&projection, version, stage);
                catalogue::create(&core, create).await
            })
            .await
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let id = read_model.clone();
        self.core.run(|core| async move { catalogue::switch(&core, &id, false).await }).await?;
        removal::begin(&self.core);
        Ok(())
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let id = read_model.clone();
        self.core.run(|core| async move { catalogue::switch(&core, &id, true).await }).await?;
        removal::begin(&self.core);
        Ok(())
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let id = read_model.clone();
        self.core.run(|core| async move { catalogue::resume(&core, &id).await }).await
    }

    /// Returns the schema, which keeps its tables.
    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let id = read_model.clone();
        let end = |core: Arc<ReadModelsCore>| async move {
            catalogue::end(&core, &id, "quarantined").await
        };
        let schema = self.core.run(end).await?;
        Ok(schema.map(|schema| format!("schema {schema}")))
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let id = read_model.clone();
        let end =
            |core: Arc<ReadModelsCore>| async move { catalogue::end(&core, &id, "dropped").await };
        self.core.run(end).await?;
        removal::begin(&self.core);
        Ok(())
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<Tx, DatabaseError> {
        let id = read_model.clone();
        let begin = |core| Session::begin(core, id, Purpose::Write);
        Ok(Tx::new(self.core.run(begin).await?, Purpose::Write))
    }

    /// On a connection of its own. Of two transactions that change one row the second one is
    /// refused, with [`DatabaseError::Unavailable`]. A read model with views that are refreshed
    /// after each batch has one transaction at a time.
    async fn begin_partition(
        &self,
        read_model: &ReadModelId,
        _: Partition,
    ) -> Result<Tx, DatabaseError> {
        let id = read_model.clone();
        let begin = |core: Arc<ReadModelsCore>| async move {
            let purpose = match views::are_of_batch(&core, id.build).await? {
                true => Purpose::Write,
                false => Purpose::WritePartition,
            };
            Ok(Tx::new(Session::begin(core, id, purpose).await?, purpose))
        };
        self.core.run(begin).await
    }

    async fn join(
        &self,
        read_model: &ReadModelId,
        at_least: Position,
        transaction: &Arc<dyn AppendTransaction>,
    ) -> Result<Option<Tx>, DatabaseError> {
        let append = open_append(transaction)?;
        let (core, id) = (Arc::clone(&self.core), read_model.clone());
        // Not on the thread of the read models: the connection is driven by that of the events.
        let joined = Session::join(core, id, at_least, append).await?;
        Ok(joined.map(Tx::joined))
    }

    fn database(&self) -> Option<DatabaseName> {
        self.core.database.clone()
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<Reader, DatabaseError> {
        let id = read_model.clone();
        let begin = |core| Session::begin(core, id, Purpose::Read);
        Ok(Reader::new(self.core.run(begin).await?))
    }

    async fn visit_rows<V: VisitRows>(reader: &mut Reader, visitor: V) -> Result<V, DatabaseError> {
        reader.visit_rows(visitor).await
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        let id = read_model.clone();
        self.core.run(|core| async move { dead_letters::list(&core, &id).await }).await
    }
}

impl CheckpointStore for PostgresReadModels {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        let consumer = consumer.to_owned();
        Box::pin(
            self.core.run(|core| async move { consumers::load_checkpoint(&core, &consumer).await }),
        )
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        let consumer = consumer.to_owned();
        Box::pin(self.core.run(move |core| async move {
            consumers::save_checkpoint(&core, &consumer, checkpoint).await
        }))
    }
}

impl SnapshotStore for PostgresReadModels {
    fn place(&self) -> String {
        self.core.url.to_string()
    }

    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        let stream = stream.clone();
        Box::pin(self.core.run(|core| async move { consumers::load_snapshot(&core, stream).await }))
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        Box::pin(
            self.core.run(|core| async move { consumers::save_snapshot(&core, snapshot).await }),
        )
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        let stream = stream.clone();
        Box::pin(
            self.core.run(|core| async move { consumers::delete_snapshot(&core, &stream).await }),
        )
    }
}
