//! The store: one directory with its catalogue and the open read model files.

use std::{
    collections::HashMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::{
    Checkpoint, CheckpointStore, CreateReadModel, DatabaseError, DatabaseFuture, DeadLetter,
    ReadModel, ReadModelId, ReadModelStore, Snapshot, SnapshotStore, StreamName,
};
use tempfile::TempDir;

use crate::{
    Reader, Tx,
    catalogue::Catalogue,
    checkpoint, dead_letters,
    error::file_error,
    read_model_file::{self, ReadModelFile},
    snapshot_file::SnapshotFile,
};

/// Read models, snapshots and checkpoints in SQLite files of one directory.
///
/// Cheap to clone; clones share the store. At most one process may fill read models: commits of a
/// second process on the same directory fail with [`DatabaseError::CheckpointConflict`].
///
/// Statements block the thread that polls. A commit writes to the page cache; after every 16 MiB it
/// also checkpoints the write-ahead log and syncs.
///
/// ```
/// use gesta_sqlite::Sqlite;
/// use gesta_store::{CreateReadModel, ReadModelStore, ReadModelTx, ReadRows, Rows, Stage};
///
/// # gesta_store::conformance::block_on(async {
/// let directory = tempfile::tempdir().expect("a directory");
/// let store = Sqlite::open(directory.path())?;
/// let create = CreateReadModel { projection: "names", version: 1, stage: Stage::Live };
/// let names = store.create_read_model(create).await?;
/// let mut tx = store.begin(&names).await?;
/// tx.put_json("names", "1", &"Ann".into()).await?;
/// tx.commit().await?;
/// drop(store);
///
/// let again = Sqlite::open(directory.path())?;
/// let found = again.reader(&names).await?.get_json("names", "1").await?;
/// assert_eq!(found, Some("Ann".into()));
/// # Ok::<(), gesta_store::DatabaseError>(())
/// # }).expect("the store keeps rows");
/// ```
#[derive(Clone)]
pub struct Sqlite(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    catalogue: Mutex<Catalogue>,
    snapshot_file: Mutex<SnapshotFile>,
    files: Mutex<HashMap<ReadModelId, Arc<ReadModelFile>>>,
    /// Last field, so that the directory is removed after its files are closed.
    _temporary: Option<TempDir>,
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
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        Self::open_in(directory.as_ref(), None)
    }

    /// Creates a store in a new temporary directory, which is removed with the last clone.
    ///
    /// For tests, and for use with an in-memory event store.
    ///
    /// # Errors
    /// The same as [`open`](Self::open).
    pub fn temporary() -> Result<Self, DatabaseError> {
        let directory = TempDir::with_prefix("gesta-read-models-")
            .map_err(|error| file_error("no temporary directory can be created", error))?;
        let path = directory.path().to_owned();
        Self::open_in(&path, Some(directory))
    }

    fn open_in(directory: &Path, temporary: Option<TempDir>) -> Result<Self, DatabaseError> {
        fs::create_dir_all(directory).map_err(|error| {
            file_error(&format!("{} cannot be created", directory.display()), error)
        })?;
        let _lock = lock_opening(directory);
        let catalogue = Catalogue::open(&directory.join("catalogue.db"))?;
        // Now, before this store has opened any of these files.
        remove_dropped(&catalogue, directory)?;
        Ok(Self(Arc::new(Inner {
            directory: directory.to_owned(),
            catalogue: Mutex::new(catalogue),
            snapshot_file: Mutex::new(SnapshotFile::open(&directory.join("snapshots.db"))),
            files: Mutex::default(),
            _temporary: temporary,
        })))
    }

    /// Locks the catalogue, after checking that its file was not replaced.
    fn catalogue(&self) -> Result<MutexGuard<'_, Catalogue>, DatabaseError> {
        let catalogue = self.0.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        catalogue.check()?;
        Ok(catalogue)
    }

    fn snapshot_file(&self) -> MutexGuard<'_, SnapshotFile> {
        self.0.snapshot_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<ReadModelId, Arc<ReadModelFile>>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a read model's file. Opens it on first use and keeps it open.
    fn file(&self, id: &ReadModelId) -> Result<Arc<ReadModelFile>, DatabaseError> {
        // Locked until the file is in the map, so that two callers do not open it twice.
        let mut files = self.files();
        if let Some(open) = files.get(id).map(Arc::clone) {
            let Err(changed) = open.check() else { return Ok(open) };
            // A removed file is not damage if another process dropped the read model: report
            // `Missing` then, so that the caller looks for its successor.
            let entry = self.catalogue()?.file_of(id);
            if matches!(entry, Err(DatabaseError::Missing { .. })) {
                files.remove(id);
            }
            return entry.and(Err(changed));
        }
        let entry = self.catalogue()?.file_of(id)?;
        let path = self.0.directory.join(entry.name);
        let file = Arc::new(ReadModelFile::open(id, path, entry.has_tables)?);
        // Only after the tables are committed: a crash in between leaves a file that is created
        // again, not one that counts as damaged.
        if !entry.has_tables {
            self.catalogue()?.mark_tables_created(id)?;
        }
        files.insert(id.clone(), Arc::clone(&file));
        Ok(file)
    }

    fn checkpoint(&self, id: &ReadModelId) -> Result<Option<Checkpoint>, DatabaseError> {
        let file = self.file(id)?;
        let reader = Reader::open(Arc::clone(&file))?;
        checkpoint::get(reader.connection()).map_err(|error| file.named(error))
    }

    /// Forgets the open files of dropped read models and marks them for removal.
    fn release_dropped(&self, dropped: &[ReadModelId]) -> Result<(), DatabaseError> {
        let mut files = self.files();
        for id in dropped {
            if let Some(file) = files.remove(id) {
                file.remove_after_last_use();
            }
        }
        Ok(())
    }
}

/// Removes the files of dropped read models. Failed removals are repeated at the next start.
fn remove_dropped(catalogue: &Catalogue, directory: &Path) -> Result<(), DatabaseError> {
    for file in catalogue.dropped_files()? {
        match read_model_file::remove(&directory.join(&file.name)) {
            Ok(()) => catalogue.forget(&file)?,
            Err(error) => {
                tracing::warn!(%error, "a dropped read model's file cannot be removed; the next start tries again")
            }
        }
    }
    Ok(())
}

/// Serialises opening a directory by several processes.
///
/// SQLite refuses concurrent creation of a file immediately, without the busy timeout. The lock
/// only prevents that refusal, so failing to take it is not an error.
fn lock_opening(directory: &Path) -> Option<fs::File> {
    let path = directory.join("opening.lock");
    let locked = fs::File::create(&path).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    locked
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                file = %path.display(),
                "opening read models without the lock; a concurrent start may be refused"
            );
        })
        .ok()
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite in {}", self.0.directory.display())
    }
}

impl ReadModelStore for Sqlite {
    type Tx = Tx;
    type Reader = Reader;

    fn troubles(&self) -> Vec<String> {
        let catalogue = self.catalogue().err().map(|error| error.to_string());
        catalogue.into_iter().chain(self.snapshot_file().trouble()).collect()
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let listed = self.catalogue()?.list(projection)?;
        let with_checkpoint = listed.into_iter().map(|listed| {
            // One damaged file must not hide the others. Its error is reported when it is used.
            let checkpoint = self.checkpoint(&listed.id).unwrap_or_default();
            let (id, version, stage) = (listed.id, listed.version, listed.stage);
            ReadModel { id, version, stage, checkpoint }
        });
        Ok(with_checkpoint.collect())
    }

    async fn create_read_model(
        &self,
        create: CreateReadModel<'_>,
    ) -> Result<ReadModelId, DatabaseError> {
        let id = self.catalogue()?.create(create)?;
        // A file of this name can exist if an earlier catalogue was moved away and numbering
        // started again at 1.
        let path = self.0.directory.join(self.catalogue()?.file_of(&id)?.name);
        read_model_file::clear_path(&path)?;
        Ok(id)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        // First make the new rows survive a loss of power: the switch-over does, and it drops the
        // rows that could replace them.
        self.file(read_model)?.write_back().await?;
        let dropped = self.catalogue()?.switch_to(read_model)?;
        self.release_dropped(&dropped)
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        // As in `switch_to`: no loss of power may undo rows that the switch-over depends on.
        self.file(read_model)?.write_back().await?;
        let dropped = self.catalogue()?.switch_keeping(read_model)?;
        self.release_dropped(&dropped)
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.catalogue()?.resume(read_model)
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let entry = self.catalogue()?.file_of(read_model)?;
        // Rename before dropping the row: the next start removes files of dropped read models.
        let renamed = read_model_file::quarantine(&self.0.directory.join(entry.name))?;
        self.files().remove(read_model);
        self.catalogue()?.drop_read_model(read_model)?;
        Ok(renamed.map(|path| path.display().to_string()))
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        // The row first: if the process ends now, the next start removes the file.
        self.catalogue()?.drop_read_model(read_model)?;
        self.release_dropped(std::slice::from_ref(read_model))
    }

    async fn begin(&self, read_model: &ReadModelId) -> Result<Tx, DatabaseError> {
        Tx::begin(self.file(read_model)?).await
    }

    async fn reader(&self, read_model: &ReadModelId) -> Result<Reader, DatabaseError> {
        Reader::open(self.file(read_model)?)
    }

    async fn dead_letters(
        &self,
        read_model: &ReadModelId,
    ) -> Result<Vec<DeadLetter>, DatabaseError> {
        let file = self.file(read_model)?;
        let reader = Reader::open(Arc::clone(&file))?;
        dead_letters::list(reader.connection()).map_err(|error| file.named(error))
    }
}

impl CheckpointStore for Sqlite {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        Box::pin(async move { self.snapshot_file().checkpoint(consumer) })
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        Box::pin(async move { self.snapshot_file().save_checkpoint(consumer, checkpoint) })
    }
}

impl SnapshotStore for Sqlite {
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        Box::pin(async move { self.snapshot_file().snapshot(stream) })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        Box::pin(async move { self.snapshot_file().save_snapshot(&snapshot) })
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        Box::pin(async move { self.snapshot_file().delete_snapshot(stream) })
    }
}
