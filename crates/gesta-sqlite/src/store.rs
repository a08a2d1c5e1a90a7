//! The store's handle: hands the work on its directory to database threads.
//!
//! Invariant: the directory and everything opened in it are used and dropped on database threads
//! only. Each call takes the thread of what it uses: the catalogue, the snapshot file, the writer
//! of a read model, or the readers.

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{
    AcquireLease, Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture,
    DeadLetter, Lease, LeaseError, LeaseFuture, LeaseInForce, Leases, ReadModel, ReadModelId,
    ReadModelStore, Snapshot, SnapshotStore, StreamName, VisitRows,
};

use crate::{
    Reader, Tx, directory::Directory, lease_file::LeaseFile, reader::OpenReader, threads::Threads,
    tx::OpenTx,
};

/// Maximum number of threads that answer queries. More queries wait for a thread.
const READER_THREADS_MAX: usize = 4;

/// Read models, snapshots, checkpoints and leases in SQLite files of one directory.
///
/// Cheap to clone; clones share the store. At most one process may fill read models: commits of a
/// second process on the same directory fail with [`DatabaseError::CheckpointConflict`]. The
/// [`Leases`] of this store are for the processes of one machine that share the directory: they
/// decide which one fills a read model. Terms count by the time since the machine's start, so a
/// restart of the machine ends all leases.
///
/// # Blocking
///
/// No future of the store blocks the thread that polls it: statements run on threads of the store,
/// one for each read model that is written, up to four for queries, and one each for the catalogue,
/// snapshots and leases. They end when idle. Dropping the last clone closes the files in the
/// background; [`close`](Self::close) waits for it.
///
/// A commit writes to the page cache; after every 16 MiB it also checkpoints the write-ahead log
/// and syncs.
///
/// ```
/// use gesta_sqlite::Sqlite;
/// use gesta_store::{CreateReadModel, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let directory = tempfile::tempdir().expect("a directory");
/// let store = Sqlite::open(directory.path()).await?;
/// let create = CreateReadModel::new("names", 1, Stage::Live);
/// let names = store.create_read_model(create).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.commit().await?;
/// store.close().await;
///
/// let again = Sqlite::open(directory.path()).await?;
/// let found = again.reader(&names).await?.get_json("names", "1").await?;
/// assert_eq!(found, Some("Ann".into()));
/// # again.close().await;
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("the store keeps rows");
/// ```
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// `None` once the store was closed.
    directory: Mutex<Option<Arc<Directory>>>,
    catalogue_thread: Arc<Threads>,
    snapshot_thread: Threads,
    lease_thread: Threads,
    readers: Arc<Threads>,
}

impl Sqlite {
    /// Opens a directory, and creates it if it does not exist.
    ///
    /// Damage of any file but the catalogue does not fail this call. It is reported when the file
    /// is used.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when the directory cannot be used.
    /// [`DatabaseError::Rejected`] when a later version of this program has written it: start that
    /// version. [`DatabaseError::Corrupt`] when the catalogue is damaged: remove it, and all read
    /// models are rebuilt.
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        let path = directory.as_ref().to_owned();
        Self::open_with(move || Directory::open(&path)).await
    }

    /// Does the same as [`open`](Self::open), on the calling thread, which it blocks.
    ///
    /// # Errors
    /// The same as [`open`](Self::open).
    pub fn open_blocking(directory: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        Ok(Self::of(Directory::open(directory.as_ref())?, catalogue_thread()))
    }

    /// Creates a store in a new temporary directory, which is removed when the store is closed or
    /// the last clone is dropped.
    ///
    /// For tests, and for use with an in-memory event store.
    ///
    /// # Errors
    /// The same as [`open`](Self::open).
    pub async fn temporary() -> Result<Self, DatabaseError> {
        Self::open_with(Directory::temporary).await
    }

    async fn open_with(
        open: impl FnOnce() -> Result<Directory, DatabaseError> + Send + 'static,
    ) -> Result<Self, DatabaseError> {
        let thread = catalogue_thread();
        let catalogue_thread = Arc::clone(&thread);
        // Made into a store there: a directory must not be dropped on the caller's thread.
        thread.run(async move { Ok(Self::of(open()?, catalogue_thread)) }).await?
    }

    fn of(directory: Directory, catalogue_thread: Arc<Threads>) -> Self {
        Self(Arc::new(Inner {
            path: directory.path().to_owned(),
            directory: Mutex::new(Some(Arc::new(directory))),
            catalogue_thread,
            snapshot_thread: Threads::new("gesta-sqlite-snapshots", 1),
            lease_thread: Threads::new("gesta-sqlite-leases", 1),
            readers: Arc::new(Threads::new("gesta-sqlite-reader", READER_THREADS_MAX)),
        }))
    }

    /// Closes the store for all clones: waits until the work in progress has ended, then closes the
    /// files. Close the application first, so that its projections end.
    ///
    /// Later calls return [`DatabaseError::Unavailable`]. Transactions and readers that are still
    /// open keep their file open until they end.
    pub async fn close(self) {
        let directory = self.0.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.readers.until_idle().await;
        self.0.snapshot_thread.until_idle().await;
        self.0.lease_thread.until_idle().await;
        if let Some(directory) = directory {
            for thread in directory.writer_threads() {
                thread.until_idle().await;
            }
            self.0.catalogue_thread.spawn(async move { drop(directory) });
        }
        self.0.catalogue_thread.until_idle().await;
    }

    fn directory(&self) -> Result<Arc<Directory>, DatabaseError> {
        let directory = self.0.directory.lock().unwrap_or_else(PoisonError::into_inner);
        directory.clone().ok_or_else(|| {
            let path = self.0.path.display();
            DatabaseError::unavailable(format!(
                "the read models in {path} were closed; open them again"
            ))
        })
    }

    /// Runs work on the directory on one of the store's threads.
    async fn on<T: Send + 'static>(
        &self,
        threads: &Threads,
        work: impl FnOnce(&Directory) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let directory = self.directory()?;
        threads.run(async move { work(&directory) }).await?
    }

    async fn on_catalogue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.on(&self.0.catalogue_thread, work).await
    }

    async fn on_snapshots<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.on(&self.0.snapshot_thread, work).await
    }

    async fn on_readers<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.on(&self.0.readers, work).await
    }

    async fn on_leases<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LeaseFile) -> Result<T, LeaseError> + Send + 'static,
    ) -> Result<T, LeaseError> {
        let directory = self.directory()?;
        self.0.lease_thread.run(async move { directory.leases(work) }).await?
    }

    /// Makes the rows of a read model survive a loss of power.
    async fn write_back(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let (directory, id) = (self.directory()?, read_model.clone());
        let thread = directory.writer_thread(&id);
        thread.run(async move { directory.file(&id)?.write_back().await }).await?
    }
}

fn catalogue_thread() -> Arc<Threads> {
    Arc::new(Threads::new("gesta-sqlite-catalogue", 1))
}

impl Drop for Inner {
    /// Closes the files in the background.
    fn drop(&mut self) {
        let directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(directory) = directory {
            self.catalogue_thread.spawn(async move { drop(directory) });
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite in {}", self.0.path.display())
    }
}

impl ReadModelStore for Sqlite {
    type Tx = Tx;
    type Reader = Reader;

    fn place(&self) -> String {
        self.0.path.display().to_string()
    }

    async fn troubles(&self) -> Vec<String> {
        let catalogue = self.on_catalogue(|directory| directory.catalogue().map(drop)).await;
        let snapshots =
            self.on_snapshots(|directory| Ok(directory.snapshot_file().trouble())).await;
        let snapshots = snapshots.unwrap_or_else(|error| Some(error.to_string()));
        catalogue.err().map(|error| error.to_string()).into_iter().chain(snapshots).collect()
    }

    async fn run_write<T: Send + 'static>(
        &self,
        read_model: &ReadModelId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let thread = self.directory()?.writer_thread(read_model);
        thread.run(work).await
    }

    async fn run_read<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        self.0.readers.run(work).await
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let projection = projection.to_owned();
        let listed = self.on_catalogue(move |directory| directory.list(&projection)).await?;
        // On the readers: a file that is slow to open does not hold up the catalogue.
        self.on_readers(move |directory| {
            let with_checkpoint = listed.into_iter().map(|listed| {
                // One damaged file must not hide the others. Its error is reported when it is used.
                let checkpoint = directory.checkpoint(&listed.id).unwrap_or_default();
                let (id, version, stage) = (listed.id, listed.version, listed.stage);
                ReadModel::new(id, version, stage).checkpoint(checkpoint)
            });
            Ok(with_checkpoint.collect())
        })
        .await
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        let CreateReadModel { projection, version, stage, .. } = create;
        let projection = projection.to_owned();
        self.on_catalogue(move |directory| {
            directory.create(CreateReadModel::new(&projection, version, stage))
        })
        .await
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        // First make the new rows survive a loss of power: the switch-over does, and it drops the
        // rows that could replace them.
        self.write_back(read_model).await?;
        let id = read_model.clone();
        self.on_catalogue(move |directory| directory.switch_to(&id)).await
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        // As in `switch_to`: no loss of power may undo rows that the switch-over depends on.
        self.write_back(read_model).await?;
        let id = read_model.clone();
        self.on_catalogue(move |directory| directory.switch_keeping(&id)).await
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let id = read_model.clone();
        self.on_catalogue(move |directory| directory.catalogue()?.resume(&id)).await
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let id = read_model.clone();
        self.on_catalogue(move |directory| directory.quarantine(&id)).await
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        let id = read_model.clone();
        self.on_catalogue(move |directory| directory.drop_read_model(&id)).await
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<Tx, DatabaseError> {
        let (directory, id) = (self.directory()?, read_model.clone());
        let thread = directory.writer_thread(&id);
        let writer = Arc::clone(&thread);
        let begin = async move { Ok(Tx::new(OpenTx::begin(directory.file(&id)?).await?, writer)) };
        thread.run(begin).await?
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<Reader, DatabaseError> {
        let (id, readers) = (read_model.clone(), Arc::clone(&self.0.readers));
        self.on_readers(move |directory| {
            Ok(Reader::new(OpenReader::open(directory.file(&id)?)?, readers))
        })
        .await
    }

    async fn visit_rows<V: VisitRows>(reader: &mut Reader, visitor: V) -> Result<V, DatabaseError> {
        reader.visit_rows(visitor).await
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        let id = read_model.clone();
        self.on_readers(move |directory| directory.dead_letters(&id)).await
    }
}

impl CheckpointStore for Sqlite {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        let consumer = consumer.to_owned();
        Box::pin(
            self.on_snapshots(move |directory| directory.snapshot_file().checkpoint(&consumer)),
        )
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        let consumer = consumer.to_owned();
        Box::pin(self.on_snapshots(move |directory| {
            directory.snapshot_file().save_checkpoint(&consumer, checkpoint)
        }))
    }
}

impl SnapshotStore for Sqlite {
    fn place(&self) -> String {
        self.0.path.display().to_string()
    }

    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        let stream = stream.clone();
        Box::pin(self.on_snapshots(move |directory| directory.snapshot_file().snapshot(&stream)))
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        Box::pin(
            self.on_snapshots(move |directory| directory.snapshot_file().save_snapshot(&snapshot)),
        )
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        let stream = stream.clone();
        Box::pin(
            self.on_snapshots(move |directory| directory.snapshot_file().delete_snapshot(&stream)),
        )
    }
}

impl Leases for Sqlite {
    fn place(&self) -> String {
        self.0.path.display().to_string()
    }

    fn acquire(&self, acquire: AcquireLease) -> LeaseFuture<'_, Lease> {
        Box::pin(self.on_leases(move |leases| leases.acquire(&acquire)))
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        let lease = lease.clone();
        Box::pin(self.on_leases(move |leases| leases.renew(&lease)))
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> LeaseFuture<'a, ()> {
        let lease = lease.clone();
        Box::pin(self.on_leases(move |leases| leases.release(&lease)))
    }

    fn list(&self) -> LeaseFuture<'_, Vec<LeaseInForce>> {
        Box::pin(self.on_leases(LeaseFile::list))
    }
}
