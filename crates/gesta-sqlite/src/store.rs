//! The store: one directory, its catalogue and the files that are open.

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
    error::file_error,
    letters,
    read_model_file::{self, ReadModelFile},
    side::Side,
    tx,
};

/// Read models, snapshots and checkpoints in SQLite files of one directory.
///
/// Cheap to clone; clones are the same store. One process at a time fills read models: a second
/// one on the same directory is told so by
/// [`DatabaseError::CheckpointConflict`] before it can harm.
///
/// Statements run on the thread that polls. A commit is a write into the page cache; every 16 MiB
/// of them it also writes back and syncs.
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
    side: Mutex<Side>,
    files: Mutex<HashMap<ReadModelId, Arc<ReadModelFile>>>,
    /// Removed last, after everything in it is closed.
    _temporary: Option<TempDir>,
}

impl Sqlite {
    /// Opens a directory, and makes it if need be.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when the directory cannot be used,
    /// [`DatabaseError::Rejected`] when a later version of this program has written it,
    /// [`DatabaseError::Corrupt`] when its catalogue is damaged: remove it, it is derived. Any
    /// other file that is damaged, or cannot be opened, keeps nothing from opening.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, DatabaseError> {
        Self::open_in(directory.as_ref(), None)
    }

    /// A store in a directory of its own, which is removed with the last clone: for tests, and
    /// beside an event store in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn temporary() -> Result<Self, DatabaseError> {
        let directory = TempDir::with_prefix("gesta-read-models-")
            .map_err(|error| file_error("no temporary directory", error))?;
        let path = directory.path().to_owned();
        Self::open_in(&path, Some(directory))
    }

    fn open_in(directory: &Path, temporary: Option<TempDir>) -> Result<Self, DatabaseError> {
        fs::create_dir_all(directory).map_err(|error| {
            file_error(&format!("{} cannot be made", directory.display()), error)
        })?;
        let _alone = opening_alone(directory);
        let catalogue = Catalogue::open(&directory.join("catalogue.db"))?;
        remove_dropped(&catalogue, directory)?;
        Ok(Self(Arc::new(Inner {
            directory: directory.to_owned(),
            catalogue: Mutex::new(catalogue),
            side: Mutex::new(Side::open(&directory.join("snapshots.db"))),
            files: Mutex::default(),
            _temporary: temporary,
        })))
    }

    /// The catalogue, as long as its file is the one that was opened.
    fn catalogue(&self) -> Result<MutexGuard<'_, Catalogue>, DatabaseError> {
        let catalogue = self.0.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        catalogue.check()?;
        Ok(catalogue)
    }

    fn side(&self) -> MutexGuard<'_, Side> {
        self.0.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<ReadModelId, Arc<ReadModelFile>>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read model's file, opened once and then kept.
    fn file(&self, id: &ReadModelId) -> Result<Arc<ReadModelFile>, DatabaseError> {
        let mut files = self.files();
        if let Some(open) = files.get(id).map(Arc::clone) {
            let Err(changed) = open.check() else { return Ok(open) };
            // Another program may have dropped the read model, and its file with it.
            let known = self.catalogue()?.file_of(id);
            if matches!(known, Err(DatabaseError::Missing { .. })) {
                files.remove(id);
            }
            return known.and(Err(changed));
        }
        let known = self.catalogue()?.file_of(id)?;
        let path = self.0.directory.join(known.name);
        let file = Arc::new(ReadModelFile::open(id, path, known.is_begun)?);
        if !known.is_begun {
            self.catalogue()?.begin_file(id)?;
        }
        files.insert(id.clone(), Arc::clone(&file));
        Ok(file)
    }

    fn checkpoint(&self, id: &ReadModelId) -> Result<Option<Checkpoint>, DatabaseError> {
        let file = self.file(id)?;
        let reader = Reader::open(Arc::clone(&file))?;
        tx::checkpoint(reader.connection()).map_err(|error| file.named(error))
    }

    /// Lets go of files whose read models the catalogue no longer has.
    fn let_go(&self, dropped: &[ReadModelId]) -> Result<(), DatabaseError> {
        let mut files = self.files();
        for id in dropped {
            if let Some(file) = files.remove(id) {
                file.drop_with_last_use();
            }
        }
        Ok(())
    }
}

/// Removes the files of dropped read models. One that cannot be removed now is tried again at the
/// next opening: it is in nobody's way.
fn remove_dropped(catalogue: &Catalogue, directory: &Path) -> Result<(), DatabaseError> {
    for file in catalogue.dropped_files()? {
        match read_model_file::remove(&directory.join(&file.name)) {
            Ok(()) => catalogue.forget(&file)?,
            Err(error) => tracing::warn!(%error, "a dropped read model's file stays for now"),
        }
    }
    Ok(())
}

/// One at a time: who makes a file while another makes it is refused by SQLite without a wait.
/// Without the lock, that may happen, and nothing worse.
fn opening_alone(directory: &Path) -> Option<fs::File> {
    let path = directory.join("opening.lock");
    let locked = fs::File::create(&path).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    locked
        .inspect_err(|error| {
            tracing::warn!(%error, file = %path.display(), "opened without the lock of read models");
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
        catalogue.into_iter().chain(self.side().trouble()).collect()
    }

    async fn list_read_models(&self, projection: &str) -> Result<Vec<ReadModel>, DatabaseError> {
        let listed = self.catalogue()?.list(projection)?;
        let with_checkpoint = listed.into_iter().map(|listed| {
            // An error is told when the read model is used; the others are listed all the same.
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
        // A file of this name is left over from a catalogue that was removed.
        let path = self.0.directory.join(self.catalogue()?.file_of(&id)?.name);
        read_model_file::make_way(&path)?;
        Ok(id)
    }

    async fn switch_to(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        // The one before is dropped for ever, so this one must be able to take its place.
        self.file(read_model)?.write_back().await?;
        let dropped = self.catalogue()?.switch_to(read_model)?;
        self.let_go(&dropped)
    }

    async fn switch_keeping(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.file(read_model)?.write_back().await?;
        let dropped = self.catalogue()?.switch_keeping(read_model)?;
        self.let_go(&dropped)
    }

    async fn resume(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.catalogue()?.resume(read_model)
    }

    async fn quarantine(&self, read_model: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let known = self.catalogue()?.file_of(read_model)?;
        // First the file: once the read model is dropped, its file is removed at the next opening.
        let place = read_model_file::set_aside(&self.0.directory.join(known.name))?;
        self.files().remove(read_model);
        self.catalogue()?.drop_read_model(read_model)?;
        Ok(place.map(|place| place.display().to_string()))
    }

    async fn drop_read_model(&self, read_model: &ReadModelId) -> Result<(), DatabaseError> {
        self.catalogue()?.drop_read_model(read_model)?;
        self.let_go(std::slice::from_ref(read_model))
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
        letters::list(reader.connection()).map_err(|error| file.named(error))
    }
}

impl CheckpointStore for Sqlite {
    fn load_checkpoint<'a>(&'a self, consumer: &'a str) -> DatabaseFuture<'a, Option<Checkpoint>> {
        Box::pin(async move { self.side().checkpoint(consumer) })
    }

    fn save_checkpoint<'a>(
        &'a self,
        consumer: &'a str,
        checkpoint: Checkpoint,
    ) -> DatabaseFuture<'a, ()> {
        Box::pin(async move { self.side().save_checkpoint(consumer, checkpoint) })
    }
}

impl SnapshotStore for Sqlite {
    fn load_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, Option<Snapshot>> {
        Box::pin(async move { self.side().snapshot(stream) })
    }

    fn save_snapshot(&self, snapshot: Snapshot) -> DatabaseFuture<'_, ()> {
        Box::pin(async move { self.side().save_snapshot(&snapshot) })
    }

    fn delete_snapshot<'a>(&'a self, stream: &'a StreamName) -> DatabaseFuture<'a, ()> {
        Box::pin(async move { self.side().delete_snapshot(stream) })
    }
}
