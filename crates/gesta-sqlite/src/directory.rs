//! The directory of a store: its catalogue, its snapshot file and the open read model files.
//!
//! Functions may block, except those that return threads: they run on database threads, and the
//! directory is dropped there.
//!
//! Not here: the choice of the thread (`store`).

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gesta_store::{
    Checkpoint, CreateReadModel, DatabaseError, DeadLetter, LeaseError, ReadModelId,
};
use tempfile::TempDir;

use crate::{
    catalogue::{Catalogue, CatalogueEntry},
    checkpoint, dead_letters,
    error::file_error,
    lease_file::{self, LeaseFile},
    read_model_file::{self, ReadModelFile},
    reader::OpenReader,
    snapshot_file::SnapshotFile,
    threads::Threads,
};

/// Name of the threads that write read models. Each read model has one.
const WRITER_NAME: &str = "gesta-sqlite-writer";

pub(crate) struct Directory {
    path: PathBuf,
    catalogue: Mutex<Catalogue>,
    snapshot_file: Mutex<SnapshotFile>,
    /// Opened on first use: many programs have no leases.
    lease_file: Mutex<Option<LeaseFile>>,
    files: Mutex<HashMap<ReadModelId, Arc<FileSlot>>>,
    /// Last field, so that the directory is removed after its files are closed.
    _temporary: Option<TempDir>,
}

/// A read model's file, which is opened on first use, and the thread that writes it.
struct FileSlot {
    writer_thread: Arc<Threads>,
    /// Locked while the file is opened, so that two callers do not open it twice.
    file: Mutex<Option<Arc<ReadModelFile>>>,
}

impl Directory {
    /// Opens the directory, and creates it if it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::open_in(path, None)
    }

    /// Opens a new temporary directory, which is removed with the returned value.
    pub(crate) fn temporary() -> Result<Self, DatabaseError> {
        let directory = TempDir::with_prefix("gesta-read-models-")
            .map_err(|error| file_error("no temporary directory can be created", error))?;
        let path = directory.path().to_owned();
        Self::open_in(&path, Some(directory))
    }

    fn open_in(path: &Path, temporary: Option<TempDir>) -> Result<Self, DatabaseError> {
        fs::create_dir_all(path)
            .map_err(|error| file_error(&format!("{} cannot be created", path.display()), error))?;
        let _lock = lock_opening(path);
        let catalogue = Catalogue::open(&path.join("catalogue.db"))?;
        // Now, before this store has opened any of these files.
        remove_dropped(&catalogue, path)?;
        Ok(Self {
            path: path.to_owned(),
            catalogue: Mutex::new(catalogue),
            snapshot_file: Mutex::new(SnapshotFile::open(&path.join("snapshots.db"))),
            lease_file: Mutex::default(),
            files: Mutex::default(),
            _temporary: temporary,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the catalogue, after checking that its file was not replaced.
    pub(crate) fn catalogue(&self) -> Result<MutexGuard<'_, Catalogue>, DatabaseError> {
        let catalogue = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        catalogue.check()?;
        Ok(catalogue)
    }

    pub(crate) fn snapshot_file(&self) -> MutexGuard<'_, SnapshotFile> {
        self.snapshot_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an operation on the file of leases.
    pub(crate) fn leases<T>(
        &self,
        operation: impl FnOnce(&LeaseFile) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        let path = self.path.join("leases.db");
        let mut slot = self.lease_file.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match slot.take() {
            Some(file) => Ok(file),
            None => {
                let _lock = lock_opening(&self.path);
                LeaseFile::open(&path).map_err(LeaseError::from)
            }
        };
        let outcome = opened.and_then(|file| operation(slot.insert(file)));
        outcome.map_err(|error| lease_file::with_remedy(error, &path))
    }

    /// Returns the thread that writes a read model. Does not block.
    pub(crate) fn writer_thread(&self, id: &ReadModelId) -> Arc<Threads> {
        Arc::clone(&self.slot(id).writer_thread)
    }

    pub(crate) fn writer_threads(&self) -> Vec<Arc<Threads>> {
        self.files().values().map(|slot| Arc::clone(&slot.writer_thread)).collect()
    }

    fn slot(&self, id: &ReadModelId) -> Arc<FileSlot> {
        let new = || {
            let writer_thread = Arc::new(Threads::new(WRITER_NAME, 1));
            Arc::new(FileSlot { writer_thread, file: Mutex::new(None) })
        };
        Arc::clone(self.files().entry(id.clone()).or_insert_with(new))
    }

    /// Locks the map of files. No statement runs and no file is opened under this lock.
    fn files(&self) -> MutexGuard<'_, HashMap<ReadModelId, Arc<FileSlot>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a read model's file. Opens it on first use and keeps it open.
    pub(crate) fn file(&self, id: &ReadModelId) -> Result<Arc<ReadModelFile>, DatabaseError> {
        let found = self.open_file(id);
        if matches!(found, Err(DatabaseError::Missing { .. })) {
            self.files().remove(id);
        }
        found
    }

    fn open_file(&self, id: &ReadModelId) -> Result<Arc<ReadModelFile>, DatabaseError> {
        let slot = self.slot(id);
        let mut file = slot.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*file {
            let Err(changed) = open.check() else { return Ok(Arc::clone(open)) };
            // A removed file is not damage if another process dropped the read model: report
            // `Missing` then, so that the caller looks for its successor.
            return self.catalogue()?.file_of(id).and(Err(changed));
        }
        let entry = self.catalogue()?.file_of(id)?;
        let path = self.path.join(entry.name);
        let opened = Arc::new(ReadModelFile::open(id, path, entry.has_tables)?);
        // Only after the tables are committed: a crash in between leaves a file that is created
        // again, not one that counts as damaged.
        if !entry.has_tables {
            self.catalogue()?.mark_tables_created(id)?;
        }
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    pub(crate) fn checkpoint(&self, id: &ReadModelId) -> Result<Option<Checkpoint>, DatabaseError> {
        let reader = OpenReader::open(self.file(id)?)?;
        reader.named(checkpoint::get(reader.connection()))
    }

    pub(crate) fn dead_letters(&self, id: &ReadModelId) -> Result<Vec<DeadLetter>, DatabaseError> {
        let reader = OpenReader::open(self.file(id)?)?;
        reader.named(dead_letters::list(reader.connection()))
    }

    pub(crate) fn list(&self, projection: &str) -> Result<Vec<CatalogueEntry>, DatabaseError> {
        self.catalogue()?.list(projection)
    }

    pub(crate) fn create(&self, create: CreateReadModel<'_>) -> Result<ReadModelId, DatabaseError> {
        let catalogue = self.catalogue()?;
        let id = catalogue.create(create)?;
        // A file of this name can exist if an earlier catalogue was moved away and numbering
        // started again at 1.
        let path = self.path.join(catalogue.file_of(&id)?.name);
        read_model_file::clear_path(&path)?;
        Ok(id)
    }

    pub(crate) fn switch_to(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let dropped = self.catalogue()?.switch_to(id)?;
        self.release_dropped(&dropped);
        Ok(())
    }

    pub(crate) fn switch_keeping(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        let dropped = self.catalogue()?.switch_keeping(id)?;
        self.release_dropped(&dropped);
        Ok(())
    }

    pub(crate) fn quarantine(&self, id: &ReadModelId) -> Result<Option<String>, DatabaseError> {
        let entry = self.catalogue()?.file_of(id)?;
        // Rename before dropping the row: the next start removes files of dropped read models.
        let renamed = read_model_file::quarantine(&self.path.join(entry.name))?;
        self.files().remove(id);
        self.catalogue()?.drop_read_model(id)?;
        Ok(renamed.map(|path| path.display().to_string()))
    }

    pub(crate) fn drop_read_model(&self, id: &ReadModelId) -> Result<(), DatabaseError> {
        // The row first: if the process ends now, the next start removes the file.
        self.catalogue()?.drop_read_model(id)?;
        self.release_dropped(std::slice::from_ref(id));
        Ok(())
    }

    /// Forgets the open files of dropped read models and marks them for removal.
    fn release_dropped(&self, dropped: &[ReadModelId]) {
        for id in dropped {
            // In a statement of its own: the map is not locked while this waits for an opening.
            let slot = self.files().remove(id);
            let Some(slot) = slot else { continue };
            let file = slot.file.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(file) = file {
                file.remove_after_last_use();
            }
        }
    }
}

/// Removes the files of dropped read models. Failed removals are repeated at the next start.
fn remove_dropped(catalogue: &Catalogue, directory: &Path) -> Result<(), DatabaseError> {
    for file in catalogue.dropped_files()? {
        match read_model_file::remove(&directory.join(&file.name)) {
            Ok(()) => catalogue.forget(&file)?,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "a dropped read model's file cannot be removed; the next start tries again"
                );
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
